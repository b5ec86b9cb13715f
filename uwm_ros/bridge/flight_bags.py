# SPDX-License-Identifier: Apache-2.0
"""The bags of a flight recorder: written by a thread of low priority, the oldest removed."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import uwm_core
from uwm_core.data.bag import BagWriter
from uwm_core.errors import UwmError
from uwm_ros.bridge.machine import free_bytes
from uwm_ros.bridge.taps import Tap
from uwm_ros.logic.flight import NS, Flight, surplus
from uwm_ros.logic.recording import Raw
from uwm_ros.logic.worker import LatestWorker

_PREFIX = "flight_"
_NICENESS = 10
# The arm that has just been brought to rest shares this computer.
_BREATH_BYTES = 16 * 2**20
_BREATH_S = 0.01


@dataclass(frozen=True, kw_only=True)
class Load:
    """All that goes into one bag.

    Attributes:
        flight: Why, and from when to when.
        messages: In order of time.
        taps: By topic; announced are those that have a message.
        labels: Texts kept with the bag.
    """

    flight: Flight
    messages: Sequence[Raw]
    taps: Mapping[str, Tap]
    labels: Mapping[str, str] = field(default_factory=dict)


class FlightBags:
    """A folder of at most so many bags.

    Attributes:
        directory: The folder.
        written: Bags written since the start.
        last: Where the newest is; None before the first.
        trouble: Why the last one could not be written; empty while it could.
    """

    def __init__(
        self, directory: Path, most: int, min_free_bytes: int, say: Callable[[str], None]
    ) -> None:
        """Wait for a bag.

        Args:
            directory: The folder; made when it is needed.
            most: How many bags may lie there; the oldest give way.
            min_free_bytes: With less room on the disk none is written.
            say: Gets a line about each bag.
        """
        self.directory, self.written, self.trouble = directory, 0, ""
        self.last: Path | None = None
        self._most, self._min_free_bytes, self._say = most, min_free_bytes, say
        self._worker: LatestWorker[Load] = LatestWorker(
            self._write, self._failed, name="flight bags", niceness=_NICENESS
        )

    @property
    def busy(self) -> bool:
        """Whether one is being written."""
        return self._worker.busy

    def free_name(self, cause: str, now_ns: int) -> str:
        """A name that begins with the time and ends with the cause."""
        moment = time.strftime("%Y%m%d_%H%M%S", time.localtime(now_ns / NS))
        name, number = f"{_PREFIX}{moment}_{cause}", 1
        while any((self.directory / f"{name}{end}").exists() for end in ("", ".part")):
            number += 1
            name = f"{_PREFIX}{moment}_{cause}_{number}"
        return name

    def submit(self, load: Load) -> None:
        """Write a bag, beside everything else; only while none is being written."""
        self._worker.submit(load)

    def close(self, patience_s: float = 20.0) -> None:
        """Let the bag that is being written be finished."""
        end_s = time.monotonic() + patience_s
        while self.busy and time.monotonic() < end_s:
            time.sleep(0.02)
        self._worker.close()

    def _write(self, load: Load) -> None:
        """One bag; on the worker's thread."""
        free = free_bytes(self.directory)
        if free < self._min_free_bytes:
            gib = 2**30
            raise UwmError(f"{self.directory} has {free / gib:.2f} GiB free; make room")
        self.directory.mkdir(parents=True, exist_ok=True)
        self._remove_oldest()
        writer = BagWriter(self.directory / load.flight.name, metadata=_labels(load))
        try:
            for topic in dict.fromkeys(message.topic for message in load.messages):
                tap = load.taps[topic]
                writer.add_topic(topic, tap.type, reliable=tap.is_reliable, latched=tap.is_latched)
            written = 0
            for message in load.messages:
                writer.write(*message)
                written += len(message.data)
                if written > _BREATH_BYTES:
                    written = 0
                    time.sleep(_BREATH_S)
            self.last = writer.close()
        finally:
            writer.abort()
        self.written, self.trouble = self.written + 1, ""
        self._say(f"{len(load.messages)} messages in {self.last}: {load.flight.events[0].reason}")

    def _failed(self, error: Exception) -> None:
        self.trouble = f"a bag could not be written: {error}"
        self._say(self.trouble)

    def _remove_oldest(self) -> None:
        """Make room for one; nothing is touched that a flight recorder has not made."""
        names = [path.name for path in self.directory.glob(f"{_PREFIX}[0-9]*") if path.is_dir()]
        for name in surplus(names, self._most - 1):
            shutil.rmtree(self.directory / name, ignore_errors=True)
            self._say(f"removed {self.directory / name}: {self._most} bags are kept")


def _labels(load: Load) -> dict[str, str]:
    flight = load.flight
    about = {
        "events": [event._asdict() for event in flight.events],
        "start_ns": flight.start_ns,
        "end_ns": flight.end_ns,
    }
    version = {"uwm.version": uwm_core.__version__}
    return {**load.labels, **version, "uwm.flight": json.dumps(about)}
