# SPDX-License-Identifier: Apache-2.0
"""A flight recorder between the wire and the bag: what is remembered, and when it is written.

`FlightMemory` keeps the last seconds of raw messages within a bound of bytes. `Watch` looks at what
the executor says and finds the moments worth a bag. `Flights` gathers them, each with some time
after it, into bags that are due one after the other. No rclpy, no clock, no disk.
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from uwm_ros.logic.recording import Raw

NS = 1_000_000_000
ASKED = "asked"
SILENT = "executor_silent"
_OPERATOR = "operator"
# Fewer pictures than these of one camera are no film any more; then other messages give way.
_FEW_PICTURES = 8
# A bag stays open for more events, but not longer than so many times the time after the first.
_EXTENSIONS = 3


class FlightMemory:
    """The last seconds of messages; safe to use from several threads.

    Where the bytes do not suffice, every second picture of a camera's older ones gives way, again
    and again: the older a moment, the fewer pictures of it are left, and joints stay complete.

    Attributes:
        thinned: Pictures by topic that gave way to newer messages.
        dropped: Other messages by topic that did.
    """

    def __init__(self, span_s: float, max_bytes: int) -> None:
        """Remember `span_s` seconds in at most `max_bytes`."""
        self.thinned: Counter[str] = Counter()
        self.dropped: Counter[str] = Counter()
        self._span_ns, self._max_bytes = round(span_s * NS), max_bytes
        self._messages: dict[str, deque[Raw]] = {}
        self._sizes: Counter[str] = Counter()
        self._pictures: set[str] = set()
        self._newest_ns = 0
        self._bytes = 0
        self._lock = threading.Lock()

    @property
    def held_bytes(self) -> int:
        """Bytes of all messages inside."""
        return self._bytes

    @property
    def held_s(self) -> float:
        """Time from the oldest message inside to the newest, s."""
        with self._lock:
            oldest = [messages[0].receive_ns for messages in self._messages.values() if messages]
            return (self._newest_ns - min(oldest)) / NS if oldest else 0.0

    def add(self, message: Raw, *, picture: bool = False) -> None:
        """Remember a message.

        Args:
            message: Of one topic in order of time.
            picture: Whether it is an image, which gives way first.
        """
        topic = message.topic
        with self._lock:
            if message.receive_ns < self._newest_ns - self._span_ns:
                self._forget_all()  # the clock was set back: what there is lies in its future
            self._newest_ns = max(self._newest_ns, message.receive_ns)
            self._messages.setdefault(topic, deque()).append(message)
            self._grow(topic, len(message.data))
            if picture:
                self._pictures.add(topic)
            self._forget_old(topic)
            if self._bytes > self._max_bytes:
                self._make_room()

    def between(self, start_ns: int, end_ns: int) -> list[Raw]:
        """Messages received in [start_ns, end_ns], in order of time."""
        with self._lock:
            held = [
                message
                for messages in self._messages.values()
                for message in messages
                if start_ns <= message.receive_ns <= end_ns
            ]
        return sorted(held, key=lambda message: message.receive_ns)

    def _make_room(self) -> None:
        for topic in self._messages:
            self._forget_old(topic)  # of topics that fell silent
        while self._bytes > self._max_bytes:
            films = [t for t in self._pictures if len(self._messages[t]) > _FEW_PICTURES]
            if films:
                self._thin(max(films, key=self._sizes.__getitem__))
            else:
                self._drop_oldest(max(self._messages, key=self._sizes.__getitem__))

    def _thin(self, topic: str) -> None:
        """Take out every second picture of the older three quarters."""
        messages = list(self._messages[topic])
        older = messages[: len(messages) * 3 // 4]
        self._messages[topic] = deque(older[::2] + messages[len(older) :])
        self.thinned[topic] += len(older[1::2])
        self._grow(topic, -sum(len(message.data) for message in older[1::2]))

    def _drop_oldest(self, topic: str) -> None:
        kind = self.thinned if topic in self._pictures else self.dropped
        kind[topic] += 1
        self._grow(topic, -len(self._messages[topic].popleft().data))

    def _forget_old(self, topic: str) -> None:
        messages, oldest_ns = self._messages[topic], self._newest_ns - self._span_ns
        while messages and messages[0].receive_ns < oldest_ns:
            self._grow(topic, -len(messages.popleft().data))

    def _forget_all(self) -> None:
        self._messages.clear()
        self._sizes.clear()
        self._pictures.clear()
        self._newest_ns = self._bytes = 0

    def _grow(self, topic: str, size: int) -> None:
        self._sizes[topic] += size
        self._bytes += size


class Event(NamedTuple):
    """Something worth a bag.

    Attributes:
        moment_ns: When it was noticed.
        cause: In one word.
        reason: In one sentence.
    """

    moment_ns: int
    cause: str
    reason: str


class Watch:
    """Finds events in what the executor says."""

    def __init__(self, silent_s: float) -> None:
        """Wait for the first word; an executor silent for `silent_s` while it runs is one."""
        self._silent_ns = round(silent_s * NS)
        self._state = ""
        self._heard_ns = 0

    def heard(self, state: str, cause: str, reason: str, now_ns: int) -> Event | None:
        """Take a word of the executor.

        Args:
            state: One of its states.
            cause: Why it does not run.
            reason: The same as a sentence.
            now_ns: The moment.

        Returns:
            The event, where the arm was brought to rest by trouble, or stopped.
        """
        before, self._state, self._heard_ns = self._state, state, now_ns
        # What was so before we came is no event: nothing is remembered of it.
        if before in ("", state):
            return None
        if state == "stopped" or (state == "holding" and cause != _OPERATOR):
            return Event(now_ns, cause if state == "holding" else state, reason)
        return None

    def silence(self, now_ns: int) -> Event | None:
        """The event, where the executor has fallen silent while it ran; told once."""
        if self._state != "running" or now_ns - self._heard_ns <= self._silent_ns:
            return None
        self._state = ""
        silent_s = (now_ns - self._heard_ns) / NS
        return Event(now_ns, SILENT, f"the executor ran and is silent for {silent_s:.1f} s")


@dataclass
class Flight:
    """One bag to be.

    Attributes:
        name: Of its folder.
        events: Why it is written, first first.
        start_ns: Where it begins.
        end_ns: Where it ends; not before then can it be written.
    """

    name: str
    start_ns: int
    end_ns: int
    events: list[Event] = field(default_factory=list)


class Flights:
    """Makes bags of events: those that come while one is open are in it too.

    Attributes:
        span_s: How far back a bag may begin when it is taken.
    """

    def __init__(self, before_s: float, after_s: float) -> None:
        """Each bag begins `before_s` before its first event and ends `after_s` after its last."""
        self.span_s = before_s + _EXTENSIONS * after_s
        self._before_ns, self._after_ns = round(before_s * NS), round(after_s * NS)
        self._open: Flight | None = None
        self._told_ns = 0

    @property
    def is_open(self) -> bool:
        """Whether a bag is asked for and not yet taken."""
        return self._open is not None

    def add(self, event: Event, name: str) -> Flight:
        """Ask for a bag.

        Trouble that comes again and again is told once: its next bag begins where the last ended.
        Whoever asks gets all there is.

        Args:
            event: What happened.
            name: Of a bag that begins with it.

        Returns:
            The bag that it will be in.
        """
        if self._open is None:
            start_ns = event.moment_ns - self._before_ns
            if event.cause != ASKED:
                start_ns = max(start_ns, self._told_ns)
            self._open = Flight(name, start_ns, event.moment_ns)
        flight = self._open
        flight.events.append(event)
        # Trouble without end must not keep the bag of its beginning from being written.
        latest_ns = flight.events[0].moment_ns + _EXTENSIONS * self._after_ns
        flight.end_ns = min(event.moment_ns + self._after_ns, latest_ns)
        return flight

    def take(self, now_ns: int) -> Flight | None:
        """The bag whose time has come, once; None: there is none."""
        flight = self._open
        if flight is None or now_ns < flight.end_ns:
            return None
        self._open, self._told_ns = None, flight.end_ns
        return flight


def surplus(names: Iterable[str], most: int) -> list[str]:
    """Names of the oldest bags that go so that `most` are left; names begin with their time."""
    ordered = sorted(names)
    return ordered[: max(len(ordered) - most, 0)]
