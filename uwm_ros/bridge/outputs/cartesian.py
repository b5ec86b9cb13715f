# SPDX-License-Identifier: Apache-2.0
"""Cartesian targets one after another, of the hand that the plan's joints make.

The plan is one of joints, since joints are what has limits; controllers that take poses or twists
are told where these joints bring the tool centre point.
"""

from __future__ import annotations

import numpy as np
from geometry_msgs.msg import PoseStamped, Twist, TwistStamped
from rclpy.node import Node

from uwm_core.action_channel import ActionChannel
from uwm_core.data.rotations import quaternion_of_matrix
from uwm_core.embodiment import Embodiment
from uwm_core.kinematics.model import ArmModel
from uwm_core.streams import TWIST_STAMPED
from uwm_ros.bridge.clock import to_stamp
from uwm_ros.bridge.outputs.streaming import Stream
from uwm_ros.logic.limits import Floats
from uwm_ros.logic.plan import Plan


class PoseStream(Stream):
    """Poses of the tool centre point in the base frame (crisp's `target_pose`)."""

    def __init__(self, node: Node, embodiment: Embodiment, channel: ActionChannel) -> None:
        """Create the publisher.

        Raises:
            UwmError: If the arm's kinematics cannot be had.
        """
        self._model = ArmModel.of(embodiment)
        super().__init__(node, PoseStamped, channel.command_topic)
        self._frame = embodiment.kinematics.base_frame
        self._quaternion = np.array([0.0, 0.0, 0.0, 1.0])

    def message(self, plan: Plan, now_ns: int) -> PoseStamped:
        """The pose for now."""
        tcp = self._model.tcp(plan.sample(now_ns)[0])
        turn = quaternion_of_matrix(tcp[:3, :3])
        # q and -q are one rotation, but a controller that averages must not see it change sign.
        self._quaternion = -turn if turn @ self._quaternion < 0 else turn
        message = PoseStamped()
        message.header.stamp = to_stamp(now_ns)
        message.header.frame_id = self._frame
        place, way = message.pose.position, message.pose.orientation
        place.x, place.y, place.z = tcp[:3, 3].tolist()
        way.x, way.y, way.z, way.w = self._quaternion.tolist()
        return message


class TwistStream(Stream):
    """Velocities of the tool centre point along the base frame's axes (MoveIt Servo).

    Zero while the arm rests, and still sent: Servo takes silence for a lost operator.
    """

    def __init__(
        self, node: Node, embodiment: Embodiment, channel: ActionChannel, rate_hz: float
    ) -> None:
        """Create the publisher.

        Args:
            node: The node that sends.
            embodiment: Names the joints and the base frame.
            channel: Where to, and in which unit.
            rate_hz: Rate of the ticks.

        Raises:
            UwmError: If the arm's kinematics cannot be had.
        """
        self._model = ArmModel.of(embodiment)
        self._stamped = channel.command_type == TWIST_STAMPED
        super().__init__(node, TwistStamped if self._stamped else Twist, channel.command_topic)
        self._frame = embodiment.kinematics.base_frame
        self._period_s = 1 / rate_hz
        self._unitless = channel.unit == "unitless"
        linear, angular = (
            (channel.max_linear_m_s, channel.max_angular_rad_s) if self._unitless else (1.0, 1.0)
        )
        self._one = np.repeat([linear, angular], 3) * channel.scale

    def message(self, plan: Plan, now_ns: int) -> Twist | TwistStamped:
        """The mean twist until the next tick: held so long, it ends where the plan is then."""
        here = plan.sample(now_ns)[0]
        there = plan.sample(now_ns + round(self._period_s * 1e9))[0]
        velocity = (there - here) / self._period_s
        twist = self._model.jacobian((here + there) / 2) @ velocity / self._one
        message = _to_twist(_at_most_one(twist) if self._unitless else twist)
        if not self._stamped:
            return message
        stamped = TwistStamped(twist=message)
        stamped.header.stamp = to_stamp(now_ns)
        stamped.header.frame_id = self._frame
        return stamped


def _at_most_one(twist: Floats) -> Floats:
    """The same direction, slower where a part is above 1: Servo skips such a command whole."""
    return twist / max(1.0, float(np.abs(twist).max()))


def _to_twist(numbers: Floats) -> Twist:
    message = Twist()
    linear, angular = message.linear, message.angular
    linear.x, linear.y, linear.z, angular.x, angular.y, angular.z = numbers.tolist()
    return message
