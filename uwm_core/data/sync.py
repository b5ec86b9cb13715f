# SPDX-License-Identifier: Apache-2.0
"""How well the streams of an episode kept time: rates, gaps, ages, clock offsets.

``SyncMeter`` watches the walk through a recording: every message with its two clocks, every tick
with the age of the samples that it used. It keeps one row a second, of which ``StreamSync``, a few
numbers for the episode's record, and ``Bins``, the same over time, are made for any stretch of
time. Nothing here decodes a message.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from uwm_core.data.messages import NS_PER_S
from uwm_core.streams import Camera, Vector

# A rate below this share of the embodiment's is worth a warning: at 30 Hz it is 24.
SLOW_SHARE = 0.8
# Two machines whose clocks differ by more than this are not synchronised (NTP holds 10 ms).
OFFSET_S = 0.1
# Messages whose clocks wait for one vectorised pass.
_BATCH = 4096


@dataclasses.dataclass(frozen=True, kw_only=True)
class StreamSync:
    """One stream of one episode in numbers.

    Attributes:
        messages: Messages in the seconds that end before the episode does.
        rate_hz: Messages per second, first to last of these.
        slowest_hz: Fewest messages in any of these seconds but the first.
        gap_max_s: Longest time between two stamps.
        gap_at_s: When that gap began, since the first message that counts.
        age_p50_s: Median age of the sample used at a tick.
        age_max_s: Largest age of a sample used at a tick.
        offset_s: Median of reception less header stamp: delay plus clock offset; 0 without header.
        offset_drift_s: How much that median moved from the first to the last second.
    """

    messages: int = 0
    rate_hz: float = 0.0
    slowest_hz: float = 0.0
    gap_max_s: float = 0.0
    gap_at_s: float = 0.0
    age_p50_s: float = 0.0
    age_max_s: float = 0.0
    offset_s: float = 0.0
    offset_drift_s: float = 0.0

    @classmethod
    def from_json(cls, entry: Mapping[str, Any]) -> StreamSync:
        """Read it back; keys of newer versions are ignored."""
        names = {field.name for field in dataclasses.fields(cls)}
        return cls(**{key: value for key, value in entry.items() if key in names})

    def to_json(self) -> dict[str, Any]:
        """Plain values, rounded to microseconds."""
        entry = dataclasses.asdict(self)
        return {k: round(v, 6) if isinstance(v, float) else v for k, v in entry.items()}

    def warnings(self, spec: Camera | Vector) -> list[str]:
        """What a person should look at, in sentences without the stream's name.

        Args:
            spec: What the embodiment expects of the stream.
        """
        found = []
        if self.messages > 1 and self.rate_hz < SLOW_SHARE * spec.rate_hz:
            found.append(f"comes at {self.rate_hz:.1f} Hz, the embodiment says {spec.rate_hz:g}")
        if self.gap_max_s > spec.max_age_s:
            found.append(
                f"has a gap of {self.gap_max_s:.3f} s at {self.gap_at_s:.1f} s "
                f"(max_age_s {spec.max_age_s:g})"
            )
        if abs(self.offset_s) > OFFSET_S:
            found.append(f"is received {self.offset_s:+.3f} s after its header stamp")
        if abs(self.offset_drift_s) > OFFSET_S / 2:
            found.append(f"has a clock that drifts: {self.offset_drift_s:+.3f} s over the episode")
        return found


@dataclasses.dataclass(frozen=True, eq=False)
class Bins:
    """One stream over time, a row per second.

    Attributes:
        messages: (S,) messages in each second.
        gap_s: (S,) longest distance of two stamps that ended in each second.
        offset_s: (S,) smallest reception less header stamp; NaN without messages or header.
    """

    messages: npt.NDArray[np.int64]
    gap_s: npt.NDArray[np.float64]
    offset_s: npt.NDArray[np.float64]


@dataclasses.dataclass(slots=True)
class _Second:
    """One stream in one second of its own stamps."""

    first_ns: int
    last_ns: int
    messages: int
    gap_ns: int
    gap_end_ns: int
    offset_ns: int
    ages_ns: list[int]


class _Meter:
    """Counts one stream; stamps wait in lists and are reduced a batch at a time."""

    def __init__(self) -> None:
        self._stamps: list[int] = []
        self._logs: list[int] = []
        self._last: int | None = None
        self._ages: dict[int, list[int]] = {}
        self.seconds: dict[int, _Second] = {}

    def add(self, stamp_ns: int, log_ns: int) -> None:
        self._stamps.append(stamp_ns)
        self._logs.append(log_ns)
        if len(self._stamps) == _BATCH:
            self.flush()

    def use(self, tick_ns: int, age_ns: int) -> None:
        self._ages.setdefault(tick_ns // NS_PER_S, []).append(age_ns)

    def flush(self) -> None:
        if not self._stamps:
            return
        stamps, logs = np.array(self._stamps, np.int64), np.array(self._logs, np.int64)
        self._stamps.clear()
        self._logs.clear()
        gaps = np.diff(stamps, prepend=stamps[0] if self._last is None else self._last)
        self._last = int(stamps[-1])
        # Stamps rise, so every second is one run of rows; where a clock was set, it is several.
        cuts = np.flatnonzero(np.diff(stamps // NS_PER_S)) + 1
        for rows in np.split(np.arange(len(stamps)), cuts):
            self._count(stamps[rows], gaps[rows], (logs - stamps)[rows])

    def _count(
        self,
        stamps: npt.NDArray[np.int64],
        gaps: npt.NDArray[np.int64],
        offsets: npt.NDArray[np.int64],
    ) -> None:
        widest = int(gaps.argmax())
        found = _Second(
            int(stamps[0]), int(stamps[-1]), len(stamps), int(gaps[widest]), int(stamps[widest]),
            int(offsets.min()), [],
        )  # fmt: skip
        old = self.seconds.setdefault(int(stamps[0] // NS_PER_S), found)
        if old is not found:
            old.first_ns = min(old.first_ns, found.first_ns)
            old.last_ns = max(old.last_ns, found.last_ns)
            old.messages += found.messages
            old.offset_ns = min(old.offset_ns, found.offset_ns)
            if found.gap_ns > old.gap_ns:
                old.gap_ns, old.gap_end_ns = found.gap_ns, found.gap_end_ns

    def between(self, begin_ns: int, end_ns: int) -> list[_Second]:
        """The seconds that a stretch of time touches, in order.

        The last, broken one is left out: how much of it was seen depends on how far the walk is
        ahead of those who ask.
        """
        self.flush()
        first, last = begin_ns // NS_PER_S, end_ns // NS_PER_S
        return [self.seconds[s] for s in sorted(self.seconds) if first <= s < last]

    def ages(self, begin_ns: int, end_ns: int) -> npt.NDArray[np.float64]:
        first, last = begin_ns // NS_PER_S, end_ns // NS_PER_S
        found = [age for s, ages in self._ages.items() if first <= s < last for age in ages]
        return np.array(found or [0], np.float64) / NS_PER_S

    def forget_before(self, moment_ns: int) -> None:
        """Drop the seconds that ended before a moment."""
        first = moment_ns // NS_PER_S
        self.flush()
        self.seconds = {s: row for s, row in self.seconds.items() if s >= first}
        self._ages = {s: ages for s, ages in self._ages.items() if s >= first}


class SyncMeter:
    """Measures all streams of one recording.

    Args:
        streams: The streams by key, as ``Embodiment.streams`` has them.
    """

    def __init__(self, streams: Mapping[str, Camera | Vector]) -> None:
        self._streams = dict(streams)
        self._meters = {key: _Meter() for key in streams}

    def saw(self, key: str, stamp_ns: int, log_ns: int) -> None:
        """Count one message.

        Args:
            key: Its stream.
            stamp_ns: Its stamp as the grid uses it (the stream's clock, latency subtracted).
            log_ns: When it was received.
        """
        self._meters[key].add(stamp_ns, log_ns)

    def used(self, key: str, tick_ns: int, age_ns: int) -> None:
        """Count one sample that a tick used, ``age_ns`` old at that tick."""
        self._meters[key].use(tick_ns, age_ns)

    def forget_before(self, moment_ns: int) -> None:
        """Drop what ended before a moment."""
        for meter in self._meters.values():
            meter.forget_before(moment_ns)

    def streams(self, begin_ns: int, end_ns: int) -> dict[str, StreamSync]:
        """Every stream from one stamp to another, by whole seconds."""
        return {key: self._stream(key, begin_ns, end_ns) for key in self._meters}

    def _stream(self, key: str, begin_ns: int, end_ns: int) -> StreamSync:
        rows = self._meters[key].between(begin_ns, end_ns)
        if not rows:
            return StreamSync()
        ages = self._meters[key].ages(begin_ns, end_ns)
        messages = sum(row.messages for row in rows)
        span_s = (rows[-1].last_ns - rows[0].first_ns) / NS_PER_S
        # A gap that began before the stretch is not the episode's.
        inner = [row for row in rows if row.gap_end_ns > rows[0].first_ns] or rows[:1]
        widest = max(inner, key=lambda row: row.gap_ns)
        gap_ns = min(widest.gap_ns, widest.gap_end_ns - rows[0].first_ns)
        rate_hz = (messages - 1) / span_s if span_s > 0 else 0.0
        offsets = self._offsets(key, rows)
        return StreamSync(
            messages=messages,
            rate_hz=rate_hz,
            slowest_hz=float(min((row.messages for row in rows[1:]), default=rate_hz)),
            gap_max_s=gap_ns / NS_PER_S,
            gap_at_s=(widest.gap_end_ns - gap_ns - rows[0].first_ns) / NS_PER_S,
            age_p50_s=float(np.median(ages)),
            age_max_s=float(ages.max()),
            offset_s=float(np.median(offsets)),
            offset_drift_s=float(offsets[-1] - offsets[0]),
        )

    def _offsets(self, key: str, rows: Sequence[_Second]) -> npt.NDArray[np.float64]:
        """Reception less header stamp, per second; 0 for streams without a header."""
        spec = self._streams[key]
        if spec.clock != "header":
            return np.zeros(len(rows))
        return np.array([row.offset_ns for row in rows]) / NS_PER_S - spec.latency_s

    def over_time(self, begin_ns: int, end_ns: int) -> dict[str, Bins]:
        """The same second by second; seconds without a message are rows too."""
        found = {}
        for key, meter in self._meters.items():
            rows = meter.between(begin_ns, end_ns)
            if not rows:
                continue
            place = np.array([row.first_ns // NS_PER_S for row in rows]) - begin_ns // NS_PER_S
            table = np.full((int(place[-1]) + 1, 3), (0.0, 0.0, np.nan))
            table[place, 0] = [row.messages for row in rows]
            table[place, 1] = [row.gap_ns / NS_PER_S for row in rows]
            if self._streams[key].clock == "header":
                table[place, 2] = self._offsets(key, rows)
            found[key] = Bins(table[:, 0].astype(np.int64), table[:, 1], table[:, 2])
        return found
