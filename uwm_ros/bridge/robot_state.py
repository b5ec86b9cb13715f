# SPDX-License-Identifier: Apache-2.0
"""What the robot itself says: whether it may move, and why not.

franka_ros2 reports mode and errors at 1 kHz; they are read only when somebody asks. Errors are
forgotten by the robot on request only (`recover`): whoever presses the button has looked first.
Without franka_msgs, or where nobody reports, there is never any trouble, and that is said once.
"""

from __future__ import annotations

import importlib
from typing import Any

from rclpy.node import Node

from uwm_core.errors import UwmError
from uwm_ros.bridge.clock import now_ns
from uwm_ros.bridge.qos import MatchedSubscription, publishers
from uwm_ros.logic.preflight import RobotFacts, check_robot

TOPIC = "franka_robot_state_broadcaster/robot_state"
TYPE = "franka_msgs/msg/FrankaRobotState"
_RECOVERY = "action_server/error_recovery"
_MAX_AGE_S = 0.5


class RobotState:
    """Watches the robot's mode and errors.

    Attributes:
        topic: Full name of the topic; empty where franka_msgs is not installed.
    """

    def __init__(self, node: Node) -> None:
        """Subscribe where that is possible; says where it is not."""
        self._node = node
        self._newest: tuple[Any, int] | None = None
        self._stream: MatchedSubscription | None = None
        self.topic = ""
        try:
            actions = importlib.import_module("franka_msgs.action")
        except ImportError:
            node.get_logger().info(
                "franka_msgs is not installed: the robot's mode and errors are not watched"
            )
            return
        from rclpy.action import ActionClient

        self._stream = MatchedSubscription(node, TYPE, TOPIC, self._keep, depth=1)
        self.topic = self._stream.resolved
        self._recovery = ActionClient(node, actions.ErrorRecovery, _RECOVERY)

    @property
    def facts(self) -> RobotFacts | None:
        """Mode and errors; None where nobody has reported."""
        if self._newest is None:
            return None
        message, _ = self._newest
        return RobotFacts(mode=int(message.robot_mode), errors=tuple(current_errors(message)))

    def trouble(self) -> str:
        """Why the robot cannot move, one sentence; empty where it can, or nobody ever reported."""
        if self._newest is None:
            return ""
        age_s = (now_ns(self._node) - self._newest[1]) / 1e9
        if age_s > _MAX_AGE_S:
            gone = "" if publishers(self._node, self.topic) else "; nobody publishes it"
            return f"{self.topic} is silent for {age_s:.1f} s{gone}"
        line = check_robot(self.facts)
        return f"robot {line.found}" if line.level == "fail" else ""

    def recover(self) -> None:
        """Ask the robot to forget its errors; what comes of it is told by `trouble`.

        Raises:
            UwmError: If that cannot be asked here.
        """
        if not self.topic:
            raise UwmError("franka_msgs is not installed here, so error recovery cannot be asked")
        if not self._recovery.server_is_ready():
            name = self._node.resolve_service_name(_RECOVERY)
            raise UwmError(f"nobody offers the action {name}")
        kind = importlib.import_module("franka_msgs.action").ErrorRecovery
        self._recovery.send_goal_async(kind.Goal()).add_done_callback(self._answered)

    def close(self) -> None:
        """Leave the topic."""
        if self._stream is not None:
            self._stream.close()

    def _answered(self, future: Any) -> None:
        handle = future.result()
        if handle is None or not handle.accepted:
            self._node.get_logger().warning("error recovery was rejected")

    def _keep(self, message: Any, received_ns: int) -> None:
        self._newest = (message, received_ns)


def current_errors(message: Any) -> list[str]:
    """Names of the errors that a robot state reports, as people write them."""
    errors = message.current_errors
    fields = errors.get_fields_and_field_types()
    return [name.replace("_", " ") for name in fields if getattr(errors, name) is True]
