# SPDX-License-Identifier: Apache-2.0
"""Laws of writing a store: committed is committed, the rest leaves no row, one writer at a time."""

import dataclasses
import resource
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from uwm_core.data.store import EpisodeRecord, ImageCoding, Store
from uwm_core.data.store_verify import verify
from uwm_core.embodiment import Embodiment
from uwm_core.errors import ShapeError, StoreError


def test_committed_episodes_are_seen_before_the_writer_is_done(
    tmp_path: Path, stores: SimpleNamespace, embodiment: Embodiment
) -> None:
    with stores.writer_at(tmp_path / "s.zarr", embodiment) as writer:
        assert len(Store.open(tmp_path / "s.zarr")) == 0
        for index in range(40):
            writer.add(stores.step(index))
        writer.end_episode(EpisodeRecord())
        assert len(Store.open(tmp_path / "s.zarr")) == 0
        writer.commit()
        seen = Store.open(tmp_path / "s.zarr")
        for index in range(40, 70):
            writer.add(stores.step(index))
        writer.end_episode(EpisodeRecord())
        writer.commit()
        assert len(seen) == 1 and len(Store.open(tmp_path / "s.zarr")) == 2
        np.testing.assert_array_equal(seen.array("obs.front")[:][:, 0, 0, 0], np.arange(40))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["s.zarr"]


def test_an_exception_leaves_what_was_committed_and_no_more(
    tmp_path: Path, stores: SimpleNamespace, embodiment: Embodiment
) -> None:
    with (
        pytest.raises(KeyboardInterrupt),
        stores.writer_at(tmp_path / "s.zarr", embodiment) as writer,
    ):
        writer.add(stores.step(0))
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []
    with (
        pytest.raises(KeyboardInterrupt),
        stores.writer_at(tmp_path / "s.zarr", embodiment) as writer,
    ):
        for index in range(3):
            writer.add(stores.step(index))
            writer.end_episode(EpisodeRecord())
            if index < 2:
                writer.commit()
        raise KeyboardInterrupt
    assert Store.open(tmp_path / "s.zarr").array("stamp_ns")[:].tolist() == [1000, 1001]


@pytest.mark.parametrize("first", [1, 16, 30, 40])
def test_appending_gives_the_bytes_of_one_go(
    tmp_path: Path, stores: SimpleNamespace, embodiment: Embodiment, first: int
) -> None:
    lengths = (first, 20, 5)
    stores.write(tmp_path / "one.zarr", embodiment, lengths)
    index = 0
    for number, length in enumerate(lengths):
        with stores.writer_at(tmp_path / "two.zarr", embodiment, mode="append") as writer:
            for _ in range(length):
                writer.add(stores.step(index))
                index += 1
            writer.end_episode(EpisodeRecord(task=f"t{number}", source=f"bag_{number}"))
    assert stores.files_of(tmp_path / "one.zarr") == stores.files_of(tmp_path / "two.zarr")


def test_one_does_not_append_another_robot_or_coding(
    tmp_path: Path, stores: SimpleNamespace, embodiment: Embodiment
) -> None:
    stores.write(tmp_path / "s.zarr", embodiment, (3,), images=ImageCoding(kind="jpeg", quality=90))
    other = dataclasses.replace(embodiment, rate_hz=5.0)
    with pytest.raises(StoreError, match="of another embodiment: rate_hz"):
        stores.writer_at(tmp_path / "s.zarr", other, mode="append")
    with pytest.raises(StoreError, match="has images as jpeg:90, not lossless"):
        stores.writer_at(tmp_path / "s.zarr", embodiment, mode="append", images=ImageCoding())
    store = stores.write(tmp_path / "s.zarr", embodiment, (2,), mode="append")
    assert (str(store.coding), store.steps) == ("jpeg:90", 5)


def test_a_full_disk_costs_the_episode_in_progress_and_no_more(
    stores: SimpleNamespace, embodiment: Embodiment, tmp_path: Path
) -> None:
    """A file that may not grow stands for the full disk; then there is room again."""
    noise = np.random.default_rng(0).integers(0, 256, (96, 96, 3), np.uint8)
    noisy = dataclasses.replace(stores.step(7), images={"front": noise, "wrist": noise})
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    with stores.writer_at(tmp_path / "s.zarr", embodiment) as writer:
        for number in range(3):
            for index in range(7):
                writer.add(stores.step(7 * number + index))
            writer.end_episode(EpisodeRecord(task=str(number)))
            if number == 0:
                writer.commit()
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
        try:
            with pytest.raises(StoreError, match="cannot be written: File too large"):
                for _ in range(30):
                    writer.add(noisy)
            with pytest.raises(StoreError, match="a row could not be written; drop its episode"):
                writer.end_episode(EpisodeRecord())
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        writer.drop_episode()
        for index in range(21, 40):
            writer.add(stores.step(index))
        writer.end_episode(EpisodeRecord(task="3"))
    store = Store.open(tmp_path / "s.zarr")
    assert [record.task for record in store.episodes] == ["0", "1", "2", "3"]
    np.testing.assert_array_equal(store.array("obs.wrist")[:][:, 0, 0, 0], np.arange(1, 41))
    assert verify(store) == []


def test_two_writers_do_not_share_a_store(
    tmp_path: Path, stores: SimpleNamespace, embodiment: Embodiment
) -> None:
    first = stores.writer_at(tmp_path / "s.zarr", embodiment)
    with pytest.raises(StoreError, match="another process is writing it"):
        stores.writer_at(tmp_path / "s.zarr", embodiment)
    first.abort()
    assert list(tmp_path.iterdir()) == []


def test_a_store_is_replaced_only_when_asked_and_only_at_the_end(
    tmp_path: Path, stores: SimpleNamespace, embodiment: Embodiment
) -> None:
    stores.write(tmp_path / "s.zarr", embodiment, (3,))
    with pytest.raises(StoreError, match="exists already"):
        stores.writer_at(tmp_path / "s.zarr", embodiment)
    with stores.writer_at(tmp_path / "s.zarr", embodiment, mode="overwrite") as writer:
        for index in range(5):
            writer.add(stores.step(index))
        writer.end_episode(EpisodeRecord())
        writer.commit()
        assert Store.open(tmp_path / "s.zarr").steps == 3
    assert Store.open(tmp_path / "s.zarr").steps == 5
    assert sorted(p.name for p in tmp_path.iterdir()) == ["s.zarr"]


def test_a_link_to_a_store_stays_a_link(
    stores: SimpleNamespace, embodiment: Embodiment, tmp_path: Path
) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "s.zarr").symlink_to(tmp_path / "disk" / "s.zarr")
    for mode, steps in (("create", 3), ("overwrite", 3), ("append", 6)):
        assert stores.write(tmp_path / "s.zarr", embodiment, (3,), mode=mode).steps == steps
    assert (tmp_path / "s.zarr").is_symlink()
    assert [p.name for p in (tmp_path / "disk").iterdir()] == ["s.zarr"]


def test_a_replacement_that_died_between_its_renames_gives_the_old_one_back(
    tmp_path: Path, stores: SimpleNamespace, embodiment: Embodiment
) -> None:
    stores.write(tmp_path / "s.zarr", embodiment, (3,))
    (tmp_path / "s.zarr").rename(tmp_path / ".s.zarr.replaced")
    with pytest.raises(
        StoreError, match=r"was interrupted; get it back with: mv .*/\.s\.zarr\.replaced"
    ):
        Store.open(tmp_path / "s.zarr")
    assert stores.write(tmp_path / "s.zarr", embodiment, (2,), mode="append").steps == 5
    assert sorted(p.name for p in tmp_path.iterdir()) == ["s.zarr"]


@pytest.mark.parametrize("mode", ["create", "append", "overwrite"])
def test_a_folder_that_is_no_store_is_never_written_to(
    tmp_path: Path, stores: SimpleNamespace, embodiment: Embodiment, mode: str
) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.png").write_bytes(b"cat")
    with pytest.raises(StoreError, match="exists already and is not a store"):
        stores.writer_at(tmp_path / "photos", embodiment, mode=mode)
    assert stores.files_of(tmp_path) == {"photos/cat.png": b"cat"}


@pytest.mark.parametrize("kept", [3, 25, 70])
@pytest.mark.parametrize("dropped", [1, 20, 90])
def test_a_rolled_back_episode_leaves_no_row(
    tmp_path: Path, stores: SimpleNamespace, embodiment: Embodiment, kept: int, dropped: int
) -> None:
    with stores.writer_at(tmp_path / "s.zarr", embodiment) as writer:
        for index in range(kept):
            writer.add(stores.step(index))
        writer.end_episode(EpisodeRecord())
        writer.commit()
        for index in range(dropped):
            writer.add(stores.step(100 + index))
        writer.end_episode(EpisodeRecord())
        writer.rollback()
        for index in range(kept, kept + 30):
            writer.add(stores.step(index))
        writer.end_episode(EpisodeRecord())
        writer.commit()
    store = Store.open(tmp_path / "s.zarr")
    assert store.array("stamp_ns")[:].tolist() == [1000 + i for i in range(kept + 30)]
    wanted = np.arange(kept + 30) % 251
    np.testing.assert_array_equal(store.array("obs.front")[:][:, 0, 0, 0], wanted)


def test_a_step_of_another_shape_is_refused_and_adds_nothing(
    tmp_path: Path, stores: SimpleNamespace, embodiment: Embodiment
) -> None:
    with stores.writer_at(tmp_path / "s.zarr", embodiment) as writer:
        writer.add(stores.step(0))
        small = {"front": np.zeros((4, 4, 3), np.uint8), "wrist": np.zeros((96, 96, 3), np.uint8)}
        with pytest.raises(ShapeError, match=r"image front must be \(96, 96, 3\)"):
            writer.add(dataclasses.replace(stores.step(1), images=small))
        with pytest.raises(ShapeError, match=r"images of the embodiment; differing: \['wrist'\]"):
            writer.add(dataclasses.replace(stores.step(1), images={"front": small["wrist"]}))
        swapped = {"joint_target": np.zeros(6, "f4"), "gripper_width": np.zeros(2, "f4")}
        with pytest.raises(ShapeError, match=r"action joint_target must be \(7,\)"):
            writer.add(dataclasses.replace(stores.step(1), action=swapped))
        assert writer.steps == 1
        writer.end_episode(EpisodeRecord())
        writer.commit()
    assert Store.open(tmp_path / "s.zarr").steps == 1


def test_an_empty_store_is_not_written(
    tmp_path: Path, stores: SimpleNamespace, embodiment: Embodiment
) -> None:
    with (
        pytest.raises(StoreError, match="no episode"),
        stores.writer_at(tmp_path / "s", embodiment),
    ):
        pass
    assert list(tmp_path.iterdir()) == []
