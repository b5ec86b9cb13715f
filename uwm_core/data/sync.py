# SPDX-License-Identifier: Apache-2.0
"""How well the streams of an episode kept time: rates, gaps, ages, clock offsets.

``SyncMeter`` watches a conversion: every message with its two clocks, every tick with the samples
that were used. ``StreamSync`` is what remains of one stream: a few numbers that travel in the
episode's record, and one ``Bins`` row per second for those who want to see it over time. Nothing
here decodes a message, and memory grows by one row a second.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
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
        messages: Messages seen.
        rate_hz: Messages per second, first to last.
        slowest_hz: Fewest messages in any whole second.
        gap_max_s: Longest time between two stamps.
        gap_at_s: When that gap began, since the first message of the stream.
        age_p50_s: Median age of the sample used at a tick.
        age_max_s: Largest age of a sample used at a tick.
        offset_s: Median of reception less header stamp: delay plus clock offset; 0 without header.
        offset_drift_s: How much that median moved from the first to the last second.
        trouble: Messages that could not be used, by reason.
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
    trouble: dict[str, int] = dataclasses.field(default_factory=dict)

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
        return [*found, *(f"{count} x {kind}" for kind, count in self.trouble.items())]


@dataclasses.dataclass(frozen=True, eq=False)
class Bins:
    """One stream over time, a row per second since its first message.

    Attributes:
        messages: (S,) messages received in each second.
        gap_s: (S,) longest distance of two stamps that ended in each second.
        offset_s: (S,) smallest reception less header stamp; NaN without messages or header.
    """

    messages: npt.NDArray[np.int64]
    gap_s: npt.NDArray[np.float64]
    offset_s: npt.NDArray[np.float64]


class _Meter:
    """Counts one stream; stamps wait in lists and are reduced a batch at a time."""

    def __init__(self, has_header: bool) -> None:
        self._has_header = has_header
        self._stamps: list[int] = []
        self._logs: list[int] = []
        self._messages = 0
        self._first = self._last = 0
        self._first_log = 0
        self._gap_ns = self._gap_at_ns = 0
        self._bins: list[list[float]] = []

    def add(self, stamp_ns: int, log_ns: int) -> None:
        self._stamps.append(stamp_ns)
        self._logs.append(log_ns)
        if len(self._stamps) == _BATCH:
            self.flush()

    def flush(self) -> None:
        if not self._stamps:
            return
        stamps, logs = np.array(self._stamps, np.int64), np.array(self._logs, np.int64)
        self._stamps.clear()
        self._logs.clear()
        if not self._messages:
            self._first = self._last = int(stamps[0])
            self._first_log = int(logs[0])
        self._messages += len(stamps)
        gaps = np.diff(stamps, prepend=self._last)
        widest = int(gaps.argmax())
        if gaps[widest] > self._gap_ns:
            self._gap_ns = int(gaps[widest])
            self._gap_at_ns = int(stamps[widest]) - self._gap_ns - self._first
        self._last = int(stamps[-1])
        self._sort_into_bins(logs, gaps, logs - stamps)

    def _sort_into_bins(
        self, logs: npt.NDArray[np.int64], gaps: npt.NDArray[np.int64], offset: npt.NDArray[Any]
    ) -> None:
        second = np.maximum(logs - self._first_log, 0) // NS_PER_S
        for number in np.unique(second):
            here = second == number
            # Seconds in which nothing came are rows too, but an absurd clock must not make a year.
            while len(self._bins) <= number < len(self._bins) + 86_400:
                self._bins.append([0, 0.0, np.nan])
            if number >= len(self._bins):
                continue
            row = self._bins[int(number)]
            row[0] += int(here.sum())
            row[1] = max(row[1], float(gaps[here].max()) / NS_PER_S)
            if self._has_header:
                row[2] = float(np.fmin(row[2], offset[here].min() / NS_PER_S))

    def bins(self) -> Bins:
        self.flush()
        table = np.array(self._bins, np.float64).reshape(-1, 3)
        return Bins(table[:, 0].astype(np.int64), table[:, 1], table[:, 2])

    def summary(self, ages_ns: list[int], trouble: Mapping[str, int]) -> StreamSync:
        bins = self.bins()
        span_s = (self._last - self._first) / NS_PER_S
        ages = np.array(ages_ns or [0]) / NS_PER_S
        known = bins.offset_s[np.isfinite(bins.offset_s)]
        # The first and the last second are cut off by the episode's ends.
        whole = bins.messages[1:-1]
        rate_hz = (self._messages - 1) / span_s if span_s > 0 else 0.0
        return StreamSync(
            messages=self._messages,
            rate_hz=rate_hz,
            slowest_hz=float(whole.min()) if len(whole) else rate_hz,
            gap_max_s=self._gap_ns / NS_PER_S,
            gap_at_s=self._gap_at_ns / NS_PER_S,
            age_p50_s=float(np.median(ages)),
            age_max_s=float(ages.max()),
            offset_s=float(np.median(known)) if len(known) else 0.0,
            offset_drift_s=float(known[-1] - known[0]) if len(known) else 0.0,
            trouble=dict(trouble),
        )


class SyncMeter:
    """Measures all streams of one episode.

    Args:
        streams: The streams by key, as ``Embodiment.streams`` has them.
    """

    def __init__(self, streams: Mapping[str, Camera | Vector]) -> None:
        self._meters = {key: _Meter(spec.clock == "header") for key, spec in streams.items()}
        self._latency_ns = {
            key: round(spec.latency_s * NS_PER_S) for key, spec in streams.items()
        }
        self._ages: dict[str, list[int]] = {key: [] for key in streams}

    def saw(self, key: str, stamp_ns: int, log_ns: int) -> None:
        """Count one message.

        Args:
            key: Its stream.
            stamp_ns: Its stamp as the grid uses it (the stream's clock, latency subtracted).
            log_ns: When it was received.
        """
        self._meters[key].add(stamp_ns + self._latency_ns[key], log_ns)

    def used(self, key: str, age_ns: int) -> None:
        """Count one sample that a tick used, ``age_ns`` old at that tick."""
        self._ages[key].append(age_ns)

    def streams(
        self, trouble: Mapping[str, Mapping[str, int]] | None = None
    ) -> dict[str, StreamSync]:
        """What was measured so far, by stream.

        Args:
            trouble: Messages by stream and by what was wrong with their stamps.
        """
        return {
            key: meter.summary(self._ages[key], (trouble or {}).get(key, {}))
            for key, meter in self._meters.items()
        }

    def over_time(self) -> dict[str, Bins]:
        """The same second by second."""
        return {key: meter.bins() for key, meter in self._meters.items()}
