# SPDX-License-Identifier: Apache-2.0
"""Where the episodes of a bag begin and end, in log time, and what their marks say of them.

A bag is one episode unless something in it says otherwise: the recorder's marks, the messages of a
topic, or pauses of the recording. What a step is, is decided by ``grid``.
"""

from __future__ import annotations

import bisect
import dataclasses
import json
from collections.abc import Iterable, Sequence
from typing import Any, Protocol, get_args

from uwm_core.data.bag import BagReader
from uwm_core.data.store_format import Outcome, Role
from uwm_core.errors import DataError, UwmError, did_you_mean

MARK_TOPIC = "recorder/mark"

_FOREVER_NS = 2**63 - 1


@dataclasses.dataclass(frozen=True)
class Span:
    """One episode of a bag.

    Attributes:
        begin_ns: First log time that is in it.
        end_ns: Last log time that is in it.
        labels: What its marks say: ``task``, ``role``, ``outcome``.
        remarks: What the operator noted during it.
    """

    begin_ns: int = 0
    end_ns: int = _FOREVER_NS
    labels: dict[str, str] = dataclasses.field(default_factory=dict)
    remarks: tuple[str, ...] = ()


class Spans(Protocol):
    """The episodes of one bag, and what was odd about them."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What was odd about them, in sentences."""
        ...

    def at(self, log_ns: int) -> Span | None:
        """The episode that a moment is in, the same object for all its moments; None if none."""
        ...


class ListedSpans:
    """Episodes that are known before the first step.

    Args:
        spans: In order of time, not overlapping.
        notes: What was odd about them.
    """

    def __init__(self, spans: Sequence[Span], notes: Iterable[str] = ()) -> None:
        self.spans = tuple(spans)
        self.notes = tuple(notes)
        self._begins = [span.begin_ns for span in spans]

    def at(self, log_ns: int) -> Span | None:
        """The episode that a moment is in."""
        index = bisect.bisect_right(self._begins, log_ns) - 1
        if index < 0 or log_ns > self.spans[index].end_ns:
            return None
        return self.spans[index]


class GapSpans:
    """Episodes between pauses of the recording, which become known as it is read.

    Args:
        pauses: Stretches without a message, in order; may still grow.
        min_ns: Pauses shorter than this do not count.
    """

    def __init__(self, pauses: Sequence[tuple[int, int]], min_ns: int) -> None:
        self._pauses = pauses
        self._min_ns = min_ns
        self._seen = 0
        self._long: list[tuple[int, int]] = []
        self._spans: dict[int, Span] = {}
        self.notes: tuple[str, ...] = ()

    def at(self, log_ns: int) -> Span | None:
        """The episode that a moment is in."""
        self._long += [p for p in self._pauses[self._seen :] if p[1] - p[0] >= self._min_ns]
        self._seen = len(self._pauses)
        index = bisect.bisect_right(self._long, log_ns, key=lambda pause: pause[0])
        if index and log_ns < self._long[index - 1][1]:
            return None
        return self._spans.setdefault(index, Span())


def spans_by_topic(reader: BagReader, topic: str) -> ListedSpans:
    """Cut a bag at every message of a topic.

    Raises:
        DataError: If the bag has no such topic.
    """
    name = topic if topic.startswith("/") else f"/{topic}"
    if name not in reader.topics:
        known = ", ".join(sorted(reader.topics))
        hint = did_you_mean(name, reader.topics)
        raise DataError(f"{reader.path}: no topic {name} to cut at.{hint} The bag has: {known}")
    cuts = sorted({log_ns for _, _, log_ns in reader.messages([name])})
    begins = [0, *cuts]
    ends = [*(cut - 1 for cut in cuts), _FOREVER_NS]
    return ListedSpans([Span(b, e) for b, e in zip(begins, ends, strict=True)])


def spans_by_marks(reader: BagReader) -> ListedSpans:
    """Episodes by the marks that the recorder left; the whole bag where there are none.

    A mark is a ``std_msgs/String`` with JSON: ``{"event": "start", "task": ..., "role": ...}``,
    ``{"event": "stop", "outcome": ...}``, ``{"event": "note", "text": ...}``; others are passed
    over.
    """
    topics = [name for name in reader.topics if name.endswith(f"/{MARK_TOPIC}")]
    marks = _Marks()
    for _, message, log_ns in reader.messages(topics):
        try:
            mark = json.loads(str(message.data))
        except (UwmError, ValueError):
            mark = None
        marks.take(mark, log_ns)
    return marks.finish()


class _Marks:
    """Marks to spans, one mark after the other."""

    def __init__(self) -> None:
        self._spans: list[Span] = []
        self._notes: list[str] = []
        self._open: Span | None = None

    def take(self, mark: Any, log_ns: int) -> None:
        event = mark.get("event") if isinstance(mark, dict) else None
        if event == "start":
            if self._open is not None:
                self._notes.append("an episode was started before the last was stopped")
                self._end(log_ns - 1, {})
            self._open = Span(log_ns, labels=_labels(mark, ("task", "role")))
        elif event == "stop":
            if self._open is None:
                self._notes.append("a stop mark without a start was passed over")
            self._end(log_ns, _labels(mark, ("task", "role", "outcome")))
        elif event == "note" and self._open is not None:
            remarks = (*self._open.remarks, str(mark.get("text", "")))
            self._open = dataclasses.replace(self._open, remarks=remarks)
        elif event is None:
            self._notes.append("a mark that is not understood was passed over")

    def _end(self, end_ns: int, labels: dict[str, str]) -> None:
        if self._open is not None:
            whole = {**self._open.labels, **labels}
            self._spans.append(dataclasses.replace(self._open, end_ns=end_ns, labels=whole))
        self._open = None

    def finish(self) -> ListedSpans:
        if self._open is not None:
            self._notes.append("the last episode was not stopped, it goes on to the end")
            self._end(_FOREVER_NS, {})
        return ListedSpans(self._spans or [Span()], self._notes)


def _labels(mark: dict[str, Any], keys: Iterable[str]) -> dict[str, str]:
    """Labels of a mark; a role or outcome that nobody knows says nothing."""
    known = {"role": get_args(Role), "outcome": get_args(Outcome)}
    return {
        key: str(mark[key])
        for key in keys
        if mark.get(key) and str(mark[key]) in known.get(key, (str(mark[key]),))
    }
