# SPDX-License-Identifier: Apache-2.0
"""A robot that costs nothing: every topic of the bundled arm, with tiny images and numbered joints.

For what must run a recorder hundreds of times. Nothing moves.
"""

from __future__ import annotations

from rclpy.node import Node

from uwm_core.embodiment import Embodiment
from uwm_ros.bridge.qos import reliable
from uwm_ros.bridge.types import message_class

_SIDE = 8
_DEPTH = 1000


class SmallRobot(Node):
    """Publishes when told to."""

    def __init__(self) -> None:
        """Offer every topic."""
        super().__init__("small_robot")
        embodiment = Embodiment.load("fr3_sim")
        self._joints = [*embodiment.arm_joints, "fr3_finger_joint1", "fr3_finger_joint2"]
        self._offers = [
            (
                message_class(kind),
                self.create_publisher(message_class(kind), topic, reliable(_DEPTH)),
            )
            for topic, kind in embodiment.topics.items()
        ]
        self.number = 0

    def publish(self) -> None:
        """One message on every topic, all with the next number."""
        stamp = self.get_clock().now().to_msg()
        for kind, publisher in self._offers:
            message = kind()
            if hasattr(message, "header"):
                message.header.stamp = stamp
            if hasattr(message, "encoding"):
                message.height = message.width = _SIDE
                message.step, message.encoding = 3 * _SIDE, "rgb8"
                message.data.frombytes(bytes(3 * _SIDE * _SIDE))
            elif hasattr(message, "position"):
                message.name = self._joints
                message.position = [float(self.number)] * len(self._joints)
            publisher.publish(message)
        self.number += 1
