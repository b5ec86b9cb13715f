# SPDX-License-Identifier: Apache-2.0
"""Laws of reading a store: the same rows back, for us and for zarr-python; damage is named."""

import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import zarr

from uwm_core.data import store_codec  # noqa: F401  zarr-python then knows our codec
from uwm_core.data.store import EncodedStep, EpisodeRecord, ImageCoding, Store
from uwm_core.data.store_images import decode_image, encode_image
from uwm_core.embodiment import Embodiment
from uwm_core.errors import StoreError, UnknownNameError

CODINGS = [ImageCoding(), ImageCoding(kind="jpeg"), ImageCoding(kind="jpegxl", quality=80)]


def test_rows_come_back_as_they_were_added(
    tmp_path: Path, stores: SimpleNamespace, embodiment: Embodiment
) -> None:
    store = stores.write(tmp_path / "s.zarr", embodiment)
    assert store.episode_ends.tolist() == [30, 32, 87]
    assert [record.steps for record in store.episodes] == [30, 2, 55]
    for number in range(3):
        episode = store.episode(number)
        assert episode.record.task == f"t{number}"
        for row, index in enumerate(range(*store.span(number).indices(store.steps))):
            wanted = stores.step(index)
            assert episode.stamp_ns[row] == wanted.stamp_ns
            np.testing.assert_array_equal(episode.images["wrist"][row], wanted.images["wrist"])
            np.testing.assert_array_equal(
                episode.state["joint_pos"][row], wanted.state["joint_pos"]
            )
            np.testing.assert_array_equal(
                episode.action[row], np.concatenate(list(wanted.action.values()))
            )


def test_rows_may_be_asked_for_in_any_order_and_twice(
    tmp_path: Path, stores: SimpleNamespace, embodiment: Embodiment
) -> None:
    array = stores.write(tmp_path / "s.zarr", embodiment).array("obs.front")
    rows = np.array([[86, 0], [31, 31]])
    found = array[rows]
    assert found.shape == (2, 2, 96, 96, 3)
    np.testing.assert_array_equal(found[..., 0, 0, 0], rows % 251)
    assert array[5].shape == (96, 96, 3)
    assert array[np.empty(0, np.int64)].shape == (0, 96, 96, 3)
    np.testing.assert_array_equal(array[-1], array[86])
    with pytest.raises(IndexError, match="has 87 rows"):
        array[np.array([3, 87])]
    assert len(array) == 87


def test_state_is_concatenated_in_the_embodiments_order(
    tmp_path: Path, stores: SimpleNamespace, embodiment: Embodiment
) -> None:
    state = stores.write(tmp_path / "s.zarr", embodiment).state()
    assert state.shape == (87, 8)
    np.testing.assert_array_equal(state[:, 7], np.arange(87))


def test_the_embodiment_travels_inside(
    tmp_path: Path, stores: SimpleNamespace, embodiment: Embodiment
) -> None:
    assert stores.write(tmp_path / "s.zarr", embodiment).embodiment == embodiment


@pytest.mark.parametrize("coding", CODINGS, ids=str)
def test_zarr_python_reads_the_same_arrays(
    tmp_path: Path, stores: SimpleNamespace, embodiment: Embodiment, coding: ImageCoding
) -> None:
    store = stores.write(tmp_path / "s.zarr", embodiment, images=coding)
    group = zarr.open_group(str(store.path), mode="r")
    assert group.attrs["format"] == "uwm_store" and group.attrs["version"] == 2
    assert group["data/obs.front"].chunks == (1, 96, 96, 3)
    assert group["data/obs.front"].shards == (16, 96, 96, 3)
    np.testing.assert_array_equal(group["meta/episode_ends"][:], [30, 32, 87])
    for key in store.keys:
        np.testing.assert_array_equal(group[f"data/{key}"][:], store.array(key)[:], key)
        if key != "stamp_ns":
            np.testing.assert_array_equal(group[f"mask/{key}"][:], store.mask(key), key)


@pytest.mark.parametrize("coding", CODINGS, ids=str)
def test_coded_images_pass_through_as_they_are(
    tmp_path: Path, stores: SimpleNamespace, embodiment: Embodiment, coding: ImageCoding
) -> None:
    rng = np.random.default_rng(0)
    coded = [encode_image(coding, rng.integers(0, 256, (96, 96, 3), np.uint8)) for _ in range(20)]
    with stores.writer_at(tmp_path / "s.zarr", embodiment, images=coding) as writer:
        for index, image in enumerate(coded):
            row = stores.step(index)
            images = {"front": image, "wrist": None}
            writer.add_encoded(EncodedStep(row.stamp_ns, images, row.state, row.action))
        writer.end_episode(EpisodeRecord())
    store = Store.open(tmp_path / "s.zarr", threads=2)
    assert store.encoded("front", slice(None)) == coded
    assert store.encoded("front", np.array([19, 3])) == [coded[19], coded[3]]
    decoded = [decode_image(coding, image, (96, 96, 3)) for image in coded]
    np.testing.assert_array_equal(store.array("obs.front")[:], decoded)


def test_what_is_absent_is_masked_and_never_a_value(
    tmp_path: Path, stores: SimpleNamespace, embodiment: Embodiment
) -> None:
    whole = stores.step(0)
    image = encode_image(ImageCoding(), whole.images["front"])
    arm, gripper = {"joint_pos": whole.state["joint_pos"]}, {"gripper_width": np.ones(1, "f4")}
    with stores.writer_at(tmp_path / "s.zarr", embodiment) as writer:
        writer.add(whole)
        writer.add_encoded(EncodedStep(2, {"front": image}, arm, gripper))
        writer.end_episode(EpisodeRecord())
    store = Store.open(tmp_path / "s.zarr")
    masks = {key: store.mask(key).tolist() for key in store.keys if key != "stamp_ns"}
    assert masks == {
        "obs.front": [True, True],
        "obs.wrist": [True, False],
        "obs.joint_pos": [True, True],
        "obs.gripper_width": [True, False],
        "action": [True, False],
    }
    assert store.encoded("wrist", 1) == [b""]
    assert not store.array("obs.wrist")[1].any()
    assert np.isnan(store.array("obs.gripper_width")[1]).all()
    np.testing.assert_array_equal(store.array("action")[1], [*[np.nan] * 7, 1])


def test_without_actions_rows_are_nan_not_zero(
    tmp_path: Path, stores: SimpleNamespace, embodiment: Embodiment
) -> None:
    with stores.writer_at(tmp_path / "s.zarr", embodiment) as writer:
        for index in range(3):
            writer.add(dataclasses.replace(stores.step(index), action={}))
        writer.end_episode(EpisodeRecord(role="video", has_action=False))
        writer.commit()
    store = Store.open(tmp_path / "s.zarr")
    assert np.isnan(store.array("action")[:]).all()
    assert not store.episodes[0].has_action


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
        ("format", None, "not a store of this project"),
        ("format", "lerobot", "not a store of this project"),
        ("version", 99, "has version 99, this software reads 2; update"),
        ("version", 1, "has version 1, this software reads 2; convert its bags again"),
        ("episodes", [{"steps": 0}], "is damaged"),
        ("rows_per_file", {}, "is damaged"),
        ("images", {"kind": "gif"}, "unknown image coding 'gif'"),
        ("embodiment", "name: [", "embodiment"),
    ],
)
def test_other_and_damaged_stores_are_refused_by_name(
    tmp_path: Path,
    stores: SimpleNamespace,
    embodiment: Embodiment,
    key: str,
    value: object,
    says: str,
) -> None:
    store = stores.write(tmp_path / "s.zarr", embodiment, (3,))
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


def test_an_unknown_array_or_episode_is_refused(
    tmp_path: Path, stores: SimpleNamespace, embodiment: Embodiment
) -> None:
    store = stores.write(tmp_path / "s.zarr", embodiment, (3,))
    with pytest.raises(UnknownNameError, match=r"Did you mean 'obs\.front'"):
        store.array("obs.fornt")
    with pytest.raises(StoreError, match="has 1 episodes, there is no 1"):
        store.episode(1)
