# SPDX-License-Identifier: Apache-2.0
"""Outputs of single values (a gripper's): each at its due time, when it says something new."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from rclpy.node import Node
from std_msgs.msg import Float64MultiArray

from uwm_core.action_channel import ActionChannel
from uwm_core.embodiment import Embodiment
from uwm_core.streams import ARRAY, FRANKA_GRIPPER, GRIPPER_COMMAND
from uwm_ros.bridge.outputs.graph import second_publisher
from uwm_ros.bridge.qos import reliable
from uwm_ros.bridge.types import message_class
from uwm_ros.logic.limits import Floats
from uwm_ros.logic.schedule import Gate, Schedule

# In the channel's unit: 1 mm for a gripper, well below what a hand can tell.
_DEAD_BAND = 0.001
_RESEND_S = 1.0


class ValueOutput(Protocol):
    """What takes one value of an action. Nothing here waits.

    Attributes:
        topics: Full names of the topics that nobody else may publish on.
    """

    topics: tuple[str, ...]

    def play(self, stamp_ns: int, period_ns: int, values: Floats) -> None:
        """Value k of (A,) is in force from `stamp_ns + k * period_ns` on; replaces what was."""

    def tick(self, now_ns: int) -> None:
        """Send what is due, if it says something new."""

    def drop(self) -> None:
        """Forget the values that are not due yet."""

    def forget(self) -> None:
        """Forget what was sent too: the next value goes out whatever it is."""

    def check(self) -> str:
        """What is wrong, one sentence; empty where all is well. An event is said once."""


def make_value_outputs(node: Node, embodiment: Embodiment) -> dict[str, ValueOutput]:
    """One output per action channel that does not move the arm, by the channel's key.

    Raises:
        UwmError: If the package of a command type is not installed.
    """
    return {
        key: _make(node, embodiment, channel)
        for key, channel in embodiment.action.items()
        if not embodiment.moves_arm(channel)
    }


def _make(node: Node, embodiment: Embodiment, channel: ActionChannel) -> ValueOutput:
    if channel.command_type == FRANKA_GRIPPER:
        from uwm_ros.bridge.outputs.franka_gripper import FrankaGripper

        return FrankaGripper(node, embodiment, channel)
    if channel.command_type == GRIPPER_COMMAND:
        from uwm_ros.bridge.outputs.gripper_command import CommandedGripper

        return CommandedGripper(node, embodiment, channel)
    return ValueTopic(node, channel)


class ValueTopic:
    """Publishes the value in force, in the topic's own unit. A `ValueOutput`."""

    def __init__(self, node: Node, channel: ActionChannel) -> None:
        """Create the publisher; nothing is sent."""
        self._node = node
        self._scale = channel.scale
        # A command may be the recorded label too, which must not become absent by its age.
        self._gate = Gate(_DEAD_BAND, min(_RESEND_S, channel.max_age_s / 2))
        self._schedule = Schedule()
        self._array = channel.command_type == ARRAY
        self._places = list(channel.indices or range(channel.size))
        kind = message_class(channel.command_type)
        self._publisher = node.create_publisher(kind, channel.command_topic, reliable(1))
        self.topics = (self._publisher.topic_name,)

    def play(self, stamp_ns: int, period_ns: int, values: Floats) -> None:
        """Put values (A,), or (A, n) for an array of n, on the schedule."""
        self._schedule.replace(stamp_ns, period_ns, values)

    def tick(self, now_ns: int) -> None:
        """Send what is due."""
        value = self._schedule.value_at(now_ns)
        if value is not None and self._gate.let_through(value, now_ns):
            self._publisher.publish(self._message(value))

    def drop(self) -> None:
        """Empty the schedule."""
        self._schedule.clear()

    def forget(self) -> None:
        """Empty the schedule and open the gate."""
        self.drop()
        self._gate.forget()

    def check(self) -> str:
        """Another publisher. A gripper that does not listen stops nobody's arm."""
        return second_publisher(self._node, self._publisher.topic_name)

    def _message(self, value: Any) -> Any:
        raw = np.atleast_1d(value) / self._scale
        if not self._array:
            return self._publisher.msg_type(data=float(raw[0]))
        data = np.zeros(max(self._places) + 1)
        data[self._places] = raw
        return Float64MultiArray(data=data.tolist())
