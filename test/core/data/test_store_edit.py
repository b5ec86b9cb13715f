# SPDX-License-Identifier: Apache-2.0
"""Laws of editing stores: whole episodes move bit by bit as they were, and none is lost."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from uwm_core.data.store import EncodedStep, EpisodeRecord, ImageCoding, Store
from uwm_core.data.store_edit import Selection, drop, merge, relabel, split
from uwm_core.data.store_images import encode_image
from uwm_core.data.store_verify import verify
from uwm_core.embodiment import Embodiment
from uwm_core.errors import StoreError, UnknownNameError


def contents(store: Store) -> list[str]:
    return [record.content for record in store.episodes]


def same_rows(one: Store, two: Store) -> None:
    for key in one.keys:
        np.testing.assert_array_equal(one.array(key)[:], two.array(key)[:], key)
        if key != "stamp_ns":
            np.testing.assert_array_equal(one.mask(key), two.mask(key), key)


@pytest.fixture
def holed(stores: SimpleNamespace, embodiment: Embodiment, tmp_path: Path) -> Store:
    """A store in which any kind of value is absent somewhere, and one action is half there."""
    with stores.writer_at(tmp_path / "holed.zarr", embodiment) as writer:
        for index in range(20):
            row = stores.step(index)
            image = encode_image(ImageCoding(), row.images["front"])
            writer.add_encoded(
                EncodedStep(
                    row.stamp_ns,
                    {"front": image} if index % 3 else {"wrist": image},
                    {k: v for k, v in row.state.items() if index % 4 or k == "joint_pos"},
                    {k: v for k, v in row.action.items() if index % 5 or k == "joint_target"},
                )
            )
        writer.end_episode(EpisodeRecord(task="holed"))
    return Store.open(tmp_path / "holed.zarr")


def test_a_merge_has_the_bytes_of_a_store_written_in_one_go(
    stores: SimpleNamespace, embodiment: Embodiment, tmp_path: Path
) -> None:
    whole = stores.write(tmp_path / "whole.zarr", embodiment, (30, 2, 55))
    copied, _ = split(whole, Selection(episodes=(0,)), tmp_path / "a.zarr", tmp_path / "b.zarr")
    parts = [Store.open(tmp_path / name) for name in ("a.zarr", "b.zarr")]
    assert (copied.episodes, copied.steps) == (1, 30) and contents(parts[0]) == contents(whole)[:1]
    merge(parts, tmp_path / "merged.zarr")
    merged = Store.open(tmp_path / "merged.zarr")
    assert merged.episodes == whole.episodes
    same_rows(merged, whole)
    for camera in embodiment.camera_names:
        assert merged.encoded(camera, slice(None)) == whole.encoded(camera, slice(None))


def test_what_is_absent_stays_absent(holed: Store, tmp_path: Path) -> None:
    merge([holed], tmp_path / "copy.zarr")
    copy = Store.open(tmp_path / "copy.zarr")
    assert contents(copy) == contents(holed)
    same_rows(copy, holed)


def test_a_merge_done_twice_adds_nothing(
    stores: SimpleNamespace, embodiment: Embodiment, tmp_path: Path, holed: Store
) -> None:
    other = stores.write(tmp_path / "other.zarr", embodiment, (5, 9))
    for images in (ImageCoding(), ImageCoding(kind="jpeg", quality=90)):
        target = tmp_path / f"{images.kind}.zarr"
        first = merge([holed, other], target, images=images)
        files = stores.files_of(target)
        again = merge([other, holed], target, images=images, mode="append")
        assert (first.episodes, first.known) == (3, 0) and (again.episodes, again.known) == (0, 3)
        assert stores.files_of(target) == files


def test_coding_anew_decodes_to_what_the_codec_says(
    stores: SimpleNamespace, embodiment: Embodiment, tmp_path: Path
) -> None:
    jpeg = ImageCoding(kind="jpeg", quality=90)
    lossless = stores.write(tmp_path / "lossless.zarr", embodiment, (20,))
    direct = stores.write(tmp_path / "direct.zarr", embodiment, (20,), images=jpeg)
    merge([lossless], tmp_path / "anew.zarr", images=jpeg)
    anew = Store.open(tmp_path / "anew.zarr")
    assert anew.encoded("front", slice(None)) == direct.encoded("front", slice(None))
    with pytest.raises(StoreError, match=r"has images as jpeg:90, .* as lossless; name one"):
        merge([lossless, direct], tmp_path / "both.zarr")


def test_dropped_episodes_are_in_the_trash_and_come_back(
    stores: SimpleNamespace, embodiment: Embodiment, tmp_path: Path
) -> None:
    store = stores.write(tmp_path / "s.zarr", embodiment, (30, 2, 5))
    before = contents(store)
    drop(store, Selection(episodes=(1,)))
    drop(Store.open(tmp_path / "s.zarr"), Selection(task="t0"))
    kept, trash = Store.open(tmp_path / "s.zarr"), Store.open(tmp_path / "s.trash.zarr")
    assert (contents(kept), contents(trash)) == ([before[2]], [before[1], before[0]])
    merge([trash], kept.path, mode="append")
    back = Store.open(tmp_path / "s.zarr")
    assert sorted(contents(back)) == sorted(before) and not verify(back)
    with pytest.raises(StoreError, match="none would remain"):
        drop(back, Selection(role="expert"))


def test_dropping_into_a_new_store_leaves_the_old_one(
    stores: SimpleNamespace, embodiment: Embodiment, tmp_path: Path
) -> None:
    store = stores.write(tmp_path / "s.zarr", embodiment, (3, 2, 5))
    files = stores.files_of(store.path)
    drop(store, Selection(episodes=(0, 2)), tmp_path / "new.zarr")
    assert contents(Store.open(tmp_path / "new.zarr")) == contents(store)[1:2]
    assert stores.files_of(store.path) == files
    assert sorted(p.name for p in tmp_path.iterdir()) == ["new.zarr", "s.zarr"]


def test_relabelling_touches_the_root_alone_and_notes_what_was(
    stores: SimpleNamespace, embodiment: Embodiment, tmp_path: Path
) -> None:
    store = stores.write(tmp_path / "s.zarr", embodiment, (3, 2))
    before = stores.files_of(store.path)
    relabel(store, Selection(episodes=(1,)), outcome="failure", task="t1")
    after = stores.files_of(store.path)
    assert [name for name in after if after[name] != before.get(name)] == ["zarr.json"]
    first, second = Store.open(store.path).episodes
    assert first == store.episodes[0]
    assert (second.outcome, second.notes) == ("failure", ("relabelled: outcome was 'success'",))
    assert not verify(Store.open(store.path))
    with pytest.raises(UnknownNameError, match="unknown episode outcome 'sucess'"):
        relabel(store, Selection(episodes=(0,)), outcome="sucess")


@pytest.mark.parametrize(
    ("selection", "says"),
    [
        (Selection(episodes=(0, 7)), "has 2 episodes, there is no 7"),
        (Selection(outcome="failure"), "no episode of 2 has outcome 'failure'"),
    ],
)
def test_a_selection_of_nothing_is_refused(
    stores: SimpleNamespace, embodiment: Embodiment, tmp_path: Path, selection: Selection, says: str
) -> None:
    store = stores.write(tmp_path / "s.zarr", embodiment, (3, 2))
    with pytest.raises(StoreError, match=says):
        selection.pick(store)
