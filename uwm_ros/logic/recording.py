# SPDX-License-Identifier: Apache-2.0
"""What a recorder does between the wire and the bag: no rclpy, no decoding.

`Inbox`: bounded by bytes, counts what overflows, never waits for the disk. `EpisodeRecording`: one
bag from start to end, written by a thread of its own. What becomes of finished bags is left to
`recording_shelf`.
"""

from __future__ import annotations

import json
import threading
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Protocol

from uwm_core.errors import UwmError
from uwm_ros.logic.alarms import Alarm

ROLES = ("expert", "play", "video")
OUTCOMES = ("success", "failure", "discard")
MAX_QUEUE_BYTES = 512 * 2**20
_BATCH_BYTES = 8 * 2**20
# A queue this full is on its way to overflow: writing is slower than what arrives.
_LAGGING = 0.25


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
        self._messages: deque[Raw] = deque()
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

    @property
    def waiting_bytes(self) -> int:
        """Bytes inside."""
        return self._bytes

    def take(self) -> list[Raw]:
        """Wait for messages and take some; empty means closed and nothing left."""
        with self._condition:
            self._condition.wait_for(lambda: self._messages or self._closed)
            taken: list[Raw] = []
            taken_bytes = 0
            # Not all at once: what is taken is no longer counted, yet still in memory.
            while self._messages and taken_bytes < _BATCH_BYTES:
                taken.append(self._messages.popleft())
                taken_bytes += len(taken[-1].data)
            self._bytes -= taken_bytes
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
        counts: Messages written, by topic.
        bytes_written: Of these messages.
    """

    def __init__(
        self,
        name: str,
        writer: Writer,
        started_ns: int,
        max_bytes: int = MAX_QUEUE_BYTES,
    ) -> None:
        """Start the writer's thread.

        Args:
            name: Of the episode.
            writer: Where the messages go.
            started_ns: Moment of the start.
            max_bytes: Room between the wire and the disk.
        """
        self.name, self.started_ns = name, started_ns
        self._writer = writer
        self._inbox = Inbox(max_bytes)
        self._max_bytes = max_bytes
        self._error: Exception | None = None
        self.bytes_written = 0
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

    @property
    def waiting_bytes(self) -> int:
        """Bytes that wait for the disk."""
        return self._inbox.waiting_bytes

    @property
    def is_lagging(self) -> bool:
        """Whether writing is slower than what arrives."""
        return self.waiting_bytes > _LAGGING * self._max_bytes

    def add(self, message: Raw) -> bool:
        """Record a message; False if it had to be dropped."""
        return self._inbox.put(message)

    def finish(self, labels: Mapping[str, str]) -> Path:
        """Write what waits, close the bag.

        Args:
            labels: What is known about the episode now that it is over.

        Returns:
            The bag's folder.

        Raises:
            UwmError: If writing failed, e.g. because the disk is full.
        """
        self._inbox.close()
        self._thread.join()
        if self._error is not None:
            raise UwmError(f"episode {self.name} could not be written: {self._error}")
        lost = {topic: n for topic, n in sorted(self.dropped.items()) if n}
        for key, value in {**labels, "uwm.dropped": json.dumps(lost)}.items():
            self._writer.set_metadata(key, value)
        return self._writer.close()

    def _write(self) -> None:
        while batch := self._inbox.take():
            for message in batch:
                if self._error is not None:
                    self.dropped[message.topic] += 1
                    continue
                try:
                    self._writer.write(*message)
                    self.counts[message.topic] += 1
                    self.bytes_written += len(message.data)
                except Exception as error:  # disk full, file gone: told at status and at stop
                    self._error = error


@dataclass
class Take:
    """The episode that is being recorded, and what is said about it.

    Attributes:
        recording: Its bag on the way to disk.
        task: Task sentence.
        role: One of `ROLES`.
        remarks: What the operator noted.
    """

    recording: EpisodeRecording
    task: str
    role: str
    remarks: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        """Of the episode."""
        return self.recording.name

    def alarms(self) -> list[Alarm]:
        """What is wrong with the writing."""
        recording, found = self.recording, []
        if recording.error is not None:
            found.append(Alarm("write", f"cannot write: {recording.error}"))
        for topic, count in sorted(recording.dropped.items()):
            if count:
                text = f"{topic}: {count} messages dropped, writing was too slow for them"
                found.append(Alarm(f"{topic} dropped", text))
        if recording.is_lagging:
            waiting = f"{recording.waiting_bytes / 1e6:.0f} MB wait"
            text = f"writing is slower than the streams: {waiting}; no compression, a faster disk"
            found.append(Alarm("lag", text))
        return found


def check_name(kind: str, value: str, known: tuple[str, ...]) -> str:
    """Return `value` if it is known.

    Raises:
        UwmError: If not.
    """
    if value not in known:
        raise UwmError(f"{kind} must be one of {', '.join(known)}; got {value!r}")
    return value
