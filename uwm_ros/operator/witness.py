# SPDX-License-Identifier: Apache-2.0
"""Hears everything that shows how an arm is driven: commands, states, reasons, timings.

For benchmarks and for the tests of faults. Nothing is judged here: `command_checker` does that.
"""

from __future__ import annotations

from collections import deque
from typing import Any, NamedTuple

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from sensor_msgs.msg import JointState
from trajectory_msgs.msg import JointTrajectory

from uwm_core.embodiment import ActionChannel, Embodiment
from uwm_core.errors import UwmError
from uwm_ros.bridge.clock import now_ns, to_ns
from uwm_ros.bridge.types import message_class
from uwm_ros.msg import ChunkTiming, ExecutorStatus, SafetyStatus
from uwm_ros.operator.client import Operator
from uwm_ros.operator.command_checker import Bounds, Violation, check
from uwm_ros.operator.commanded import CommandLog, Piece, Sample

_TRAJECTORY, _JOINT_STATE = "trajectory_msgs/msg/JointTrajectory", "sensor_msgs/msg/JointState"
_DEPTH = 1000
_MEASURED = 4000


class Said(NamedTuple):
    """One status on ``/diagnostics``: when, of which node, how bad, in which words."""

    stamp_ns: int
    node: str
    level: int
    message: str


class Measured(NamedTuple):
    """One joint state: its stamp, positions (J,) rad and velocities (J,) rad/s."""

    stamp_ns: int
    position: np.ndarray
    velocity: np.ndarray


class Witness:
    """Keeps what one arm's driving publishes.

    Attributes:
        log: Every command of the arm.
        statuses: ``executor/status``.
        safety: ``executor/safety``.
        timings: ``executor/chunk_timing``.
        said: ``/diagnostics`` of all nodes.
        measured: The newest joint states.
    """

    def __init__(self, operator: Operator, embodiment: Embodiment) -> None:
        """Listen.

        Raises:
            UwmError: The arm is commanded as something that the checker does not read.
        """
        self.operator, self.embodiment = operator, embodiment
        self.log = CommandLog(embodiment.arm_joints)
        self.statuses: list[Any] = []
        self.safety: list[Any] = []
        self.timings: list[Any] = []
        self.said: list[Said] = []
        self.measured: deque[Measured] = deque(maxlen=_MEASURED)
        channel = arm_channel(embodiment)
        read = {_TRAJECTORY: self._on_trajectory, _JOINT_STATE: self._on_target}
        if channel.command_type not in read:
            raise UwmError(
                f"commands of {embodiment.name} are {channel.command_type}; "
                f"those that are checked: {', '.join(read)}"
            )
        self._command = (channel, read[channel.command_type])
        self._commands: Any = None
        self.hear_commands(True)
        operator.watch("executor/status", ExecutorStatus, self.statuses.append, _DEPTH)
        operator.watch("executor/safety", SafetyStatus, self.safety.append, _DEPTH)
        operator.watch("executor/chunk_timing", ChunkTiming, self.timings.append, _DEPTH)
        operator.watch("/diagnostics", DiagnosticArray, self._on_diagnostics, _DEPTH)
        topic = _measured_topic(embodiment)
        operator.watch(topic, JointState, self._on_measured, _DEPTH)

    def hear_commands(self, wanted: bool) -> None:
        """Listen to the commands, or not: whoever listens looks like a controller to the graph.

        What was commanded in between is not known, so the record begins anew.
        """
        self.log.clear()
        channel, receive = self._command
        if self._commands is not None:
            self.operator.node.destroy_subscription(self._commands)
            self._commands = None
        if wanted:
            kind = message_class(channel.command_type)
            self._commands = self.operator.watch(channel.command_topic, kind, receive, _DEPTH)

    def clear(self) -> None:
        """Forget what was heard until now."""
        self.log.clear()
        for kept in (self.statuses, self.safety, self.timings, self.said, self.measured):
            kept.clear()

    def now_ns(self) -> int:
        """The moment, by the clock of all stamps."""
        return now_ns(self.operator.node)

    @property
    def state(self) -> str:
        """The executor's newest state; empty before the first."""
        return self.statuses[-1].state if self.statuses else ""

    def first(self, states: tuple[str, ...], since_ns: int, word: str = "") -> Any | None:
        """The first executor status in one of the states, stamped at or after a moment.

        Args:
            states: Any of them.
            since_ns: The moment.
            word: Part of its reason.
        """
        for status in self.statuses:
            young = to_ns(status.header.stamp) >= since_ns
            if young and status.state in states and word in status.reason:
                return status
        return None

    def violations(self) -> list[Violation]:
        """Every limit that a command broke."""
        return check(self.log, Bounds.of(self.embodiment))

    def _on_trajectory(self, message: JointTrajectory) -> None:
        received = self.now_ns()
        order = self._order(list(message.joint_names), received)
        if order is None or not message.points:
            return
        start_ns = to_ns(message.header.stamp) or received
        points = message.points
        due = [start_ns + to_ns(point.time_from_start) for point in points]
        try:
            piece = Piece(
                received,
                np.array(due, dtype=np.int64),
                _rows(points, "positions", order),
                _rows(points, "velocities", order),
                _rows(points, "accelerations", order) if len(points[0].accelerations) else None,
            )
        except (ValueError, IndexError) as error:
            self.log.unreadable.append((received, f"points do not fit together: {error}"))
            return
        self.log.pieces.append(piece)

    def _on_target(self, message: JointState) -> None:
        received = self.now_ns()
        order = self._order(list(message.name), received)
        if order is None:
            return
        velocity = np.array(message.velocity)[order] if len(message.velocity) else None
        self.log.samples.append(
            Sample(
                to_ns(message.header.stamp), received, np.array(message.position)[order], velocity
            )
        )

    def _order(self, names: list[str], received: int) -> list[int] | None:
        """Where each of the arm's joints stands among the names; what does not fit is kept."""
        joints = self.log.joints
        if sorted(names) != sorted(joints):
            self.log.unreadable.append((received, f"names {', '.join(names) or 'nothing'}"))
            return None
        return [names.index(joint) for joint in joints]

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        stamp_ns = to_ns(message.header.stamp)
        for status in message.status:
            level = status.level[0] if isinstance(status.level, bytes) else int(status.level)
            self.said.append(Said(stamp_ns, status.name, level, status.message))

    def _on_measured(self, message: JointState) -> None:
        by_name = dict(zip(message.name, message.position, strict=False))
        if not set(self.log.joints) <= set(by_name):
            return
        speeds = dict(zip(message.name, message.velocity, strict=False))
        self.measured.append(
            Measured(
                to_ns(message.header.stamp),
                np.array([by_name[name] for name in self.log.joints]),
                np.array([speeds.get(name, 0.0) for name in self.log.joints]),
            )
        )


def arm_channel(embodiment: Embodiment) -> ActionChannel:
    """The channel that commands the arm."""
    return next(c for c in embodiment.action.values() if embodiment.moves_arm(c))


def _measured_topic(embodiment: Embodiment) -> str:
    """Topic of the state with all joints of the arm."""
    joints = set(embodiment.arm_joints)
    return next(spec.topic for spec in embodiment.state.values() if joints <= set(spec.names))


def _rows(points: Any, field: str, order: list[int]) -> np.ndarray:
    """(N, J) of one field of trajectory points."""
    return np.array([list(getattr(point, field)) for point in points], dtype=np.float64)[:, order]
