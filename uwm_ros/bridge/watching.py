# SPDX-License-Identifier: Apache-2.0
"""What forbids the arm to move, whatever a chunk says: senses, operator, model, robot."""

from __future__ import annotations

from rclpy.node import Node
from sensor_msgs.msg import Joy

from uwm_core.embodiment import Embodiment
from uwm_ros.bridge.arm_state import ArmState
from uwm_ros.bridge.clock import now_ns
from uwm_ros.bridge.qos import reliable
from uwm_ros.bridge.robot_state import RobotState
from uwm_ros.logic.judge import Cause
from uwm_ros.logic.watches import Deadman, Heartbeat
from uwm_ros.msg import PolicyStatus

# The policy speaks at 20 Hz.
_HEARTBEAT_S = 0.2


class Watching:
    """Subscriptions to everything that the executor watches beside chunks.

    Attributes:
        arm: The measured arm.
        robot: The robot's own mode and errors.
    """

    def __init__(self, node: Node, embodiment: Embodiment, deadman_button: int) -> None:
        """Subscribe.

        Args:
            node: The executor.
            embodiment: Its robot.
            deadman_button: Of `joy`; negative: none is asked for.
        """
        self._node = node
        self._deadman = Deadman(deadman_button)
        self._policy = Heartbeat(_HEARTBEAT_S)
        self._stale_ticks = 0
        self.arm = ArmState(node, embodiment)
        self.robot = RobotState(node)
        node.create_subscription(PolicyStatus, "policy/status", self._on_policy, reliable())
        if deadman_button >= 0:
            node.create_subscription(Joy, "joy", self._on_joy, reliable())

    def deadman(self, now_ns: int) -> bool:
        """Whether the operator lets the arm move."""
        return self._deadman.held(now_ns)

    def forbids(self, now_ns: int, driver: str) -> tuple[Cause, str] | None:
        """Why the arm may not move now.

        Args:
            now_ns: The moment.
            driver: Whose chunks are played; only the policy has a heartbeat.
        """
        _, age_s = self.arm.at(now_ns)
        # Twice in a row: after a pause of this process the message may wait behind the timer.
        self._stale_ticks = self._stale_ticks + 1 if age_s > self.arm.max_age_s else 0
        if self._stale_ticks > 1:
            return Cause.STALE_STATE, self.arm.trouble or f"joint state is {age_s:.2f} s old"
        if not self._deadman.held(now_ns):
            return Cause.DEADMAN, "the deadman button is not held"
        if driver == "policy" and (trouble := self._policy.trouble(now_ns)):
            return Cause.HEARTBEAT, trouble
        if trouble := self.robot.trouble():
            return Cause.ROBOT, trouble
        return None

    def _on_joy(self, message: Joy) -> None:
        self._deadman.take(message.buttons, now_ns(self._node))

    def _on_policy(self, message: PolicyStatus) -> None:
        asleep = "" if message.state == "active" else f"policy is {message.state}"
        self._policy.beat(now_ns(self._node), str(message.reason) or asleep)
