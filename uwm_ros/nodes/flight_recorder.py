# SPDX-License-Identifier: Apache-2.0
"""The flight recorder: the last half minute in memory, a bag of it whenever something went wrong.

In: every stream and command of the embodiment, what policy and executor say, `extra_topics`; raw,
nothing is decoded. Out: an MCAP bag per event, `/diagnostics`. An event is a hold by trouble, a
stop, an executor that falls silent while it runs, or a call of `flight_recorder/save`, which
answers with the path that the bag will have. Each bag ends a few seconds after its event.
"""

from __future__ import annotations

import gc
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rclpy.clock import Clock
from rclpy.clock_type import ClockType
from rclpy.node import Node
from std_srvs.srv import Trigger

from uwm_core.embodiment import Embodiment
from uwm_ros.bridge.clock import now_ns
from uwm_ros.bridge.diagnostics import Diagnostics, Level
from uwm_ros.bridge.flight_bags import FlightBags, Load
from uwm_ros.bridge.parameters import Parameters
from uwm_ros.bridge.qos import reliable
from uwm_ros.bridge.remembering import Remembering
from uwm_ros.bridge.runtime import run_node
from uwm_ros.bridge.side_log import SideLog
from uwm_ros.logic.flight import ASKED, Event, Flight, FlightMemory, Flights, Watch
from uwm_ros.msg import SafetyStatus

_TICK_S = 0.1
_REFRESH_TICKS = 10
# The executor speaks at 10 Hz.
_SILENT_S = 1.0
_GIB, _MIB = 2**30, 2**20


class FlightRecorder(Node):
    """Remembers, and writes when something happened; see the module."""

    def __init__(self, **options: Any) -> None:
        """Subscribe to everything.

        Args:
            **options: Passed to `rclpy.node.Node`.

        Raises:
            UwmError: If a parameter or the embodiment is not usable.
        """
        super().__init__("flight_recorder", **options)
        read = Parameters(self)
        self._embodiment = Embodiment.load(
            read.text("embodiment", "fr3_sim", "name of a bundled embodiment, or a path")
        )
        before_s = read.number("before_s", 30.0, "s before the event that are kept", 1.0, 600.0)
        after_s = read.number("after_s", 3.0, "s after the event that are kept", 0.0, 60.0)
        memory_bytes = read.integer("memory_mib", 512, "MiB of messages in memory", 1, 2**20) * _MIB
        images = read.flag("images", True, "whether the cameras are kept")
        extra = read.texts("extra_topics", (), "more topics; their types are found")
        self._log = SideLog(self)
        self._flights, self._watch = Flights(before_s, after_s), Watch(_SILENT_S)
        self._memory = FlightMemory(self._flights.span_s, memory_bytes)
        self._bags = self._read_bags(read)
        self._remembering = Remembering(
            self, self._embodiment, self._memory, images=images, extra=extra, warn=self._log.warning
        )
        self._diagnostics = Diagnostics(self, self._embodiment.name)
        self._ticks = 0
        self.create_subscription(SafetyStatus, "executor/safety", self._on_safety, reliable())
        self.create_service(Trigger, "flight_recorder/save", self._on_save)
        self.create_timer(_TICK_S, self._tick, clock=Clock(clock_type=ClockType.STEADY_TIME))
        # What exists now stays: the collector need not look at it while messages pour in.
        gc.freeze()

    def close(self) -> None:
        """Write what is asked for, with what there is of it."""
        if not self._bags.busy and (flight := self._flights.take(2**63)):
            self._write(flight)
        self._remembering.close()
        self._bags.close()
        self._log.close()

    def _read_bags(self, read: Parameters) -> FlightBags:
        directory = read.text("directory", "flights", "folder in which the bags are written")
        most = read.integer("max_bags", 20, "bags that are kept; the oldest give way", 1, 100_000)
        free = read.number("min_free_gib", 1.0, "GiB free without which none is written", 0.0, 1e6)
        path = Path(directory).expanduser()
        return FlightBags(path, most, round(free * _GIB), self._log.info)

    def _on_safety(self, message: SafetyStatus) -> None:
        event = self._watch.heard(message.state, message.cause, message.reason, now_ns(self))
        if event is not None:
            self._note(event)

    def _on_save(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        flight = self._note(Event(now_ns(self), ASKED, "flight_recorder/save was called"))
        response.success, response.message = True, str(self._bags.directory / flight.name)
        return response

    def _note(self, event: Event) -> Flight:
        flight = self._flights.add(event, self._bags.free_name(event.cause, event.moment_ns))
        self._log.info(f"{event.cause}: {event.reason}; to be kept as {flight.name}")
        return flight

    def _tick(self) -> None:
        self._ticks += 1
        now = now_ns(self)
        if event := self._watch.silence(now):
            self._note(event)
        if not self._bags.busy and (flight := self._flights.take(now)):
            self._write(flight)
        if self._ticks % _REFRESH_TICKS == 0:
            self._remembering.refresh()
            self._report()

    def _write(self, flight: Flight) -> None:
        memory = self._memory
        labels = {
            "uwm.embodiment": self._embodiment.to_yaml(),
            "uwm.thinned": json.dumps(memory.thinned),
            "uwm.dropped": json.dumps(memory.dropped),
            "uwm.lost": json.dumps(self._remembering.lost),
        }
        messages = memory.between(flight.start_ns, flight.end_ns)
        load = Load(
            flight=flight, messages=messages, taps=dict(self._remembering.taps), labels=labels
        )
        self._bags.submit(load)

    def _report(self) -> None:
        bags, memory = self._bags, self._memory
        dropped, lost = memory.dropped.total(), sum(self._remembering.lost.values())
        trouble = bags.trouble
        if not trouble and dropped:
            trouble = f"{dropped} messages did not fit; raise memory_mib, or set images to false"
        values = {
            "bags written": bags.written,
            "last bag": bags.last or "none",
            "kept s": f"{memory.held_s:.1f}",
            "kept MB": f"{memory.held_bytes / 1e6:.1f}",
            "pictures thinned": memory.thinned.total(),
            "messages dropped": dropped,
            "messages lost": lost,
        }
        state = "writing" if bags.busy else "event" if self._flights.is_open else "watching"
        level = Level.ERROR if bags.trouble else Level.WARN if trouble else Level.OK
        self._diagnostics.update(level, trouble or state, values)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the node; returns the exit code."""
    return run_node(FlightRecorder, argv)


if __name__ == "__main__":
    raise SystemExit(main())
