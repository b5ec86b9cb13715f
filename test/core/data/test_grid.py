# SPDX-License-Identifier: Apache-2.0
"""Laws of the grid: the same ticks, choices and holes as a plain search through all messages.

The oracle keeps every message and searches all of them for every tick; it has no buffers, no
incremental edges and no order of arrival. Streams have either clock, latencies, gaps, messages
out of order, repeated and unstamped.
"""

import dataclasses
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from uwm_core.data.grid import Grid, Hole
from uwm_core.embodiment import Embodiment
from uwm_core.errors import DataError
from uwm_core.records import Step

MS = 1_000_000
START = 1_700_000_000_000_000_000
FR3 = Embodiment.load("fr3_sim")
CAMERA, STATE, ACTION = "camera/front", "state/joint_pos", "action/gripper_width"


class Sample(NamedTuple):
    """A message of one stream: log time, header stamp (ms after the start; None: 0), value."""

    log_ms: int
    stamp_ms: int | None
    value: float


class Timing(NamedTuple):
    """Clock, latency and age of a stream."""

    clock: str
    latency_ms: int
    max_age_ms: int


def embodiment_of(timings: dict[str, Timing]) -> Embodiment:
    def changed(stream: Any, timing: Timing) -> Any:
        return dataclasses.replace(
            stream,
            rate_hz=100.0,
            clock=timing.clock,
            latency_s=timing.latency_ms / 1000,
            max_age_s=timing.max_age_ms / 1000,
        )

    return dataclasses.replace(
        FR3,
        cameras={"front": changed(FR3.cameras["front"], timings[CAMERA])},
        state={"joint_pos": changed(FR3.state["joint_pos"], timings[STATE])},
        action={"gripper_width": changed(FR3.action["gripper_width"], timings[ACTION])},
    )


def message(key: str, sample: Sample) -> Any:
    ns = 0 if sample.stamp_ms is None else START + sample.stamp_ms * MS
    header = SimpleNamespace(stamp=SimpleNamespace(sec=ns // 10**9, nanosec=ns % 10**9))
    if key == STATE:
        return SimpleNamespace(header=header, name=FR3.arm_joints, position=[sample.value] * 7)
    return SimpleNamespace(header=header, data=sample.value)


def usable(samples: list[Sample], timing: Timing) -> list[tuple[int, Sample]]:
    """Stamps of the messages that count, in order, each with its message."""
    kept: list[tuple[int, Sample]] = []
    for sample in samples:
        ms = sample.log_ms if timing.clock == "receive" else sample.stamp_ms
        if ms is None:
            continue
        stamp = START + (ms - timing.latency_ms) * MS
        if not kept or stamp > kept[-1][0]:
            kept.append((stamp, sample))
    return kept


def chosen(kept: list[tuple[int, Sample]], tick: int, max_age_ns: int) -> Sample | None:
    """The last at or before the tick, if it is young enough."""
    before = [row for row in kept if row[0] <= tick]
    return before[-1][1] if before and tick - before[-1][0] <= max_age_ns else None


def interpolated(kept: list[tuple[int, Sample]], tick: int, max_age_ns: int) -> float | None:
    """On the line between its neighbours, if they are close enough to one another."""
    if exact := [sample for stamp, sample in kept if stamp == tick]:
        return exact[0].value
    before = [row for row in kept if row[0] < tick][-1:]
    after = [row for row in kept if row[0] > tick][:1]
    if not before or not after or after[0][0] - before[0][0] > max_age_ns:
        return None
    (a, left), (b, right) = before[0], after[0]
    return left.value + (right.value - left.value) * (tick - a) / (b - a)


def searched(
    streams: dict[str, list[Sample]], timings: dict[str, Timing], period_ns: int
) -> list[tuple[int, Sample | None, float | None, float | None]]:
    """Ticks with what holds at each; nothing if the streams have no moment in common."""
    kept = {key: usable(samples, timings[key]) for key, samples in streams.items()}
    if not all(kept.values()):
        return []
    first = max(rows[0][0] for rows in kept.values())
    last = min(rows[-1][0] for rows in kept.values())
    ages = {key: timing.max_age_ms * MS for key, timing in timings.items()}
    found = []
    for tick in range(first, last + 1, period_ns):
        action = chosen(kept[ACTION], tick, ages[ACTION])
        found.append(
            (
                tick,
                chosen(kept[CAMERA], tick, ages[CAMERA]),
                interpolated(kept[STATE], tick, ages[STATE]),
                None if action is None else action.value,
            )
        )
    return found


def walked(
    streams: dict[str, list[Sample]], embodiment: Embodiment
) -> tuple[list[Step | Hole], dict[int, Sample]]:
    """What the grid makes of the messages in log order, and which message is which sample."""
    topics = {stream.topic: stream.topic for stream in embodiment.streams.values()}
    grid = Grid(embodiment, topics)
    rows = [(s.log_ms, key, s) for key, samples in streams.items() for s in samples]
    found: list[Step | Hole] = []
    known: dict[int, Sample] = {}
    held = []
    for log_ms, key, sample in sorted(rows, key=lambda row: row[0]):
        msg = message(key, sample)
        held.append(msg)
        known[id(msg)] = sample
        if grid.push(embodiment.streams[key].topic, msg, START + log_ms * MS):
            found += grid.due()
    try:
        found += [hole for hole in grid.finish() if not hole.final]
    except DataError:
        assert found == []
    for step in found:
        if isinstance(step, Step):
            image: Any = step.images["front"]
            known[step.stamp_ns] = known[id(image.msg)]
    return found, known


def samples(max_size: int) -> st.SearchStrategy[list[Sample]]:
    """Messages in log order; stamps mostly a little before, sometimes odd."""
    one = st.tuples(
        st.integers(0, 160),
        st.one_of(st.integers(-30, 2), st.sampled_from([-60, -90, None])),
        st.floats(-2, 2),
    )

    def build(steps: list[tuple[int, int | None, float]]) -> list[Sample]:
        log_ms, rows = 1000, []
        for gap_ms, delay_ms, value in steps:
            log_ms += gap_ms
            rows.append(Sample(log_ms, None if delay_ms is None else log_ms + delay_ms, value))
        return rows

    return st.lists(one, min_size=1, max_size=max_size).map(build)


def timing(clocks: list[str]) -> st.SearchStrategy[Timing]:
    return st.builds(
        Timing, st.sampled_from(clocks), st.integers(0, 80), st.sampled_from([20, 100, 300])
    )


@settings(max_examples=200, deadline=None)
@given(
    streams=st.fixed_dictionaries({key: samples(25) for key in (CAMERA, STATE, ACTION)}),
    timings=st.fixed_dictionaries(
        {
            CAMERA: timing(["header", "receive"]),
            STATE: timing(["header", "receive"]),
            ACTION: timing(["receive"]),
        }
    ),
)
def test_the_grid_agrees_with_a_search_through_everything(
    streams: dict[str, list[Sample]], timings: dict[str, Timing]
) -> None:
    embodiment = embodiment_of(timings)
    wanted = searched(streams, timings, embodiment.period_ns)
    found, known = walked(streams, embodiment)
    assert [item.stamp_ns for item in found] == [row[0] for row in wanted]
    for item, (tick, image, joint, grip) in zip(found, wanted, strict=True):
        if isinstance(item, Hole):
            assert image is None or joint is None or grip is None
            continue
        assert known[tick] is image
        assert joint is not None and grip is not None
        assert item.state["joint_pos"][0] == pytest.approx(joint, abs=1e-6)
        assert item.action["gripper_width"][0] == pytest.approx(0.08 * grip, abs=1e-6)


def steady(seconds: float, every_ms: int = 20) -> list[Sample]:
    return [Sample(1000 + k, 1000 + k, 0.5) for k in range(0, int(seconds * 1000), every_ms)]


PLAIN = dict.fromkeys((CAMERA, STATE, ACTION), Timing("receive", 0, 100))


@pytest.mark.parametrize("key", [CAMERA, STATE, ACTION])
def test_a_stream_that_stops_makes_holes_while_the_bag_goes_on_and_holds_nothing_back(
    key: str,
) -> None:
    """Memory: the others are not kept until it comes again, which may be never."""
    streams = {k: steady(60) for k in (CAMERA, STATE, ACTION)}
    streams[key] = [s for s in streams[key] if not 10_000 < s.log_ms < 50_000]
    embodiment = embodiment_of(PLAIN)
    topics = {stream.topic: stream.topic for stream in embodiment.streams.values()}
    grid = Grid(embodiment, topics)
    rows = sorted((s.log_ms, k, s) for k, samples in streams.items() for s in samples)
    behind_ms, found = [], []
    for log_ms, k, sample in rows:
        if grid.push(embodiment.streams[k].topic, message(k, sample), START + log_ms * MS):
            found += grid.due()
        if found:
            behind_ms.append(log_ms - (found[-1].stamp_ns - START) // MS)
    assert max(behind_ms) < 6000
    wanted = searched(streams, PLAIN, embodiment.period_ns)
    assert [item.stamp_ns for item in found] == [row[0] for row in wanted]
    whole = [None not in row for row in wanted]
    assert [isinstance(item, Step) for item in found] == whole
    holes = [item for item in found if isinstance(item, Hole)]
    assert len(holes) > 380 and all(key in hole.reason for hole in holes)


def test_an_unreadable_message_is_counted_and_missing() -> None:
    class Short:
        @property
        def header(self) -> Any:
            raise DataError("too short")

    embodiment = embodiment_of({**PLAIN, STATE: Timing("header", 0, 100)})
    topics = {stream.topic: stream.topic for stream in embodiment.streams.values()}
    grid = Grid(embodiment, topics)
    topic = embodiment.state["joint_pos"].topic
    grid.push(topic, Short(), START)
    assert grid.trouble() == {(topic, "message too short for a header"): 1}
    with pytest.raises(DataError, match=r"has no usable message \(.*1 x message too short"):
        list(grid.finish())
