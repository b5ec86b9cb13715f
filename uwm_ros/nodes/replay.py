# SPDX-License-Identifier: Apache-2.0
"""Replay: the actions of a recorded episode as chunks, through the executor and all its limits.

Waits until the executor is armed (`executor/run`), looks whether the arm stands near the episode's
start, and publishes `policy/action_chunk` until the episode has ended; then it asks the executor to
hold and says on `replay/report` (and in its log) how far the arm was from the recorded path. It
ends early when the executor holds or stops. One `executor/run` is one replay.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Sequence
from typing import Any

from rclpy.clock import Clock
from rclpy.clock_type import ClockType
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy
from std_msgs.msg import String
from std_srvs.srv import Trigger

from uwm_core.data.store import Store
from uwm_core.embodiment import Embodiment
from uwm_core.errors import UwmError
from uwm_ros.bridge.arm_state import ArmState
from uwm_ros.bridge.chunks import to_message
from uwm_ros.bridge.clock import now_ns
from uwm_ros.bridge.diagnostics import Diagnostics, Level
from uwm_ros.bridge.parameters import Parameters
from uwm_ros.bridge.qos import reliable
from uwm_ros.bridge.runtime import run_node
from uwm_ros.logic.edges import EdgeLog
from uwm_ros.logic.replaying import LEAD_NS, Replay
from uwm_ros.msg import ActionChunk as ActionChunkMessage
from uwm_ros.msg import ExecutorStatus

_TICK_S = 0.02
# A chunk lies on the grid of the episode, so a new one now and then mends one that was lost.
_CHUNK_TICKS = 10


class ReplayNode(Node):
    """Plays one episode per `executor/run`; see the module."""

    def __init__(self, **options: Any) -> None:
        """Read the episode and wait for the executor.

        Args:
            **options: Passed on to `rclpy.node.Node`.

        Raises:
            UwmError: A parameter, the store or the embodiment does not fit.
        """
        super().__init__("replay", **options)
        read = Parameters(self)
        self._embodiment = Embodiment.load(
            read.text("embodiment", "fr3_sim", "name of a bundled embodiment, or a path")
        )
        place = read.text("store", "", "store that the episode is in: folder or URL")
        number = read.integer("episode", 0, "number of the episode, counted from 0", 0)
        self._replay = _read(place, number, self._embodiment)
        self._arm = ArmState(self, self._embodiment)
        self._edges = EdgeLog(self.get_logger().warning, self.get_logger().info)
        self._refused, self._trouble = False, ""
        self._start_ns: int | None = None
        self._ran = False
        self._ticks = 0
        self._diagnostics = Diagnostics(self, self._embodiment.name)
        self._chunks = self.create_publisher(ActionChunkMessage, "policy/action_chunk", reliable(2))
        latched = reliable(1)
        latched.durability = DurabilityPolicy.TRANSIENT_LOCAL
        self._report = self.create_publisher(String, "replay/report", latched)
        self._hold = self.create_client(Trigger, "executor/hold")
        self.create_subscription(ExecutorStatus, "executor/status", self._on_status, reliable())
        self.create_timer(_TICK_S, self._tick, clock=Clock(clock_type=ClockType.STEADY_TIME))
        self.get_logger().info(
            f"episode {number} of {place}: {self._replay.steps} steps; call executor/run to play it"
        )

    def _on_status(self, message: ExecutorStatus) -> None:
        if self._start_ns is None:
            if message.state != "armed":
                self._refused = False
            elif not self._refused:
                self._begin()
            return
        self._ran = self._ran or message.state == "running"
        if self._ran and message.state != "running":
            self._end(f"executor is {message.state}: {message.reason}")

    def _begin(self) -> None:
        """Start from where the arm is, or say why not."""
        now = now_ns(self)
        measured, age_s = self._arm.at(now)
        silent = measured is None or age_s > self._arm.max_age_s
        text = f"not started yet: no fresh joint state on {self._arm.topic}"
        self._edges.update("joint state", bad=silent, text=text)
        if measured is None or silent:
            return
        if why := self._replay.far(measured):
            self.get_logger().error(f"not started: {why}")
            self._say({"outcome": "refused", "reason": why})
            self._refused, self._trouble = True, f"not started: {why}"
            self._hold.call_async(Trigger.Request())
            return
        self._start_ns, self._ran, self._ticks = now + LEAD_NS, False, 0
        self._trouble = ""
        self._replay.forget()
        self.get_logger().info("started")

    def _tick(self) -> None:
        self._play()
        state = "waiting for executor/run" if self._start_ns is None else "playing"
        level = Level.ERROR if self._trouble else Level.WARN if self._edges.bad else Level.OK
        why = self._trouble or self._edges.trouble
        self._diagnostics.update(level, why or state, {"steps": self._replay.steps, "state": state})

    def _play(self) -> None:
        if self._start_ns is None:
            return
        now = now_ns(self)
        measured, age_s = self._arm.at(now)
        if measured is not None and self._ran:
            self._replay.compare(measured, now - round(age_s * 1e9) - self._start_ns)
        if self._ticks % _CHUNK_TICKS == 0:
            chunk = self._replay.chunk(self._start_ns, now)
            if chunk is None:
                self._hold.call_async(Trigger.Request())
                self._end("")
                return
            message = to_message(chunk)
            message.sequence, message.embodiment = self._ticks, self._embodiment.name
            self._chunks.publish(message)
        self._ticks += 1

    def _end(self, trouble: str) -> None:
        """Say how it went, and wait for the next run."""
        self._start_ns = None
        self._trouble = f"broken off, {trouble}" if trouble else ""
        tracking = self._replay.tracking()
        outcome = "broken off" if trouble else "played"
        self._say({"outcome": outcome, "reason": trouble, **dataclasses.asdict(tracking)})
        if trouble:
            self.get_logger().error(f"{self._trouble}; until then {tracking}")
        else:
            self.get_logger().info(f"played; {tracking}")

    def _say(self, report: dict[str, Any]) -> None:
        self._report.publish(String(data=json.dumps(report)))


def _read(place: str, number: int, embodiment: Embodiment) -> Replay:
    """The episode, checked against the arm.

    Raises:
        UwmError: If there is none, or it is of an arm whose numbers mean something else.
    """
    if not place:
        raise UwmError("parameter 'store' must name the store that the episode is in")
    store = Store.open(place)
    if difference := store.embodiment.difference(embodiment):
        raise UwmError(f"store {store.location} is of another embodiment: {difference[0]}")
    if store.embodiment.period_ns != embodiment.period_ns:
        raise UwmError(
            f"store {store.location} has {store.embodiment.rate_hz:g} steps a second, "
            f"{embodiment.name} has {embodiment.rate_hz:g}"
        )
    if not 0 <= number < len(store):
        raise UwmError(f"store {store.location} has {len(store)} episodes, there is no {number}")
    rows = store.span(number)
    state = {key: store.array(f"obs.{key}")[rows] for key in embodiment.state}
    return Replay(embodiment, store.array("action")[rows], state)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the node."""
    return run_node(ReplayNode, argv)


if __name__ == "__main__":
    sys.exit(main())
