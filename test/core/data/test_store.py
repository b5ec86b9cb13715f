# SPDX-License-Identifier: Apache-2.0
"""Laws of the store: whole or absent, the same rows back, nothing of what was rolled back."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import zarr

from uwm_core.data import store_writer
from uwm_core.data.store import EpisodeRecord, Store, StoreWriter
from uwm_core.embodiment import Embodiment
from uwm_core.errors import ShapeError, StoreError, UnknownNameError
from uwm_core.records import Step


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several shards per array, so that growing and taking back crosses their borders."""
    monkeypatch.setattr(store_writer, "SHARD_BYTES", 600_000)


def step(index: int) -> Step:
    """A step whose every value says which one it is."""
    image = np.full((96, 96, 3), index % 251, np.uint8)
    return Step(
        stamp_ns=1000 + index,
        images={"front": image, "wrist": image[::-1] + np.uint8(1)},
        state={
            "joint_pos": np.arange(7, dtype=np.float32) + index,
            "gripper_width": np.array([index], np.float32),
        },
        action={
            "joint_target": np.arange(7, dtype=np.float32) - index,
            "gripper_width": np.array([-index], np.float32),
        },
    )


def write(path: Path, embodiment: Embodiment, lengths: tuple[int, ...] = (30, 2, 55)) -> Store:
    index = 0
    with StoreWriter(path, embodiment) as writer:
        for number, length in enumerate(lengths):
            for _ in range(length):
                writer.add(step(index))
                index += 1
            writer.end_episode(EpisodeRecord(task=f"t{number}", source=f"bag_{number}"))
            writer.commit()
    return Store.open(path)


def test_rows_come_back_as_they_were_added(tmp_path: Path, embodiment: Embodiment) -> None:
    store = write(tmp_path / "s.zarr", embodiment)
    assert store.episode_ends.tolist() == [30, 32, 87]
    assert [record.steps for record in store.episodes] == [30, 2, 55]
    for number in range(3):
        episode = store.episode(number)
        assert episode.record.task == f"t{number}"
        for row, index in enumerate(range(*store.span(number).indices(store.steps))):
            wanted = step(index)
            assert episode.stamp_ns[row] == wanted.stamp_ns
            np.testing.assert_array_equal(episode.images["wrist"][row], wanted.images["wrist"])
            np.testing.assert_array_equal(
                episode.state["joint_pos"][row], wanted.state["joint_pos"]
            )
            np.testing.assert_array_equal(
                episode.action[row], np.concatenate(list(wanted.action.values()))
            )


def test_rows_may_be_asked_for_in_any_order_and_twice(
    tmp_path: Path, embodiment: Embodiment
) -> None:
    array = write(tmp_path / "s.zarr", embodiment).array("obs.front")
    rows = np.array([[86, 0], [31, 31]])
    found = array[rows]
    assert found.shape == (2, 2, 96, 96, 3)
    np.testing.assert_array_equal(found[..., 0, 0, 0], rows % 251)
    assert array[5].shape == (96, 96, 3)
    assert len(array) == 87


def test_state_is_concatenated_in_the_embodiments_order(
    tmp_path: Path, embodiment: Embodiment
) -> None:
    state = write(tmp_path / "s.zarr", embodiment).state()
    assert state.shape == (87, 8)
    np.testing.assert_array_equal(state[:, 7], np.arange(87))


def test_the_embodiment_travels_inside(tmp_path: Path, embodiment: Embodiment) -> None:
    assert write(tmp_path / "s.zarr", embodiment).embodiment == embodiment


def test_plain_zarr_reads_the_documented_layout(tmp_path: Path, embodiment: Embodiment) -> None:
    write(tmp_path / "s.zarr", embodiment)
    group = zarr.open_group(str(tmp_path / "s.zarr"), mode="r")
    assert group["data/obs.front"].shape == (87, 96, 96, 3)
    assert group["data/action"].shape == (87, 8)
    assert group["meta/episode_ends"][:].tolist() == [30, 32, 87]
    assert group.attrs["format"] == "uwm_store" and group.attrs["version"] == 1


def test_nothing_has_the_name_before_it_is_whole(tmp_path: Path, embodiment: Embodiment) -> None:
    with StoreWriter(tmp_path / "s.zarr", embodiment) as writer:
        for index in range(40):
            writer.add(step(index))
        writer.end_episode(EpisodeRecord())
        writer.commit()
        assert not (tmp_path / "s.zarr").exists()
        with pytest.raises(StoreError, match=r"only the half-written s\.zarr\.part is there"):
            Store.open(tmp_path / "s.zarr")
        with pytest.raises(StoreError, match=r"s\.zarr\.part: is half-written"):
            Store.open(tmp_path / "s.zarr.part")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["s.zarr"]


def test_an_exception_leaves_nothing(tmp_path: Path, embodiment: Embodiment) -> None:
    with pytest.raises(KeyboardInterrupt), StoreWriter(tmp_path / "s.zarr", embodiment) as writer:
        writer.add(step(0))
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_writer_left_is_written_over(tmp_path: Path, embodiment: Embodiment) -> None:
    (tmp_path / "s.zarr.part").mkdir()
    (tmp_path / "s.zarr.part" / "junk").write_text("junk")
    store = write(tmp_path / "s.zarr", embodiment, (3,))
    assert store.steps == 3
    assert not (store.path / "junk").exists()


def test_two_writers_do_not_share_a_store(tmp_path: Path, embodiment: Embodiment) -> None:
    first = StoreWriter(tmp_path / "s.zarr", embodiment)
    with pytest.raises(StoreError, match="another process is writing it"):
        StoreWriter(tmp_path / "s.zarr", embodiment)
    first.abort()
    assert list(tmp_path.iterdir()) == []


def test_a_finished_store_is_replaced_only_when_asked(
    tmp_path: Path, embodiment: Embodiment
) -> None:
    write(tmp_path / "s.zarr", embodiment, (3,))
    with pytest.raises(StoreError, match="exists already"):
        StoreWriter(tmp_path / "s.zarr", embodiment)
    with StoreWriter(tmp_path / "s.zarr", embodiment, overwrite=True) as writer:
        for index in range(5):
            writer.add(step(index))
        writer.end_episode(EpisodeRecord())
        writer.commit()
        assert Store.open(tmp_path / "s.zarr").steps == 3
    assert Store.open(tmp_path / "s.zarr").steps == 5
    assert sorted(p.name for p in tmp_path.iterdir()) == ["s.zarr"]


@pytest.mark.parametrize("kept", [3, 25, 70])
@pytest.mark.parametrize("dropped", [1, 20, 90])
def test_a_rolled_back_episode_leaves_no_row(
    tmp_path: Path, embodiment: Embodiment, kept: int, dropped: int
) -> None:
    with StoreWriter(tmp_path / "s.zarr", embodiment) as writer:
        for index in range(kept):
            writer.add(step(index))
        writer.end_episode(EpisodeRecord())
        writer.commit()
        for index in range(dropped):
            writer.add(step(100 + index))
        writer.end_episode(EpisodeRecord())
        writer.rollback()
        for index in range(kept, kept + 30):
            writer.add(step(index))
        writer.end_episode(EpisodeRecord())
        writer.commit()
    store = Store.open(tmp_path / "s.zarr")
    assert store.array("stamp_ns")[:].tolist() == [1000 + i for i in range(kept + 30)]
    wanted = np.arange(kept + 30) % 251
    np.testing.assert_array_equal(store.array("obs.front")[:][:, 0, 0, 0], wanted)


def test_without_actions_rows_are_nan_not_zero(tmp_path: Path, embodiment: Embodiment) -> None:
    with StoreWriter(tmp_path / "s.zarr", embodiment) as writer:
        for index in range(3):
            writer.add(dataclasses.replace(step(index), action={}))
        writer.end_episode(EpisodeRecord(role="video", has_action=False))
        writer.commit()
    store = Store.open(tmp_path / "s.zarr")
    assert np.isnan(store.array("action")[:]).all()
    assert not store.episodes[0].has_action


def test_a_step_of_another_shape_is_refused_and_adds_nothing(
    tmp_path: Path, embodiment: Embodiment
) -> None:
    with StoreWriter(tmp_path / "s.zarr", embodiment) as writer:
        writer.add(step(0))
        small = {"front": np.zeros((4, 4, 3), np.uint8), "wrist": np.zeros((96, 96, 3), np.uint8)}
        with pytest.raises(ShapeError, match=r"obs\.front must be \(96, 96, 3\)"):
            writer.add(dataclasses.replace(step(1), images=small))
        with pytest.raises(ShapeError, match=r"obs\.wrist"):
            writer.add(dataclasses.replace(step(1), images={"front": small["wrist"]}))
        assert writer.steps == 1
        writer.end_episode(EpisodeRecord())
        writer.commit()
    assert Store.open(tmp_path / "s.zarr").steps == 1


def test_an_empty_store_is_not_written(tmp_path: Path, embodiment: Embodiment) -> None:
    with pytest.raises(StoreError, match="no episode"), StoreWriter(tmp_path / "s", embodiment):
        pass
    assert list(tmp_path.iterdir()) == []


def damage_attribute(path: Path, key: str, value: object) -> None:
    file = path / "zarr.json"
    content = json.loads(file.read_text())
    if value is None:
        content["attributes"].pop(key)
    else:
        content["attributes"][key] = value
    file.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("format", None, "half-written"),
        ("format", "lerobot", "not a store of this project"),
        ("version", 99, "has version 99, this software reads 1"),
        ("episodes", [], "is damaged"),
        ("embodiment", "name: [", "embodiment"),
    ],
)
def test_other_and_damaged_stores_are_refused_by_name(
    tmp_path: Path, embodiment: Embodiment, key: str, value: object, says: str
) -> None:
    store = write(tmp_path / "s.zarr", embodiment, (3,))
    damage_attribute(store.path, key, value)
    with pytest.raises(StoreError, match=says) as caught:
        Store.open(store.path)
    assert str(store.path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["nowhere", "."])
def test_what_is_no_store_is_said(tmp_path: Path, name: str) -> None:
    with pytest.raises(StoreError, match=r"there is no such store|is not a store"):
        Store.open(tmp_path / name)


def test_an_unknown_role_is_refused() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'expert'"):
        EpisodeRecord(role="expret")  # type: ignore[arg-type]


def test_an_unknown_array_or_episode_is_refused(tmp_path: Path, embodiment: Embodiment) -> None:
    store = write(tmp_path / "s.zarr", embodiment, (3,))
    with pytest.raises(UnknownNameError, match=r"Did you mean 'obs\.front'"):
        store.array("obs.fornt")
    with pytest.raises(StoreError, match="there is no episode 1"):
        store.episode(1)
