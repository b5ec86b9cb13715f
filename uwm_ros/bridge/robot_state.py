# SPDX-License-Identifier: Apache-2.0
"""What the robot says of itself: its mode and errors, and the request to leave a reflex.

Needs franka_msgs, which comes with franka_ros2; without it, and with a robot that says nothing,
there is no trouble to report and nobody to ask.
"""

from __future__ import annotations

from typing import Any

from rclpy.action import ActionClient
from rclpy.node import Node

from uwm_core.errors import UwmError
from uwm_ros.bridge.clock import now_ns
from uwm_ros.bridge.outputs.actions import action_class
from uwm_ros.bridge.qos import MatchedSubscription
from uwm_ros.logic.preflight import RobotFacts, check_robot

_TYPE = "franka_msgs/msg/FrankaRobotState"
_TOPIC = "franka_robot_state_broadcaster/robot_state"
_RECOVERY = "franka_msgs/action/ErrorRecovery"
_RECOVERY_NAME = "action_server/error_recovery"
# The broadcaster publishes at 1 kHz; a network may lose some.
_SILENT_S = 0.5


class RobotState:
    """Keeps the newest robot state; decoded when somebody asks."""

    def __init__(self, node: Node) -> None:
        """Listen, where the message type is installed."""
        self._node = node
        self._newest: tuple[Any, int] | None = None
        self._recovery: Any = None
        self._stream: MatchedSubscription | None = None
        try:
            self._stream = MatchedSubscription(node, _TYPE, _TOPIC, self._keep, depth=1)
        except UwmError:
            node.get_logger().info("franka_msgs is not installed: the robot's mode is not watched")

    @property
    def facts(self) -> RobotFacts | None:
        """Mode and errors; None while the robot has said nothing."""
        if self._newest is None:
            return None
        message, _ = self._newest
        errors = message.current_errors
        names = (name for name in errors.get_fields_and_field_types() if getattr(errors, name))
        return RobotFacts(
            mode=int(message.robot_mode), errors=tuple(name.replace("_", " ") for name in names)
        )

    def trouble(self) -> str:
        """Why the robot would not move, one sentence; empty where nothing is known against it."""
        if self._newest is None:
            return ""
        silent_s = (now_ns(self._node) - self._newest[1]) / 1e9
        if silent_s > _SILENT_S:
            return f"the robot's state is silent for {silent_s:.1f} s"
        line = check_robot(self.facts)
        return f"the robot {line.found}" if line.level == "fail" else ""

    def recover(self) -> None:
        """Ask the robot to leave its reflex; it answers by its state.

        Raises:
            UwmError: If franka_msgs is not installed, or nobody offers the recovery.
        """
        kind = action_class(_RECOVERY)
        if self._recovery is None:
            self._recovery = ActionClient(self._node, kind, _RECOVERY_NAME)
        if not self._recovery.server_is_ready():
            name = self._node.resolve_topic_name(_RECOVERY_NAME)
            raise UwmError(f"nobody offers {name} yet: is franka_bringup running? Try again")
        self._recovery.send_goal_async(kind.Goal())

    def close(self) -> None:
        """Leave the topic."""
        if self._stream is not None:
            self._stream.close()

    def _keep(self, message: Any, receive_ns: int) -> None:
        self._newest = (message, receive_ns)
