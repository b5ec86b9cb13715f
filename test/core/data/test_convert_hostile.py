# SPDX-License-Identifier: Apache-2.0
"""Laws of hostile bags: a clear error or a counted skip; never a traceback, never a silent row.

Every row that is kept is held against the closed form of its tick, whatever was done to the bag.
"""

import dataclasses
import struct
from collections.abc import Callable, Container
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from uwm_core.cli.main import main
from uwm_core.data.bag import BagWriter
from uwm_core.data.bag_types import standard_types
from uwm_core.data.convert import ConvertConfig, Report, convert
from uwm_core.data.messages import resize
from uwm_core.data.store import Store
from uwm_core.embodiment import Embodiment
from uwm_core.errors import DataError

FRONT = "/front/color/image_raw"
JOINTS = "/franka/joint_states"
IMAGE = "sensor_msgs/msg/Image"
LOW_S, HIGH_S = 0.8, 1.2
OTHER_SIZE = (24, 32)


@dataclasses.dataclass
class Raw:
    """One message of a bag as bytes."""

    topic: str
    type: str
    data: bytes
    receive_ns: int


def raws(bags: SimpleNamespace, seconds: float = 2.0) -> list[Raw]:
    """An undisturbed recording."""
    serialize = standard_types().serialize_cdr
    return [
        Raw(row.topic, row.type, bytes(serialize(row.msg, row.type)), row.receive_ns)
        for row in bags.streams(seconds)
    ]


def write(path: Path, rows: list[Raw]) -> Path:
    labels = {"uwm.embodiment": Embodiment.load("fr3_sim").to_yaml(), "uwm.outcome": "success"}
    with BagWriter(path, metadata=labels) as writer:
        for row in rows:
            writer.add_topic(row.topic, row.type)
            writer.write(row.topic, row.data, row.receive_ns)
    return path


def serialized(msg: Any, type_name: str = IMAGE) -> bytes:
    return bytes(standard_types().serialize_cdr(msg, type_name))


def stamp_of(row: Raw) -> int:
    sec, nanosec = struct.unpack_from("<iI", row.data, 4)
    return sec * 10**9 + nanosec


def image_with(**fields: Any) -> Callable[[Raw, Any], bytes]:
    def change(row: Raw, bags: Any) -> bytes:
        msg = bags.image_msg(bags.picture(0), stamp_of(row))
        return serialized(dataclasses.replace(msg, **fields))

    return change


def joints_with(names: tuple[str, ...] | None = None, value: float = 0.0) -> Callable[..., bytes]:
    def change(row: Raw, bags: Any) -> bytes:
        msg = bags.joint_msg(names or bags.ARM, np.full(7, value), stamp_of(row))
        return serialized(msg, row.type)

    return change


def claims_ten_gigabytes(row: Raw, bags: Any) -> bytes:
    """The length before the pixels says 10 GB (as far as 32 bits go)."""
    size = bags.picture(0).nbytes
    return row.data[: -size - 4] + struct.pack("<I", 2**32 - 1) + row.data[-size:]


# What is done to the messages of a topic between LOW_S and HIGH_S -> what the refusal says.
SPOILED: dict[str, tuple[str, Callable[[Raw, Any], bytes], str]] = {
    "NaN joints": (JOINTS, joints_with(value=np.nan), "not finite"),
    "infinite joints": (JOINTS, joints_with(value=np.inf), "not finite"),
    "other joints": (JOINTS, joints_with(names=tuple("abcdefg")), "lacks the joints"),
    "0x0 images": (FRONT, image_with(height=0, width=0), "image is 0x0 pixels"),
    "other encoding": (FRONT, image_with(encoding="yuv9"), "encoding 'yuv9' is not supported"),
    "encoding cut short": (FRONT, image_with(encoding="rgb16"), "needs"),
    "a size claim": (FRONT, image_with(height=50_000, width=70_000, step=210_000), "needs"),
    "a length claim": (FRONT, claims_ten_gigabytes, "not a readable sensor_msgs/msg/Image"),
    "cut image": (FRONT, lambda row, _: row.data[:300], "not a readable sensor_msgs/msg/Image"),
    "cut joints": (JOINTS, lambda row, _: row.data[:40], "not a readable sensor_msgs/msg/Joint"),
    "no header": (FRONT, lambda row, _: row.data[:3], "is silent for"),
    "no bytes": (JOINTS, lambda row, _: b"", "has a gap of"),
    "header 0": (FRONT, lambda row, _: row.data[:4] + bytes(8) + row.data[12:], "is silent for"),
}


def between(rows: list[Raw], topic: str, bags: SimpleNamespace) -> list[Raw]:
    low, high = (bags.START_NS + int(s * bags.NS) for s in (LOW_S, HIGH_S))
    return [row for row in rows if row.topic == topic and low <= row.receive_ns < high]


@pytest.fixture
def spoiled(request: Any, bags: SimpleNamespace, tmp_path: Path) -> tuple[Path, str]:
    """A bag with one fault, and what is said of it."""
    topic, change, says = SPOILED[request.param]
    rows = raws(bags)
    for row in between(rows, topic, bags):
        row.data = change(row, bags)
    return write(tmp_path / "bag", rows), says


def assert_closed_form(
    store: Store, bags: SimpleNamespace, lost: Container[int] = ()
) -> list[float]:
    """Every row holds what was recorded for its tick; the ticks in seconds.

    Images that are lost before they have a stamp leave their place to the one before.
    """
    seconds: list[float] = []
    for number in range(len(store)):
        episode = store.episode(number)
        for row, tick in enumerate(int(stamp) for stamp in episode.stamp_ns):
            second = (tick - bags.START_NS) / bags.NS
            seconds.append(second)
            joints = bags.joints_at(tick)
            np.testing.assert_allclose(episode.state["joint_pos"][row], joints, atol=1e-6)
            np.testing.assert_allclose(episode.action[row, :7], joints + 0.1, atol=1e-6)
            index = int(np.floor((second - 0.004) * 30 + 1e-6))
            while index in lost:
                index -= 1
            picture = bags.picture(index)
            np.testing.assert_array_equal(episode.images["front"][row], resize(picture, (96, 96)))
    assert seconds == sorted(set(seconds))
    return seconds


def said(report: Report) -> str:
    return " | ".join(note for _, note in report.notes)


@pytest.mark.parametrize("spoiled", SPOILED, indirect=True)
def test_a_fault_is_one_line_with_bag_topic_time_and_reason(
    spoiled: tuple[Path, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, says = spoiled
    assert main(["convert", str(path), "-o", str(tmp_path / "s.zarr"), "-q"]) == 2
    shown = capsys.readouterr().err
    assert len(shown.splitlines()) == 1 and "Traceback" not in shown
    assert str(path) in shown and says in shown
    assert "front" in shown or "joint_states" in shown or "state/joint_pos" in shown
    assert "s after its first step" in shown
    assert not (tmp_path / "s.zarr").exists()


@pytest.mark.parametrize("spoiled", SPOILED, indirect=True)
def test_around_a_fault_only_what_is_true_is_kept_and_the_cut_is_told(
    spoiled: tuple[Path, str], tmp_path: Path, bags: SimpleNamespace
) -> None:
    path, says = spoiled
    report = convert([path], tmp_path / "s.zarr", ConvertConfig(holes="split"))
    lost = range(24, 36) if "silent" in says else ()
    seconds = assert_closed_form(Store.open(tmp_path / "s.zarr"), bags, lost)
    assert report.episodes == 2
    assert [s for s in seconds if LOW_S + 0.16 < s < HIGH_S - 0.01] == []
    assert len(seconds) >= 14
    assert "cut" in said(report) and says in said(report)


@pytest.mark.parametrize("spoiled", SPOILED, indirect=True)
def test_masked_holes_keep_the_grid_and_never_pass_for_data(
    spoiled: tuple[Path, str], tmp_path: Path, bags: SimpleNamespace
) -> None:
    """The oracle of where something is absent is where ``split`` keeps nothing."""
    path, _ = spoiled
    for holes in ("split", "mask"):
        convert([path], tmp_path / f"{holes}.zarr", ConvertConfig(holes=holes))
    split, masked = (Store.open(tmp_path / f"{holes}.zarr") for holes in ("split", "mask"))
    stamps, kept = masked.array("stamp_ns")[:], split.array("stamp_ns")[:]
    assert len(masked) == 1 and len(stamps) == 20
    assert np.all(np.diff(stamps) == masked.embodiment.period_ns)
    whole = np.isin(stamps, kept)
    front, joints = masked.mask("obs.front"), masked.mask("obs.joint_pos")
    np.testing.assert_array_equal(front & joints, whole)
    assert masked.mask("action").all() and masked.mask("obs.wrist").all()
    state = masked.array("obs.joint_pos")[:]
    np.testing.assert_array_equal(np.isfinite(state).all(axis=1), joints)
    for row, tick in enumerate(stamps.tolist()):
        if joints[row]:
            np.testing.assert_allclose(state[row], bags.joints_at(tick), atol=1e-6)
    np.testing.assert_array_equal(masked.array("obs.front")[:][whole], split.array("obs.front")[:])


def test_messages_that_come_twice_change_nothing_and_are_counted(
    bags: SimpleNamespace, tmp_path: Path
) -> None:
    rows = [row for row in raws(bags) for _ in range(2)]
    report = convert([write(tmp_path / "bag", rows)], tmp_path / "s.zarr")
    assert len(assert_closed_form(Store.open(tmp_path / "s.zarr"), bags)) == 20
    assert f"{FRONT}: 60 x stamp repeated" in said(report)
    (record,) = Store.open(tmp_path / "s.zarr").episodes
    assert f"{FRONT}: 60 x stamp repeated" in record.notes


def test_stamps_that_jump_back_are_left_out_and_counted(
    bags: SimpleNamespace, tmp_path: Path
) -> None:
    rows = raws(bags)
    joints = [row for row in rows if row.topic == JOINTS]
    for row in joints[50::100]:
        back = stamp_of(row) - 300_000_000
        row.data = row.data[:4] + struct.pack("<iI", *divmod(back, bags.NS)) + row.data[12:]
    report = convert([write(tmp_path / "bag", rows)], tmp_path / "s.zarr")
    assert len(assert_closed_form(Store.open(tmp_path / "s.zarr"), bags)) == 20
    assert f"{JOINTS}: 4 x stamp jumps back" in said(report)


def test_one_stamp_out_of_the_future_does_not_take_the_rest_with_it(
    bags: SimpleNamespace, tmp_path: Path
) -> None:
    rows = raws(bags)
    row = [row for row in rows if row.topic == FRONT][30]
    row.data = row.data[:4] + struct.pack("<iI", 1_800_000_000, 0) + row.data[12:]
    path = write(tmp_path / "bag", rows)
    with pytest.raises(DataError, match=r"has a hole 1\.000 s .* camera/front is absent"):
        convert([path], tmp_path / "s.zarr", ConvertConfig())
    report = convert([path], tmp_path / "s.zarr", ConvertConfig(holes="split"))
    assert len(assert_closed_form(Store.open(tmp_path / "s.zarr"), bags)) >= 16
    assert "clock set back" in said(report)


def test_images_that_change_size_are_resized_and_noted(
    bags: SimpleNamespace, tmp_path: Path
) -> None:
    rows = raws(bags)
    for row in between(rows, FRONT, bags):
        index = round((stamp_of(row) - bags.START_NS) / bags.NS * 30)
        row.data = serialized(bags.image_msg(bags.picture(index, *OTHER_SIZE), stamp_of(row)))
    report = convert([write(tmp_path / "bag", rows)], tmp_path / "s.zarr")
    (record,) = Store.open(tmp_path / "s.zarr").episodes
    assert record.steps == 20 and report.episodes == 1
    assert any("camera/front: images change size" in note for note in record.notes)


def test_a_topic_of_two_types_is_named(bags: SimpleNamespace, tmp_path: Path) -> None:
    """The writer of this project cannot do that; others can, so only the reader's word counts."""
    rows = raws(bags)
    for row in rows:
        if row.topic == JOINTS:
            row.type = "sensor_msgs/msg/MultiDOFJointState"
    path = write(tmp_path / "bag", rows)
    with pytest.raises(DataError, match=r"/franka/joint_states is sensor_msgs/msg/MultiDOF"):
        convert([path], tmp_path / "s.zarr")


@pytest.mark.parametrize("seed", range(10))
def test_a_bag_cut_anywhere_is_one_line_and_leaves_the_store_as_it_was(
    bags: SimpleNamespace, good_bag: Path, tmp_path: Path, seed: int
) -> None:
    """Fifty places in all: five for each of ten seeds."""
    convert([good_bag], tmp_path / "s.zarr")
    path = write(tmp_path / "bag", raws(bags, 0.5))
    file = path / "bag.mcap"
    whole = file.read_bytes()
    places = np.random.default_rng(seed).integers(0, len(whole), 5)
    for place in [0, *places] if seed == 0 else places:
        file.write_bytes(whole[: int(place)])
        with pytest.raises(DataError) as caught:
            convert([path], tmp_path / "s.zarr")
        assert str(path) in str(caught.value) and "\n" not in str(caught.value)
        assert len(Store.open(tmp_path / "s.zarr")) == 1


def test_bytes_turned_over_give_rows_or_an_error_never_a_crash(
    bags: SimpleNamespace, tmp_path: Path
) -> None:
    path = write(tmp_path / "bag", raws(bags, 0.5))
    file = path / "bag.mcap"
    whole = file.read_bytes()
    rng = np.random.default_rng(0)
    for number in range(15):
        bad = bytearray(whole)
        for place in rng.integers(0, len(bad), 30):
            bad[place] ^= int(rng.integers(1, 256))
        file.write_bytes(bad)
        try:
            convert([path], tmp_path / f"{number}.zarr", ConvertConfig(holes="split"))
        except DataError as error:
            assert "\n" not in str(error)
