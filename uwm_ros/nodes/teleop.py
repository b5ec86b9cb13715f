# SPDX-License-Identifier: Apache-2.0
"""Teleoperation by a person: Twist and Joy in, short action chunks out, never a command.

In: `spacenav/twist` (deflections of -1 to 1, linear then angular), `joy` (deadman, gripper, axes by
choice), joint states, `executor/safety`. Out: `teleop/action_chunk`, at 20 Hz, so that the executor
and its limits have the last word as they have over a policy; and the label on the embodiment's
action topics, as a leader arm would. While the executor does not run, the leader stands where the
arm is measured: every start is from there. A device that falls silent, or a released deadman, lets
the arm come to rest.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
from geometry_msgs.msg import Twist
from rclpy.clock import Clock
from rclpy.clock_type import ClockType
from rclpy.node import Node
from sensor_msgs.msg import Joy

from uwm_core.data.messages import vector
from uwm_core.embodiment import Embodiment
from uwm_core.errors import DataError, UwmError
from uwm_core.records import ActionChunk
from uwm_ros.bridge.arm_state import ArmState
from uwm_ros.bridge.chunks import to_message
from uwm_ros.bridge.clock import now_ns
from uwm_ros.bridge.diagnostics import Diagnostics, Level
from uwm_ros.bridge.labels import Labels
from uwm_ros.bridge.parameters import Parameters
from uwm_ros.bridge.qos import MatchedSubscription, reliable
from uwm_ros.bridge.runtime import run_node
from uwm_ros.logic.edges import EdgeLog
from uwm_ros.logic.hand_drive import FRAMES, DriveConfig, Leader, Wishes, parse_axes
from uwm_ros.logic.judge import Rules
from uwm_ros.logic.limits import Floats
from uwm_ros.msg import ActionChunk as ActionChunkMessage
from uwm_ros.msg import SafetyStatus

# The executor speaks at 10 Hz; one that is silent for longer does not run for all we know.
_SILENT_NS = 1_000_000_000


class Teleop(Node):
    """Turns what a person's devices say into chunks and labels; see the module."""

    def __init__(self, **options: Any) -> None:
        """Read parameters and wait for the arm.

        Args:
            **options: Passed on to `rclpy.node.Node`.

        Raises:
            UwmError: A parameter or the embodiment does not fit.
        """
        super().__init__("teleop", **options)
        read = Parameters(self)
        self._embodiment = Embodiment.load(
            read.text("embodiment", "fr3_sim", "name of a bundled embodiment, or a path")
        )
        rate_hz = read.number("rate_hz", 20.0, "rate of chunks and labels", 5.0, 100.0)
        config = _config(read)
        self._rules = _drivable(self._embodiment)
        self._wishes = Wishes(config)
        self._leader = Leader(self._embodiment, config.frame, self._rules.guard)
        self._arm = ArmState(self, self._embodiment)
        self._status: tuple[str, str, int] = ("", "", 0)
        self._wanted: dict[str, float | None] = dict.fromkeys(self._rules.scalars.values())
        self._moved_ns: int | None = None
        self._sequence = 0
        self._edges = EdgeLog(self.get_logger().warning, self.get_logger().info)
        self._diagnostics = Diagnostics(self, self._embodiment.name)
        self._labels = Labels(self, self._embodiment)
        self._chunks = self.create_publisher(ActionChunkMessage, "teleop/action_chunk", reliable(2))
        self._subscribe()
        self.create_timer(1.0 / rate_hz, self._tick, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def _tick(self) -> None:
        self._lead()
        trouble = self._edges.trouble
        values = {"chunks": self._sequence, "executor": self._status[0] or "not heard"}
        self._diagnostics.update(Level.WARN if trouble else Level.OK, trouble or "ok", values)

    def _lead(self) -> None:
        """Move the leader, say where it will be and where it is."""
        now = now_ns(self)
        measured, age_s = self._arm.at(now)
        if measured is None or age_s > self._arm.max_age_s:
            text = f"nothing is sent: {self._arm.trouble or 'no fresh joint state'}"
            self._edges.update("arm", bad=True, text=f"{text} on {self._arm.topic}")
            self._moved_ns = None
            return
        self._edges.update("arm", bad=False)
        wish = self._wishes.velocity(now)
        if self._moved_ns is None or not self._runs(now):
            self._leader.place(measured)
            if wish.any():
                state, driver, _ = self._status
                text = f"executor is {state or 'silent'}, nothing moves: call executor/run"
                if state == "running":
                    text = f"driven by the {driver}, nothing moves: call executor/take_over"
                self._edges.update("executor", bad=True, text=text)
        else:
            self._edges.update("executor", bad=False)
            self._leader.move(wish, (now - self._moved_ns) / 1e9)
        self._moved_ns = now
        self._publish(self._leader.ahead(self._embodiment.period_ns / 1e9), now)

    def _publish(self, arm: Floats, now: int) -> None:
        """Publish (A, J) rad from now on, and its first row as the label."""
        columns = dict(zip(self._rules.limits.names, arm.T, strict=True))
        for name, value in self._wanted.items():
            width = self._embodiment.gripper.max_width_m if value is None else value
            columns[name] = np.full(len(arm), width)
        names = self._embodiment.action_names
        actions = np.column_stack([columns[name] for name in names]).astype(np.float32)
        message = to_message(ActionChunk(now, self._embodiment.period_ns, actions, names))
        self._sequence += 1
        message.sequence, message.embodiment = self._sequence, self._embodiment.name
        self._chunks.publish(message)
        self._labels.publish(dict(zip(names, actions[0], strict=True)), now)

    def _runs(self, now: int) -> bool:
        state, driver, seen_ns = self._status
        return state == "running" and driver == "human" and now - seen_ns <= _SILENT_NS

    def _subscribe(self) -> None:
        self.create_subscription(Twist, "spacenav/twist", self._on_twist, reliable())
        self.create_subscription(Joy, "joy", self._on_joy, reliable())
        self.create_subscription(SafetyStatus, "executor/safety", self._on_safety, reliable())
        for key, name in self._rules.scalars.items():
            spec = self._embodiment.state.get(key)
            if spec is not None:

                def take(message: Any, _: int, name: str = name, spec: Any = spec) -> None:
                    self._start_from(name, message, spec)

                MatchedSubscription(self, spec.type, spec.topic, take, depth=1)

    def _start_from(self, name: str, message: Any, spec: Any) -> None:
        """A gripper is left as it is measured until a button changes it."""
        if self._wanted[name] is not None:
            return
        try:
            self._wanted[name] = float(vector(message, spec)[0])
        except DataError as error:
            self._edges.update("gripper", bad=True, text=str(error))

    def _on_twist(self, message: Twist) -> None:
        linear, angular = message.linear, message.angular
        twist = np.array([linear.x, linear.y, linear.z, angular.x, angular.y, angular.z])
        self._wishes.take_twist(twist, now_ns(self))

    def _on_joy(self, message: Joy) -> None:
        now = now_ns(self)
        if not self._wishes.take_joy(message.axes, message.buttons, now):
            return
        if not (self._runs(now) and self._wishes.allowed(now)):
            return
        widest = self._embodiment.gripper.max_width_m
        for name, value in self._wanted.items():
            is_open = value is None or value > widest / 2
            self._wanted[name] = 0.0 if is_open else widest

    def _on_safety(self, message: SafetyStatus) -> None:
        self._status = (str(message.state), str(message.driver), now_ns(self))


def _config(read: Parameters) -> DriveConfig:
    """Read how wishes become motion."""
    return DriveConfig(
        speed_m_s=read.number("speed_m_s", 0.15, "of the hand at full deflection", 0.005, 0.5),
        turn_rad_s=read.number("turn_rad_s", 0.6, "turning at full deflection", 0.02, 2.0),
        dead_zone=read.number("dead_zone", 0.05, "deflections up to this are none", 0.0, 0.5),
        timeout_s=read.number("timeout_s", 0.25, "a silent device wants nothing", 0.05, 1.0),
        frame=read.text("frame", "base", "axes that deflections are along", FRAMES),
        deadman_button=read.integer("deadman_button", -1, "held for any motion; -1: none", -1, 63),
        gripper_button=read.integer("gripper_button", 0, "opens and closes; -1: none", -1, 63),
        joy_axes=parse_axes(
            read.text("joy_axes", "", "Joy axis of x y z roll pitch yaw, '1 0 4 - - 3'; '': none")
        ),
    )


def _drivable(embodiment: Embodiment) -> Rules:
    """What the embodiment allows.

    Raises:
        UwmError: If its actions are not joint targets as they are, which is what is published.
    """
    rules = Rules(embodiment)
    for key, channel in embodiment.action.items():
        if channel.relative_to or channel.open_above is not None:
            raise UwmError(
                f"action {key} of embodiment {embodiment.name!r} is {channel.meaning}; teleop "
                "drives absolute joint targets and gripper widths"
            )
    if not rules.arm:
        raise UwmError(f"embodiment {embodiment.name!r} has no action that moves the arm's joints")
    return rules


def main(argv: Sequence[str] | None = None) -> int:
    """Run the node."""
    return run_node(Teleop, argv)


if __name__ == "__main__":
    sys.exit(main())
