# SPDX-License-Identifier: Apache-2.0
"""Joint targets one after another: JointState, or plain arrays of positions or velocities.

JointState is what joint impedance controllers take (crisp's `target_joint`, GELLO's). A controller
of velocities holds what it was told until it is told again, so it is given the mean velocity of the
time until the next tick: that way it arrives where the plan is then.
"""

from __future__ import annotations

import numpy as np
from rclpy.node import Node
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray

from uwm_core.action_channel import ActionChannel
from uwm_core.embodiment import Embodiment
from uwm_core.streams import ARRAY, JOINT_STATE
from uwm_ros.bridge.clock import to_stamp
from uwm_ros.bridge.outputs.streaming import Stream
from uwm_ros.logic.plan import Plan


def make_joint_stream(
    node: Node, embodiment: Embodiment, channel: ActionChannel, rate_hz: float
) -> Stream:
    """The stream that a channel of joints asks for."""
    if channel.command_type == JOINT_STATE:
        return JointStates(node, embodiment, channel)
    if channel.command_field == "velocity":
        return Velocities(node, embodiment, channel, rate_hz)
    return Positions(node, embodiment, channel)


class JointStates(Stream):
    """Positions and velocities by name, freshly stamped."""

    def __init__(self, node: Node, embodiment: Embodiment, channel: ActionChannel) -> None:
        """Create the publisher."""
        super().__init__(node, JointState, channel.command_topic)
        self._names = list(embodiment.arm_joints)

    def message(self, plan: Plan, now_ns: int) -> JointState:
        """The sample for now."""
        position, velocity, _ = plan.sample(now_ns)
        message = JointState(
            name=self._names, position=position.tolist(), velocity=velocity.tolist()
        )
        message.header.stamp = to_stamp(now_ns)
        return message


class Positions(Stream):
    """Positions as an array."""

    def __init__(self, node: Node, embodiment: Embodiment, channel: ActionChannel) -> None:
        """Create the publisher."""
        super().__init__(node, Float64MultiArray, channel.command_topic)
        self._layout = _Layout(embodiment, channel, unit="rad")

    def message(self, plan: Plan, now_ns: int) -> Float64MultiArray:
        """The sample for now."""
        return self._layout.message(plan.sample(now_ns)[0])


class Velocities(Stream):
    """Velocities as an array."""

    def __init__(
        self, node: Node, embodiment: Embodiment, channel: ActionChannel, rate_hz: float
    ) -> None:
        """Create the publisher.

        Args:
            node: The node that sends.
            embodiment: Names the joints.
            channel: Where to.
            rate_hz: Rate of the ticks.
        """
        super().__init__(node, Float64MultiArray, channel.command_topic)
        self._layout = _Layout(embodiment, channel, unit="rad/s")
        self._period_s = 1 / rate_hz

    def message(self, plan: Plan, now_ns: int) -> Float64MultiArray:
        """The mean velocity until the next tick."""
        here = plan.sample(now_ns)[0]
        there = plan.sample(now_ns + round(self._period_s * 1e9))[0]
        return self._layout.message((there - here) / self._period_s)


class _Layout:
    """Which joint has which place in an array, and in which unit."""

    def __init__(self, embodiment: Embodiment, channel: ActionChannel, unit: str) -> None:
        joints = embodiment.arm_joints
        names, places = joints, tuple(range(len(joints)))
        # Where such arrays are recorded too, what was recorded is what is played.
        recorded_so = channel.type == ARRAY and channel.unit == unit
        if recorded_so:
            names = channel.names
            places = channel.indices or tuple(range(len(names)))
        self._order = [joints.index(name) for name in names]
        self._places = list(places)
        self._scale = channel.scale if recorded_so else 1.0
        self._empty = np.zeros(max(places) + 1)

    def message(self, values: np.ndarray) -> Float64MultiArray:
        """An array of values (J,) in the order of the embodiment's joints."""
        data = self._empty.copy()
        data[self._places] = values[self._order] / self._scale
        return Float64MultiArray(data=data.tolist())
