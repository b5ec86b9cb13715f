# SPDX-License-Identifier: Apache-2.0
"""Laws of the grid: closed forms at the ticks, absence said aloud, clocks watched.

The oracle is ``slow_sample``: a plain search through all messages, without buffers.
"""

import dataclasses
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from uwm_core.data.messages import image_rgb, resize
from uwm_core.data.resample import ObservationBuffer
from uwm_core.data.stream_buffer import (
    CLOCK_SET,
    JUMP_BACK,
    OTHER_EPOCH,
    REPEATED,
    ZERO_STAMP,
    Absent,
)
from uwm_core.embodiment import Embodiment
from uwm_core.errors import DataError, UnknownNameError

MS = 1_000_000
JOINTS = "state/joint_pos"
FR3 = Embodiment.load("fr3_sim")


def filled(bags: SimpleNamespace, embodiment: Embodiment, **options: Any) -> ObservationBuffer:
    """A buffer that has seen an undisturbed recording of two seconds."""
    buffer = ObservationBuffer(embodiment, **{"actions": True, **options})
    for row in bags.streams():
        for key, stream in embodiment.streams.items():
            if f"/{stream.topic}" == row.topic and key in buffer.keys:
                buffer.push(key, row.msg, row.receive_ns)
    return buffer


@pytest.fixture(scope="module")
def buffer(bags: SimpleNamespace, embodiment: Embodiment) -> ObservationBuffer:
    return filled(bags, embodiment, history=2)


def test_joints_are_interpolated_at_the_tick(
    buffer: ObservationBuffer, bags: SimpleNamespace
) -> None:
    for offset_ms in (300, 501.3, 1203.77):
        tick = bags.START_NS + int(offset_ms * MS)
        step = buffer.step(tick)
        np.testing.assert_allclose(step.state["joint_pos"], bags.joints_at(tick), atol=1e-6)
        np.testing.assert_allclose(step.state["gripper_width"], bags.width_at(tick), atol=1e-6)
        np.testing.assert_allclose(
            step.action["joint_target"], bags.joints_at(tick) + 0.1, atol=1e-6
        )


def test_images_are_the_last_at_or_before_the_tick(
    buffer: ObservationBuffer, bags: SimpleNamespace, embodiment: Embodiment
) -> None:
    size = embodiment.cameras["front"].size
    stamp = bags.START_NS + round((30 / 30 + 0.004) * bags.NS)
    for tick, index in ((stamp - 1, 29), (stamp, 30), (stamp + 20 * MS, 30)):
        found = buffer.step(tick).images["front"]
        np.testing.assert_array_equal(found, resize(bags.picture(index), size))


def test_commands_that_jump_keep_their_last_value(
    buffer: ObservationBuffer, bags: SimpleNamespace
) -> None:
    change = bags.START_NS + round((30 / 30 + 0.007) * bags.NS)
    assert buffer.step(change - 1).action["gripper_width"] == pytest.approx(0.08)
    assert buffer.step(change).action["gripper_width"] == 0.0


def test_history_is_sampled_at_earlier_ticks_oldest_first(
    buffer: ObservationBuffer, bags: SimpleNamespace, embodiment: Embodiment
) -> None:
    tick = bags.START_NS + 1500 * MS
    observation = buffer.observation(tick, task="lift")
    assert (observation.stamp_ns, observation.task) == (tick, "lift")
    for row, moment in enumerate((tick - embodiment.period_ns, tick)):
        step = buffer.step(moment)
        np.testing.assert_array_equal(observation.state["joint_pos"][row], step.state["joint_pos"])
        np.testing.assert_array_equal(observation.images["wrist"][row], step.images["wrist"])


def test_the_newest_tick_is_the_oldest_of_the_newest_stamps(
    bags: SimpleNamespace, embodiment: Embodiment
) -> None:
    buffer = ObservationBuffer(embodiment)
    assert buffer.newest_tick_ns() is None
    rows = [r for r in bags.streams() if "gello" not in r.topic and "client" not in r.topic]
    newest: dict[str, int] = {}
    oldest: dict[str, int] = {}
    keys = {f"/{spec.topic}": key for key, spec in embodiment.observation_streams.items()}
    for row in rows:
        buffer.push(keys[row.topic], row.msg, row.receive_ns)
        stamp = row.msg.header.stamp
        newest[row.topic] = stamp.sec * bags.NS + stamp.nanosec
        oldest.setdefault(row.topic, newest[row.topic])
        known = len(newest) == len(keys) and min(newest.values()) >= max(oldest.values())
        assert buffer.newest_tick_ns() == (min(newest.values()) if known else None)


def test_what_follows_does_not_change_a_sample(
    bags: SimpleNamespace, embodiment: Embodiment
) -> None:
    """Live the buffer is asked as early as it can; offline later. Both must say the same."""
    buffer = ObservationBuffer(embodiment)
    keys = {f"/{spec.topic}": key for key, spec in embodiment.observation_streams.items()}
    early: dict[int, Any] = {}
    for row in bags.streams():
        if row.topic in keys:
            buffer.push(keys[row.topic], row.msg, row.receive_ns)
            tick = buffer.newest_tick_ns()
            if tick is not None and tick not in early:
                early[tick] = buffer.observation(tick)
    late = filled(bags, embodiment)
    assert len(early) > 50
    for tick, observation in early.items():
        again = late.step(tick)
        for key, value in again.state.items():
            assert value.tobytes() == observation.state[key][0].tobytes()
        for name, value in again.images.items():
            assert value.tobytes() == observation.images[name][0].tobytes()


def test_a_stream_without_messages_is_absent_by_name(embodiment: Embodiment) -> None:
    with pytest.raises(Absent, match="camera/front is absent: nothing received on front/color"):
        ObservationBuffer(embodiment).observation(0)


@pytest.mark.parametrize("key", ["camera/front", "state/joint_pos", "state/gripper_width"])
def test_stale_is_absent_never_zeros_nor_a_repeat(
    bags: SimpleNamespace, embodiment: Embodiment, key: str
) -> None:
    """One stream stops at 1 s; it holds for max_age_s at most, the others go on."""
    stop = bags.START_NS + bags.NS
    buffer = ObservationBuffer(embodiment)
    for row in bags.streams():
        for name, stream in embodiment.observation_streams.items():
            if f"/{stream.topic}" == row.topic and (name != key or row.receive_ns <= stop):
                buffer.push(name, row.msg, row.receive_ns)
    max_age_ns = round(embodiment.streams[key].max_age_s * bags.NS)
    with pytest.raises(Absent) as caught:
        buffer.observation(stop + max_age_ns + 1 * MS)
    assert caught.value.key == key


def test_a_gap_is_not_bridged_by_interpolation(
    bags: SimpleNamespace, embodiment: Embodiment
) -> None:
    """Joints are silent from 0.5 s to 1.5 s: values on both sides do not make the middle known."""
    buffer = ObservationBuffer(embodiment)
    low, high = bags.START_NS + 500 * MS, bags.START_NS + 1500 * MS
    for row in bags.streams():
        for key, stream in embodiment.observation_streams.items():
            silent = key == JOINTS and low < row.receive_ns < high
            if f"/{stream.topic}" == row.topic and not silent:
                buffer.push(key, row.msg, row.receive_ns)
    with pytest.raises(Absent, match=r"joint_states has a gap of 1\.\d+ s \(max_age_s 0\.1\)"):
        buffer.observation(bags.START_NS + 1000 * MS)


def test_a_tick_before_the_beginning_is_absent(
    buffer: ObservationBuffer, bags: SimpleNamespace
) -> None:
    with pytest.raises(Absent, match=r"begins 0\.\d+ s after the tick"):
        buffer.observation(bags.START_NS + 50 * MS)


def test_latency_moves_a_stream_into_the_past(bags: SimpleNamespace) -> None:
    text = FR3.to_yaml()
    late = Embodiment.parse(text.replace("latency_s: 0.0", "latency_s: 0.05", 1))
    assert late.cameras["front"].latency_s == 0.05
    plain, moved = filled(bags, FR3), filled(bags, late)
    tick = bags.START_NS + 1000 * MS
    np.testing.assert_array_equal(
        moved.step(tick).images["front"], plain.step(tick + 50 * MS).images["front"]
    )


def push_joints(buffer: ObservationBuffer, bags: SimpleNamespace, stamp: int, at: int) -> None:
    buffer.push(JOINTS, bags.joint_msg(bags.ARM, bags.joints_at(stamp), stamp), at)


@pytest.mark.parametrize(
    ("shift_ms", "kind"),
    [(0, REPEATED), (-3, JUMP_BACK), (-3_600_000, CLOCK_SET)],
)
def test_clock_trouble_is_named_and_counted(
    bags: SimpleNamespace, embodiment: Embodiment, shift_ms: int, kind: str
) -> None:
    buffer = ObservationBuffer(embodiment)
    push_joints(buffer, bags, bags.START_NS - 50 * MS, bags.START_NS)
    push_joints(buffer, bags, bags.START_NS, bags.START_NS)
    moved = bags.START_NS + shift_ms * MS
    push_joints(buffer, bags, moved, moved)
    assert buffer.trouble == {JOINTS: {kind: 1}}
    assert buffer.trouble_sentences() == [f"franka/joint_states: 1 x {kind}"]


def test_header_zero_is_dropped_and_said(bags: SimpleNamespace, embodiment: Embodiment) -> None:
    buffer = ObservationBuffer(dataclasses.replace(embodiment, cameras={}))
    push_joints(buffer, bags, 0, bags.START_NS)
    assert buffer.trouble == {JOINTS: {ZERO_STAMP: 1}}
    with pytest.raises(Absent, match=r"1 x header stamp 0"):
        buffer.step(bags.START_NS)


def test_another_epoch_is_said_but_used(bags: SimpleNamespace, embodiment: Embodiment) -> None:
    """Stamps of a simulated clock serve well as long as all streams share it."""
    buffer = ObservationBuffer(embodiment)
    push_joints(buffer, bags, 1000, bags.START_NS)
    assert buffer.trouble == {JOINTS: {OTHER_EPOCH: 1}}
    assert buffer.newest_ns(JOINTS) == 1000


def test_after_a_clock_was_set_back_the_stream_begins_anew(
    bags: SimpleNamespace, embodiment: Embodiment
) -> None:
    buffer = ObservationBuffer(embodiment)
    for k in range(10):
        push_joints(buffer, bags, bags.START_NS + k * 5 * MS, bags.START_NS)
    again = bags.START_NS - 3600 * bags.NS
    push_joints(buffer, bags, again, again)
    assert buffer.newest_ns(JOINTS) == again


def test_memory_is_bounded_by_time(bags: SimpleNamespace, embodiment: Embodiment) -> None:
    buffer = ObservationBuffer(embodiment, horizon_s=0.5)
    for k in range(3000):
        push_joints(buffer, bags, bags.START_NS + k * 5 * MS, bags.START_NS + k * 5 * MS)
        low, high = buffer.spans()[JOINTS]
        assert high - low <= 2 * 500 * MS


def test_a_message_is_decoded_only_when_a_tick_asks(embodiment: Embodiment) -> None:
    class Stamped:
        header = SimpleNamespace(stamp=SimpleNamespace(sec=1, nanosec=0))

        def __getattr__(self, name: str) -> Any:
            raise AssertionError(f"{name} was read")

    buffer = ObservationBuffer(embodiment)
    buffer.push(JOINTS, Stamped(), 10**9)
    assert buffer.newest_ns(JOINTS) == 10**9


def test_a_picture_is_decoded_once_for_all_ticks(
    bags: SimpleNamespace, embodiment: Embodiment
) -> None:
    buffer = filled(bags, embodiment)
    stamp = bags.START_NS + round((30 / 30 + 0.011) * bags.NS)
    first, second = buffer.step(stamp + 1 * MS), buffer.step(stamp + 2 * MS)
    assert np.shares_memory(first.images["wrist"], second.images["wrist"])


def test_what_cannot_be_decoded_names_the_stream(
    bags: SimpleNamespace, embodiment: Embodiment
) -> None:
    buffer = filled(bags, embodiment)
    stamp = bags.START_NS + 1999 * MS
    bad = bags.image_msg(bags.picture(0), stamp, encoding="bayer_rggb8")
    buffer.push("camera/front", bad, stamp)
    with pytest.raises(DataError, match="camera/front: image encoding 'bayer_rggb8'"):
        buffer.step(stamp)


def test_an_unknown_stream_is_refused(embodiment: Embodiment) -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'camera/front'"):
        ObservationBuffer(embodiment).push("camera/fornt", None, 0)


def slow_sample(stamps: list[int], values: list[float], tick: int, max_age: int) -> float | None:
    """Linear interpolation by searching everything; None where it is absent."""
    known = sorted(zip(stamps, values, strict=True))
    if tick in stamps:
        return values[stamps.index(tick)]
    before = [row for row in known if row[0] < tick]
    after = [row for row in known if row[0] > tick]
    if not before or not after or after[0][0] - before[-1][0] > max_age:
        return None
    (a, x), (b, y) = before[-1], after[0]
    return x + (y - x) * (tick - a) / (b - a)


@settings(max_examples=60, deadline=None)
@given(
    gaps=st.lists(st.integers(1, 400), min_size=1, max_size=30),
    values=st.lists(st.floats(-3, 3), min_size=30, max_size=30),
    ticks=st.lists(st.integers(-50, 4000), min_size=1, max_size=20),
)
def test_sampling_agrees_with_a_plain_search(
    gaps: list[int], values: list[float], ticks: list[int]
) -> None:
    embodiment = FR3
    start = 10**12
    stamps = [start + int(gap) * MS for gap in np.cumsum(gaps)]
    names = embodiment.arm_joints
    buffer = ObservationBuffer(embodiment, horizon_s=100)
    for stamp, value in zip(stamps, values, strict=False):
        header = SimpleNamespace(stamp=SimpleNamespace(sec=stamp // 10**9, nanosec=stamp % 10**9))
        msg = SimpleNamespace(header=header, name=names, position=[value] * 7)
        buffer.push(JOINTS, msg, stamp)
        buffer.push("state/gripper_width", _fingers(header), stamp)
        for camera in ("front", "wrist"):
            buffer.push(f"camera/{camera}", _pixel(header), stamp)
    for tick in [start + t * MS for t in ticks]:
        wanted = slow_sample(stamps, values[: len(stamps)], tick, 100 * MS)
        try:
            found = float(buffer.step(tick).state["joint_pos"][0])
        except Absent as absent:
            # The other streams have ages of their own; only the joints are judged here.
            if absent.key == JOINTS:
                assert wanted is None
            continue
        assert wanted is not None
        assert found == pytest.approx(wanted, abs=1e-6)


def _fingers(header: Any) -> Any:
    names = ["fr3_finger_joint1", "fr3_finger_joint2"]
    return SimpleNamespace(header=header, name=names, position=[0.0, 0.0])


def _pixel(header: Any) -> Any:
    return SimpleNamespace(
        header=header, height=1, width=1, encoding="rgb8", is_bigendian=0, step=3, data=b"123"
    )


def test_offline_and_live_share_one_resize(bags: SimpleNamespace, embodiment: Embodiment) -> None:
    buffer = filled(bags, embodiment)
    stamp = bags.START_NS + round(0.004 * bags.NS) + 1000 * MS
    wanted = resize(image_rgb(bags.image_msg(bags.picture(30), 0)), (96, 96))
    np.testing.assert_array_equal(buffer.step(stamp).images["front"], wanted)
