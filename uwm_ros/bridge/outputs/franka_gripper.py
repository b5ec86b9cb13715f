# SPDX-License-Identifier: Apache-2.0
"""Franka's gripper through its own actions: `move` opens, `grasp` closes and keeps pressing."""

from __future__ import annotations

from typing import Any

from rclpy.action import ActionClient
from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import JointState
from std_srvs.srv import Trigger

from uwm_core.action_channel import ActionChannel
from uwm_core.embodiment import Embodiment
from uwm_ros.bridge.outputs.actions import action_class, offered
from uwm_ros.bridge.outputs.gripper import FRANKA_NAMESPACES, ActionGripper, drive_for, failure
from uwm_ros.logic.gripper import Goal


class FrankaGripper(ActionGripper):
    """`move`, `grasp` and `stop` of franka_gripper, in whichever namespace it is."""

    def __init__(self, node: Node, embodiment: Embodiment, channel: ActionChannel) -> None:
        """Begin to look for it.

        Raises:
            UwmError: If franka_msgs is not installed.
        """
        self._move = action_class("franka_msgs/action/Move")
        self._grasp = action_class("franka_msgs/action/Grasp")
        self._gripper = embodiment.gripper
        self._metres = 1.0 if channel.unit == "m" else embodiment.gripper.max_width_m
        super().__init__(node, channel, drive_for(embodiment, channel, keeps=True))

    def places(self) -> tuple[str, ...]:
        """Namespaces: the embodiment's, then the usual ones."""
        wanted = (self._channel.command_topic, *FRANKA_NAMESPACES)
        return tuple(dict.fromkeys(self._node.resolve_service_name(name) for name in wanted))

    def is_at(self, place: str) -> bool:
        """Whether both actions are there."""
        return offered(self._node, f"{place}/move") and offered(self._node, f"{place}/grasp")

    def use(self, place: str) -> str:
        """Make clients in a namespace."""
        self._mover = ActionClient(self._node, self._move, f"{place}/move")
        self._grasper = ActionClient(self._node, self._grasp, f"{place}/grasp")
        self._stopper = self._node.create_client(Trigger, f"{place}/stop")
        # Feedback comes ten times a second and only during a goal, this always.
        self._node.create_subscription(
            JointState, f"{place}/joint_states", self._see, qos_profile_sensor_data
        )
        wanted = self.places()[0]
        instead = "" if place == wanted else f", where the embodiment says {wanted}"
        return f"{place}/move and grasp{instead}"

    def is_ready(self) -> bool:
        """Whether both servers are there."""
        return self._mover.server_is_ready() and self._grasper.server_is_ready()

    def send(self, goal: Goal) -> Any:
        """Move or grasp."""
        width_m = min(max(goal.to * self._metres, 0.0), self._gripper.max_width_m)
        if goal.kind == "move":
            move = self._move.Goal(width=width_m, speed=self._gripper.speed_m_s)
            return self._mover.send_goal_async(move, feedback_callback=self._feel)
        grasp = self._grasp.Goal(
            width=width_m, speed=self._gripper.speed_m_s, force=self._gripper.force_n
        )
        # Whatever is between the fingers is the object: its width is not what an action says.
        grasp.epsilon.inner = grasp.epsilon.outer = self._gripper.max_width_m
        return self._grasper.send_goal_async(grasp, feedback_callback=self._feel)

    def stop(self) -> None:
        """Through the service, which works also where an action hangs."""
        self._stopper.call_async(Trigger.Request())

    def taken(self, handle: Any) -> None:
        """Nothing to keep: the service stops whatever is done."""

    def read(self, answer: Any) -> tuple[str, bool | None]:
        """Of a result; whether something is held is told by where the fingers are."""
        return failure(answer, answer.result.error), None

    def _see(self, message: JointState) -> None:
        self._drive.felt(sum(message.position) / self._metres)  # each finger tells half

    def _feel(self, message: Any) -> None:
        self._drive.felt(message.feedback.current_width / self._metres)
