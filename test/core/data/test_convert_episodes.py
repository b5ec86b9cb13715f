# SPDX-License-Identifier: Apache-2.0
"""Laws of episodes within a bag: marks, topics and pauses select rows, they never change one.

The oracle is the bag converted whole: an episode is the rows of it whose ticks lie in its span.
"""

import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from uwm_core.cli.main import main
from uwm_core.data.convert import ConvertConfig, Report, convert
from uwm_core.data.episodes import GapSpans, ListedSpans, Span
from uwm_core.data.store import Episode, Store
from uwm_core.embodiment import Embodiment
from uwm_core.errors import DataError

TEXT = "std_msgs/msg/String"
MARK = "/recorder/mark"
FR3 = Embodiment.load("fr3_sim").to_yaml()

Marks = list[tuple[float, Any]]


def record(
    bags: SimpleNamespace, path: Path, marks: Marks, *, topic: str = MARK, **labels: str
) -> Path:
    """Two seconds with marks (an object, or text as it is) at given seconds."""
    rows = list(bags.streams())
    for second, mark in marks:
        text = mark if isinstance(mark, str) else json.dumps(mark)
        ns = bags.START_NS + int(second * bags.NS)
        rows.append(bags.Message(topic, TEXT, bags.make(TEXT, data=text), ns))
    rows.sort(key=lambda row: row.receive_ns)
    metadata = {"uwm.embodiment": FR3, **{f"uwm.{key}": text for key, text in labels.items()}}
    return Path(bags.write_bag(path, rows, metadata=metadata))


def start(**labels: str) -> dict[str, str]:
    return {"event": "start", **labels}


def stop(outcome: str = "success") -> dict[str, str]:
    return {"event": "stop", "outcome": outcome}


@pytest.fixture(scope="module")
def whole(good_bag: Path, tmp_path_factory: pytest.TempPathFactory) -> Episode:
    """The same two seconds as one episode."""
    path = tmp_path_factory.mktemp("whole") / "s.zarr"
    convert([good_bag], path, ConvertConfig(whole=True))
    return Store.open(path).episode(0)


def seconds_of(whole: Episode, bags: SimpleNamespace) -> Any:
    return (whole.stamp_ns - bags.START_NS) / bags.NS


def assert_are_rows_of(store: Store, whole: Episode, spans: list[list[int]]) -> None:
    """Each episode is those rows of the whole, byte by byte."""
    assert len(store) == len(spans)
    for number, rows in enumerate(spans):
        episode = store.episode(number)
        assert episode.stamp_ns.tolist() == whole.stamp_ns[rows].tolist()
        assert episode.action.tobytes() == whole.action[rows].tobytes()
        for key, images in episode.images.items():
            assert images.tobytes() == whole.images[key][rows].tobytes()


def converted(path: Path, tmp_path: Path, **options: Any) -> tuple[Report, Store]:
    report = convert([path], tmp_path / "s.zarr", ConvertConfig(**options))
    return report, Store.open(tmp_path / "s.zarr")


@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(cuts=st.lists(st.floats(0.0, 2.0), min_size=2, max_size=6, unique=True))
def test_marked_episodes_are_the_rows_between_their_marks(
    bags: SimpleNamespace,
    whole: Episode,
    tmp_path_factory: pytest.TempPathFactory,
    cuts: list[float],
) -> None:
    cuts = sorted(cuts)[: len(cuts) // 2 * 2]
    pairs = list(zip(cuts[::2], cuts[1::2], strict=True))
    marks: Marks = [m for low, high in pairs for m in ((low, start()), (high, stop()))]
    folder = tmp_path_factory.mktemp("marked")
    path = record(bags, folder / "bag", marks)
    seconds = seconds_of(whole, bags)
    spans = [[i for i, s in enumerate(seconds) if low <= s <= high] for low, high in pairs]
    spans = [rows for rows in spans if len(rows) >= 2]
    if not spans:
        with pytest.raises(DataError, match="too short"):
            converted(path, folder)
        return
    _, store = converted(path, folder)
    assert_are_rows_of(store, whole, spans)
    several = [(int(whole.stamp_ns[r[0]]), int(whole.stamp_ns[r[-1]])) for r in spans]
    wanted = several if len(spans) > 1 else [None]
    assert [record.source_span for record in store.episodes] == wanted
    goes_on = [record.source_goes_on for record in store.episodes]
    assert goes_on == [True] * (len(spans) - 1) + [False]


def test_marks_say_task_role_outcome_and_remarks(bags: SimpleNamespace, tmp_path: Path) -> None:
    marks: Marks = [
        (0.1, start(task="push", role="play")),
        (0.5, {"event": "note", "text": "it slipped"}),
        (0.9, stop("failure")),
        (1.0, start(task="lift")),
        (1.8, stop()),
    ]
    _, store = converted(record(bags, tmp_path / "bag", marks), tmp_path)
    known = [(r.task, r.role, r.outcome, r.remarks) for r in store.episodes]
    assert known == [
        ("push", "play", "failure", ("it slipped",)),
        ("lift", "expert", "success", ()),
    ]


def test_what_stands_on_the_bag_wins_over_its_marks(bags: SimpleNamespace, tmp_path: Path) -> None:
    """An operator relabels the bag, not the marks in it."""
    marks: Marks = [(0.1, start(task="push")), (1.9, stop("success"))]
    path = record(bags, tmp_path / "bag", marks, outcome="failure", task="push harder")
    (known,) = converted(path, tmp_path)[1].episodes
    assert (known.task, known.outcome) == ("push harder", "failure")


def test_marked_discards_stay_out(bags: SimpleNamespace, whole: Episode, tmp_path: Path) -> None:
    marks: Marks = [(0.1, start()), (0.9, stop("discard")), (1.0, start()), (1.8, stop())]
    _, store = converted(record(bags, tmp_path / "bag", marks), tmp_path)
    rows = [i for i, s in enumerate(seconds_of(whole, bags)) if 1.0 <= s <= 1.8]
    assert_are_rows_of(store, whole, [rows])


def test_a_bag_of_discards_alone_is_reported_as_such(
    bags: SimpleNamespace, good_bag: Path, tmp_path: Path
) -> None:
    path = record(bags, tmp_path / "bag", [(0.1, start()), (1.8, stop("discard"))])
    report = convert([path, good_bag], tmp_path / "s.zarr")
    assert [result.state for result in report.results] == ["discarded", "converted"]


ODD_MARKS: dict[str, tuple[Marks, str, int]] = {
    "not JSON": ([(0.5, "{start")], "not understood", 1),
    "not an object": ([(0.5, "[1]")], "not understood", 1),
    "never stopped": ([(0.5, start())], "was not stopped", 1),
    "stopped only": ([(0.5, stop())], "without a start", 1),
    "started twice": ([(0.3, start()), (1.0, start()), (1.8, stop())], "before the last", 2),
}


@pytest.mark.parametrize("odd", ODD_MARKS)
def test_odd_marks_are_told_and_lose_no_row_silently(
    bags: SimpleNamespace, tmp_path: Path, odd: str
) -> None:
    marks, says, episodes = ODD_MARKS[odd]
    report, store = converted(record(bags, tmp_path / "bag", marks), tmp_path)
    assert len(store) == episodes
    assert any(says in note for _, note in report.notes)


def test_marks_may_be_ignored(bags: SimpleNamespace, whole: Episode, tmp_path: Path) -> None:
    path = record(bags, tmp_path / "bag", [(0.5, start()), (1.0, stop())])
    _, store = converted(path, tmp_path, whole=True)
    assert_are_rows_of(store, whole, [list(range(20))])


def test_any_topic_may_cut(bags: SimpleNamespace, whole: Episode, tmp_path: Path) -> None:
    path = record(bags, tmp_path / "bag", [(0.7, "x"), (1.3, "y")], topic="/button")
    seconds = seconds_of(whole, bags)
    spans = [
        [i for i, s in enumerate(seconds) if low <= s < high]
        for low, high in ((0, 0.7), (0.7, 1.3), (1.3, 9))
    ]
    _, store = converted(path, tmp_path, by_topic="/button")
    assert_are_rows_of(store, whole, spans)
    with pytest.raises(DataError, match=r"no topic /buton to cut at\. Did you mean '/button'"):
        converted(path, tmp_path / "other", by_topic="buton")


def test_pauses_may_cut_and_are_then_no_holes(
    bags: SimpleNamespace, whole: Episode, tmp_path: Path
) -> None:
    """The recording was paused: every topic is silent from 0.85 s on, for three seconds."""
    pause_ns = 3 * bags.NS
    rows = list(bags.streams())
    for row in rows:
        if row.receive_ns > bags.START_NS + 850_000_000:
            row.receive_ns += pause_ns
            if hasattr(row.msg, "header"):
                ns = row.msg.header.stamp.sec * bags.NS + row.msg.header.stamp.nanosec
                row.msg = dataclasses.replace(row.msg, header=bags.header(ns + pause_ns))
    path = bags.write_bag(tmp_path / "bag", rows)
    with pytest.raises(DataError, match=r"has a hole"):
        converted(path, tmp_path)
    _, store = converted(path, tmp_path, by_gaps_s=2.0)
    assert len(store) == 2
    assert store.episodes[0].steps >= 7 and store.episodes[1].steps >= 9
    first, second = store.episode(0), store.episode(1)
    joints = [bags.joints_at(int(tick)) for tick in first.stamp_ns]
    np.testing.assert_allclose(first.state["joint_pos"], joints, atol=1e-6)
    joints = [bags.joints_at(int(tick) - 3 * bags.NS) for tick in second.stamp_ns]
    np.testing.assert_allclose(second.state["joint_pos"], joints, atol=1e-6)


@given(
    begins=st.lists(st.integers(0, 1000), min_size=1, max_size=8, unique=True),
    moments=st.lists(st.integers(-10, 1100), min_size=1, max_size=30),
)
def test_a_moment_is_in_the_span_that_holds_it(begins: list[int], moments: list[int]) -> None:
    begins = sorted(begins)
    ends = [b + (after - b) // 2 for b, after in zip(begins, [*begins[1:], 2000], strict=True)]
    spans = [Span(b, e) for b, e in zip(begins, ends, strict=True)]
    listed = ListedSpans(spans)
    for moment in moments:
        holding = [span for span in spans if span.begin_ns <= moment <= span.end_ns]
        assert listed.at(moment) is (holding[0] if holding else None)


@given(
    pauses=st.lists(st.tuples(st.integers(1, 50), st.integers(1, 50)), max_size=8),
    moments=st.lists(st.integers(0, 900), min_size=1, max_size=30),
    min_ns=st.integers(1, 50),
)
def test_a_moment_in_a_long_pause_is_in_no_episode(
    pauses: list[tuple[int, int]], moments: list[int], min_ns: int
) -> None:
    at, stretches = 0, []
    for run, silence in pauses:
        stretches.append((at + run, at + run + silence))
        at += run + silence
    long = [(a, b) for a, b in stretches if b - a >= min_ns]
    spans = GapSpans(stretches, min_ns)
    for moment in moments:
        inside = any(a < moment < b for a, b in long)
        # On the very edge a moment belongs to one side or is between; both are no step of a grid.
        if not any(moment in pause for pause in long):
            assert (spans.at(moment) is None) == inside
            number = sum(b <= moment for _, b in long)
            same = [m for m in moments if not inside and sum(b <= m for _, b in long) == number]
            held = [spans.at(m) for m in same if not any(a <= m <= b for a, b in long)]
            assert all(span is held[0] for span in held)


def test_the_command_takes_one_way_to_cut(
    good_bag: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["convert", str(good_bag), "-o", str(tmp_path / "s.zarr"), "-q"]
    assert main([*words, "--episodes-by-gaps", "-1"]) == 2
    assert "by_gaps_s must be above 0" in capsys.readouterr().err
    assert main([*words, "--episodes-by-topic", "/none"]) == 2
    assert "no topic /none" in capsys.readouterr().err
