# SPDX-License-Identifier: Apache-2.0
"""One stream's messages in the order of their stamps, as far back as a tick may ask.

Undecoded until they are wanted. Stamps that cannot be used are counted by what is wrong with them;
``data.resample`` joins the streams of an embodiment.
"""

from __future__ import annotations

import bisect
import collections
from collections.abc import Callable
from typing import Any

import numpy.typing as npt

from uwm_core.data.messages import NS_PER_S, header_ns, vector
from uwm_core.errors import DataError
from uwm_core.streams import Camera, Vector

# A header further than this from the time of reception is of another epoch (since boot, simulated).
EPOCH_NS = 60 * NS_PER_S

ZERO_STAMP = "header stamp 0"
JUMP_BACK = "stamp jumps back"
CLOCK_SET = "clock set back"
REPEATED = "stamp repeated"
OTHER_EPOCH = "header stamp of another epoch than the time of reception"


class Absent(DataError):
    """A stream has nothing that holds at the tick.

    Attributes:
        key: The stream, e.g. ``camera/front``.
        reason: Why, in one clause.
    """

    def __init__(self, key: str, reason: str) -> None:
        super().__init__(f"{key} is absent: {reason}")
        self.key = key
        self.reason = reason


class Entry:
    """One message: undecoded until it is first wanted, then only its value is kept."""

    __slots__ = ("msg", "stamp_ns", "value")

    def __init__(self, stamp: int, msg: Any) -> None:
        self.stamp_ns = stamp
        self.msg = msg
        self.value: npt.NDArray[Any] | None = None

    def decoded(self, spec: Camera | Vector, view: Callable[[Any, Camera], Any]) -> Any:
        """Its value; ``view`` makes that of an image."""
        msg, value = self.msg, self.value
        if value is None:
            value = view(msg, spec) if isinstance(spec, Camera) else vector(msg, spec)
            self.value, self.msg = value, None
        return value


class StreamBuffer:
    """Messages of one stream in the order of their stamps.

    Args:
        key: The stream, e.g. ``camera/front``.
        spec: Its rules.
        horizon_ns: How far back messages are kept, and how far back a stamp is out of order.

    Attributes:
        trouble: Messages that could not be used, by reason.
    """

    def __init__(self, key: str, spec: Camera | Vector, horizon_ns: int) -> None:
        self.key = key
        self.spec = spec
        self.max_age_ns = round(spec.max_age_s * NS_PER_S)
        self._latency_ns = round(spec.latency_s * NS_PER_S)
        self._horizon_ns = horizon_ns
        self._stamps: list[int] = []
        self._entries: list[Entry] = []
        self.trouble: collections.Counter[str] = collections.Counter()

    @property
    def newest_ns(self) -> int | None:
        """Newest usable stamp."""
        return self._stamps[-1] if self._stamps else None

    @property
    def oldest_ns(self) -> int | None:
        """Oldest stamp that is kept."""
        return self._stamps[0] if self._stamps else None

    def push(self, msg: Any, receive_ns: int) -> int | None:
        """Take a message; its stamp, or None if it cannot be used."""
        stamp = receive_ns
        if self.spec.clock == "header":
            stamp = header_ns(msg)
            if stamp == 0:
                self.trouble[ZERO_STAMP] += 1
                return None
            if abs(stamp - receive_ns) > EPOCH_NS:
                self.trouble[OTHER_EPOCH] += 1
        stamp -= self._latency_ns
        if self._stamps and stamp <= self._stamps[-1]:
            if stamp == self._stamps[-1]:
                self.trouble[REPEATED] += 1
                return None
            # Further back than anything kept is no message out of order: the clock was set, e.g.
            # because a simulation began anew.
            if stamp > self._stamps[-1] - self._horizon_ns:
                self.trouble[JUMP_BACK] += 1
                return None
            self.trouble[CLOCK_SET] += 1
            self._stamps.clear()
            self._entries.clear()
        self._stamps.append(stamp)
        self._entries.append(Entry(stamp, msg))
        # Old ones go in batches: removing from a list's front costs its whole length.
        if stamp - self._stamps[0] > 2 * self._horizon_ns:
            self.forget_before(stamp - self._horizon_ns)
        return stamp

    def forget_before(self, tick_ns: int) -> None:
        """Drop what no tick at or after this one can need."""
        keep = max(0, bisect.bisect_right(self._stamps, tick_ns) - 1)
        del self._stamps[:keep]
        del self._entries[:keep]

    def around(self, tick_ns: int) -> tuple[Entry, Entry | None]:
        """The entry at or before the tick, and the one after it where interpolation needs it.

        Raises:
            Absent: If there is none, or it is too old.
        """
        index = bisect.bisect_right(self._stamps, tick_ns)
        if index == 0:
            if not self._stamps:
                dropped = ", ".join(f"{count} x {kind}" for kind, count in self.trouble.items())
                reason = f"nothing received on {self.spec.topic}"
                raise Absent(
                    self.key, f"{reason} that can be used ({dropped})" if dropped else reason
                )
            late_s = (self._stamps[0] - tick_ns) / NS_PER_S
            raise Absent(self.key, f"{self.spec.topic} begins {late_s:.3f} s after the tick")
        before = self._entries[index - 1]
        exact = before.stamp_ns == tick_ns
        linear = isinstance(self.spec, Vector) and self.spec.interpolation == "linear"
        if linear and not exact:
            if index == len(self._entries):
                raise Absent(self.key, f"{self.spec.topic} is not known yet at the tick")
            after = self._entries[index]
            self._check_age(after.stamp_ns - before.stamp_ns, "has a gap of")
            return before, after
        self._check_age(tick_ns - before.stamp_ns, "is silent for")
        return before, None

    def _check_age(self, age_ns: int, what: str) -> None:
        if age_ns > self.max_age_ns:
            raise Absent(
                self.key,
                f"{self.spec.topic} {what} {age_ns / NS_PER_S:.3f} s "
                f"(max_age_s {self.spec.max_age_s:g})",
            )
