# SPDX-License-Identifier: Apache-2.0
"""What is wrong with a stream while it is being recorded, said at once and not afterwards.

`TopicHealth` is told of every message (about 2 us each, so 1 kHz is cheap) and asked now and then
what is wrong. Time comes in as an argument; nothing is decoded but a stamp and an image's size.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import NamedTuple

from uwm_ros.logic.peek import image_size, stamp_ns

_NS = 1_000_000_000
_SILENT_S = 1.0
_PERIODS = 3
_WINDOW_PERIODS = 5
_MIN_SHARE = 0.8
# Header and this computer's clock may differ by a bad synchronisation, not by this much.
_OTHER_EPOCH_S = 60.0
_JUMP_S = 1.0
NEVER_S = float("inf")


class Alarm(NamedTuple):
    """One thing that is wrong: `key` stays the same while it lasts, `text` says what it is."""

    key: str
    text: str


@dataclass(frozen=True, kw_only=True)
class Expectation:
    """What is expected of a topic.

    Attributes:
        topic: Resolved name.
        rate_hz: As the embodiment says; 0 where it says nothing: then only clocks are judged.
        max_gap_s: A larger gap leaves steps without a value (the embodiment's `max_age_s`).
        starts_late: A command stream may begin with the first motion.
        stamped: The type begins with a header.
        image: The type is `sensor_msgs/Image`.
    """

    topic: str
    rate_hz: float = 0.0
    max_gap_s: float = NEVER_S
    starts_late: bool = False
    stamped: bool = False
    image: bool = False

    @property
    def silent_s(self) -> float:
        """Silence after which the topic counts as stopped."""
        return max(_SILENT_S, _PERIODS / self.rate_hz) if self.rate_hz else NEVER_S

    @property
    def window_s(self) -> float:
        """Time over which the rate is taken: long enough for slow topics to have one."""
        return max(1.0, _WINDOW_PERIODS / self.rate_hz) if self.rate_hz else 1.0


class TopicHealth:
    """Rate, age, gaps and clock of one topic.

    Attributes:
        expected: What it is judged by.
        gap_s: Largest gap between two messages since `begin`.
        offset_s: Receive time less header stamp of the newest message; None without a header.
        size: (height, width) of the newest image; None where it is none.
    """

    def __init__(self, expected: Expectation) -> None:
        """Watch a topic."""
        self.expected = expected
        self.offset_s: float | None = None
        self.size: tuple[int, int] | None = None
        self._seen: deque[int] = deque()
        self._keep_ns = round(2 * expected.window_s * _NS)
        self._stamp_ns: int | None = None
        self._receive_ns = 0
        self._begin_ns: int | None = None
        self._clear()

    def _clear(self) -> None:
        self.gap_s = 0.0
        self._gap_ns = 0
        self._zeros = self._back = self._ahead = self._sizes = 0

    def begin(self, now_ns: int) -> None:
        """A take begins: forget the gaps and jumps of before."""
        self._clear()
        self._begin_ns = now_ns

    def end(self) -> None:
        """The take is over; the last figures stay."""
        self._begin_ns = None

    def add(self, data: bytes, receive_ns: int) -> None:
        """Look at one message; called for every one."""
        seen = self._seen
        if seen:
            gap_ns = receive_ns - seen[-1]
            if gap_ns > self._gap_ns:
                self._gap_ns, self.gap_s = gap_ns, gap_ns / _NS
        seen.append(receive_ns)
        oldest_ns = receive_ns - self._keep_ns
        while seen[0] < oldest_ns:
            seen.popleft()
        if self.expected.stamped:
            self._clock(stamp_ns(data), receive_ns)
        if self.expected.image:
            size = image_size(data)
            self._sizes += self.size is not None and size != self.size
            self.size = size

    def _clock(self, stamp: int | None, receive_ns: int) -> None:
        if not stamp:
            self._zeros += 1
            self._stamp_ns = None
            return
        if self._stamp_ns is not None:
            step_ns = stamp - self._stamp_ns
            if step_ns < 0:
                self._back += 1
            elif step_ns - (receive_ns - self._receive_ns) > _JUMP_S * _NS:
                self._ahead += 1
        self._stamp_ns, self._receive_ns = stamp, receive_ns
        self.offset_s = (receive_ns - stamp) / _NS

    def rate_hz(self, now_ns: int) -> float:
        """Messages per second over the window that ends now."""
        begin_ns = now_ns - self.expected.window_s * _NS
        return sum(receive_ns > begin_ns for receive_ns in tuple(self._seen)) / (
            self.expected.window_s
        )

    def silent_s(self, now_ns: int) -> float:
        """Time since the newest message; infinite before the first."""
        return max(0.0, (now_ns - self._seen[-1]) / _NS) if self._seen else NEVER_S

    def alarms(self, now_ns: int) -> list[Alarm]:
        """What is wrong now; gaps and jumps stay wrong until the next `begin`."""
        return [*self._flow(now_ns), *self._gap(), *self._clocks()]

    def _flow(self, now_ns: int) -> list[Alarm]:
        expected, topic = self.expected, self.expected.topic
        silent_s = self.silent_s(now_ns)
        if not expected.rate_hz or (expected.starts_late and silent_s == NEVER_S):
            return []
        if silent_s > expected.silent_s:
            since = f"for {silent_s:.1f} s" if silent_s != NEVER_S else "since the start"
            return [Alarm(f"{topic} stopped", f"{topic} is silent {since}")]
        rate_hz = self.rate_hz(now_ns)
        # A stream that has just begun has not had the time to fill its window.
        settled = now_ns - self._seen[0] >= expected.window_s * _NS
        if settled and rate_hz < _MIN_SHARE * expected.rate_hz:
            text = f"{topic} has {rate_hz:.1f} Hz, the embodiment says {expected.rate_hz:g} Hz"
            return [Alarm(f"{topic} slow", text)]
        return []

    def _gap(self) -> list[Alarm]:
        expected = self.expected
        if self._begin_ns is None or self.gap_s <= expected.max_gap_s:
            return []
        text = (
            f"{expected.topic} had a gap of {self.gap_s:.3f} s, more than max_age_s "
            f"{expected.max_gap_s:g}: steps there have no value"
        )
        return [Alarm(f"{expected.topic} gap", text)]

    def _clocks(self) -> list[Alarm]:
        topic, found = self.expected.topic, []
        for name, count, text in (
            ("zero stamp", self._zeros, "messages without a header stamp"),
            ("clock back", self._back, "header stamps that jump back"),
            ("clock ahead", self._ahead, "header stamps that jump ahead"),
            ("size", self._sizes, "changes of its image size"),
        ):
            if count:
                found.append(Alarm(f"{topic} {name}", f"{topic} has {count} {text}"))
        offset_s = self.offset_s
        if offset_s is not None and abs(offset_s) > _OTHER_EPOCH_S:
            text = f"{topic} has stamps of another epoch, {offset_s:.0f} s from this clock"
            found.append(Alarm(f"{topic} epoch", text))
        return found
