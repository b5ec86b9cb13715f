# SPDX-License-Identifier: Apache-2.0
"""What a node says about its health on `/diagnostics`: at 1 Hz, and at once when it changes.

The topic is absolute, as everywhere in ROS; the node's full name inside the status tells two arms
apart.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.node import Node

from uwm_ros.bridge.qos import reliable

_PERIOD_S = 1.0


class Level(Enum):
    """How well a node is."""

    OK = DiagnosticStatus.OK
    WARN = DiagnosticStatus.WARN
    ERROR = DiagnosticStatus.ERROR


class Diagnostics:
    """Publishes one status of one node."""

    def __init__(self, node: Node, hardware_id: str) -> None:
        """Publish for `node`.

        Args:
            node: The node that is spoken of.
            hardware_id: Which robot: the embodiment's name.
        """
        self._node = node
        self._name = node.get_fully_qualified_name().lstrip("/")
        self._hardware_id = hardware_id
        self._level, self._message = Level.OK, "starting"
        self._values: dict[str, str] = {}
        self._publisher = node.create_publisher(DiagnosticArray, "/diagnostics", reliable())
        self._timer = node.create_timer(_PERIOD_S, self.publish)

    def update(self, level: Level, message: str, values: Mapping[str, object]) -> None:
        """Set what is said; published at once where level or message changed.

        Args:
            level: How well the node is.
            message: One sentence; the reason, where it is not well.
            values: Details, turned into text.
        """
        changed = (level, message) != (self._level, self._message)
        self._level, self._message = level, message
        self._values = {key: str(value) for key, value in values.items()}
        if changed:
            self.publish()

    def publish(self) -> None:
        """Say it now."""
        status = DiagnosticStatus(
            level=self._level.value,
            name=self._name,
            message=self._message,
            hardware_id=self._hardware_id,
            values=[KeyValue(key=key, value=value) for key, value in self._values.items()],
        )
        array = DiagnosticArray(status=[status])
        array.header.stamp = self._node.get_clock().now().to_msg()
        self._publisher.publish(array)
