# SPDX-License-Identifier: Apache-2.0
"""What a recorder does between the wire and the bag: no rclpy, no decoding.

`Inbox`: bounded by bytes, counts what overflows, never blocks the callback. `EpisodeRecording`: one
episode from start to its bag, written by a thread of its own. `Rates`: messages per second per
topic. An episode is written as `<name>.part` and appears under its name when whole; discarding
moves it to `trash/`, nothing is ever deleted.
"""

from __future__ import annotations

import os
import threading
from collections import Counter, deque
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple, Protocol

from uwm_core.errors import UwmError

ROLES = ("expert", "play", "video")
OUTCOMES = ("success", "failure", "discard")
TRASH = "trash"
_NS = 1_000_000_000


class Raw(NamedTuple):
    """One serialized message."""

    topic: str
    data: bytes
    receive_ns: int


class Inbox:
    """Messages on their way to the writer, bounded by bytes."""

    def __init__(self, max_bytes: int) -> None:
        """Hold at most `max_bytes`."""
        self._max_bytes = max_bytes
        self._condition = threading.Condition()
        self._messages: list[Raw] = []
        self._bytes = 0
        self._closed = False
        self.dropped: Counter[str] = Counter()

    def put(self, message: Raw) -> bool:
        """Add a message; False, and counted, if there is no room. Never waits for the disk."""
        with self._condition:
            if self._closed or self._bytes + len(message.data) > self._max_bytes:
                self.dropped[message.topic] += not self._closed
                return False
            self._messages.append(message)
            self._bytes += len(message.data)
            self._condition.notify()
            return True

    def take(self) -> list[Raw]:
        """Wait for messages and take all; empty means closed and nothing left."""
        with self._condition:
            self._condition.wait_for(lambda: self._messages or self._closed)
            taken, self._messages, self._bytes = self._messages, [], 0
            return taken

    def close(self) -> None:
        """Take nothing more; what is inside can still be taken."""
        with self._condition:
            self._closed = True
            self._condition.notify_all()


class Writer(Protocol):
    """What an episode needs of a bag writer (`uwm_core.data.bag.BagWriter` is one)."""

    def write(self, topic: str, data: bytes, receive_ns: int) -> None:
        """Append a message."""
        ...

    def set_metadata(self, key: str, value: str) -> None:
        """Keep a text with the bag."""
        ...

    def close(self) -> Path:
        """Finish the bag under its name."""
        ...


class EpisodeRecording:
    """One episode on its way to disk.

    Attributes:
        name: Of the episode and of its bag's folder.
        started_ns: When it was started.
    """

    def __init__(
        self,
        name: str,
        writer: Writer,
        started_ns: int,
        lead_in: Iterable[Raw] = (),
        max_bytes: int = 256 * 2**20,
    ) -> None:
        """Start the writer's thread.

        Args:
            name: Of the episode.
            writer: Where the messages go.
            started_ns: Moment of the start.
            lead_in: Messages from just before it, so that the first tick finds every stream.
            max_bytes: Room between the wire and the disk.
        """
        self.name, self.started_ns = name, started_ns
        self._writer = writer
        self._inbox = Inbox(max_bytes)
        self._error: Exception | None = None
        for message in sorted(lead_in, key=lambda message: message.receive_ns):
            self._inbox.put(message)
        self.counts: Counter[str] = Counter()
        self._thread = threading.Thread(target=self._write, name=f"write {name}", daemon=True)
        self._thread.start()

    @property
    def dropped(self) -> Counter[str]:
        """Messages per topic that found no room."""
        return self._inbox.dropped

    @property
    def error(self) -> Exception | None:
        """What went wrong while writing; None while all is well."""
        return self._error

    def add(self, message: Raw) -> bool:
        """Record a message; False if it had to be dropped."""
        return self._inbox.put(message)

    def finish(self, outcome: str, trash: Path | None = None) -> Path:
        """Write what waits, close the bag.

        Args:
            outcome: One of `OUTCOMES`.
            trash: Where to move the bag, if it is discarded.

        Returns:
            The bag's folder.

        Raises:
            UwmError: If writing failed, e.g. because the disk is full.
        """
        self._inbox.close()
        self._thread.join()
        if self._error is not None:
            raise UwmError(f"episode {self.name} could not be written: {self._error}")
        self._writer.set_metadata("uwm.outcome", outcome)
        lost = ", ".join(f"{topic}: {n}" for topic, n in sorted(self.dropped.items()) if n)
        self._writer.set_metadata("uwm.dropped", lost)
        path = self._writer.close()
        return path if trash is None else move_to_trash(path, trash)

    def _write(self) -> None:
        while batch := self._inbox.take():
            for message in batch:
                if self._error is not None:
                    self.dropped[message.topic] += 1
                    continue
                try:
                    self._writer.write(*message)
                    self.counts[message.topic] += 1
                except Exception as error:  # disk full, file gone: told at status and at stop
                    self._error = error


class Rates:
    """Messages per second and silence, per topic."""

    def __init__(self, topics: Iterable[str], window_s: float = 1.0) -> None:
        """Watch `topics` over the last `window_s`."""
        self._window_ns = round(window_s * _NS)
        self._seen: dict[str, deque[int]] = {topic: deque() for topic in topics}

    def watch(self, topic: str) -> None:
        """Watch one more topic."""
        self._seen.setdefault(topic, deque())

    def add(self, topic: str, now_ns: int) -> None:
        """Count one message."""
        seen = self._seen[topic]
        seen.append(now_ns)
        while seen[0] < now_ns - 2 * self._window_ns:
            seen.popleft()

    def rate_hz(self, topic: str, now_ns: int) -> float:
        """Messages per second over the window that ends now."""
        begin_ns = now_ns - self._window_ns
        return sum(stamp > begin_ns for stamp in self._seen[topic]) * _NS / self._window_ns

    def silent_s(self, topic: str, now_ns: int) -> float:
        """Time since the last message; infinite before the first."""
        seen = self._seen[topic]
        return max(0.0, (now_ns - seen[-1]) / _NS) if seen else float("inf")


def check_name(kind: str, value: str, known: tuple[str, ...]) -> str:
    """Return `value` if it is known.

    Raises:
        UwmError: If not.
    """
    if value not in known:
        raise UwmError(f"{kind} must be one of {', '.join(known)}; got {value!r}")
    return value


def episode_name(directory: Path, when: str) -> str:
    """A name that is free in `directory`: the time, and a number where that is taken."""
    for number in range(10_000):
        name = f"{when}_{number:02d}" if number else when
        taken = (directory / name, directory / f"{name}.part", directory / TRASH / name)
        if not any(path.exists() for path in taken):
            return name
    raise UwmError(f"no free episode name {when}_* in {directory}")


def move_to_trash(path: Path, trash: Path) -> Path:
    """Move a bag out of the way without deleting it; returns where it is."""
    trash.mkdir(parents=True, exist_ok=True)
    target = trash / path.name
    os.replace(path, target)
    return target


def silent_topics(
    silent_s: Mapping[str, float], allowed_s: Mapping[str, float]
) -> dict[str, float]:
    """Topics that have been silent for longer than is allowed for them."""
    return {t: s for t, s in silent_s.items() if s > allowed_s.get(t, float("inf"))}
