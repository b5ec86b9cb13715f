# SPDX-License-Identifier: Apache-2.0
"""Grippers behind `control_msgs/action/GripperCommand`.

Franka's takes half of the width as its position (one finger's way) and answers with the whole
width. It is told from others by what stands beside it: its own `grasp` action, or its namespace.
"""

from __future__ import annotations

from typing import Any

from rclpy.action import ActionClient
from rclpy.node import Node

from uwm_core.action_channel import ActionChannel
from uwm_core.embodiment import Embodiment
from uwm_ros.bridge.outputs.actions import action_class, offered
from uwm_ros.bridge.outputs.gripper import FRANKA_NAMESPACES, ActionGripper, drive_for, failure
from uwm_ros.logic.gripper import Goal

_FRANKA_ACTION = "gripper_action"


class CommandedGripper(ActionGripper):
    """One action for opening and closing."""

    def __init__(self, node: Node, embodiment: Embodiment, channel: ActionChannel) -> None:
        """Begin to look for it.

        Raises:
            UwmError: If control_msgs is not installed.
        """
        self._kind = action_class(channel.command_type)
        self._gripper = embodiment.gripper
        # Without a width it is not known which way is closed, so nothing is known to be held.
        metres = channel.unit == "m"
        self._half = False
        self._handle: Any = None
        super().__init__(node, channel, drive_for(embodiment, channel, keeps=metres))

    def places(self) -> tuple[str, ...]:
        """Names of the action: the embodiment's; if that is Franka's, the other usual ones too."""
        wanted = self._channel.command_topic
        others = [f"{name}/{_FRANKA_ACTION}" for name in FRANKA_NAMESPACES]
        names = (wanted, *others) if wanted.endswith(_FRANKA_ACTION) else (wanted,)
        return tuple(dict.fromkeys(self._node.resolve_service_name(name) for name in names))

    def is_at(self, place: str) -> bool:
        """Whether the action is there."""
        return offered(self._node, place)

    def use(self, place: str) -> str:
        """Make the client."""
        self._client = ActionClient(self._node, self._kind, place)
        parent = place.rpartition("/")[0]
        franka = offered(self._node, f"{parent}/grasp") or parent.endswith(FRANKA_NAMESPACES)
        self._half = franka and self._channel.unit == "m"
        return f"{place}{', whose positions are half of the width' if self._half else ''}"

    def is_ready(self) -> bool:
        """Whether the server is there."""
        return self._client.server_is_ready()

    def send(self, goal: Goal) -> Any:
        """Send a position."""
        message = self._kind.Goal()
        message.command.position = self._position(goal.to)
        message.command.max_effort = self._gripper.force_n
        self._handle = None
        return self._client.send_goal_async(message, feedback_callback=self._feel)

    def taken(self, handle: Any) -> None:
        """Keep what a stop needs."""
        self._handle = handle

    def stop(self) -> None:
        """Cancel the goal."""
        if self._handle is not None:
            self._handle.cancel_goal_async()

    def read(self, answer: Any) -> tuple[str, bool | None]:
        """Of a result; one that stalled has something between its fingers, which is no failure."""
        result = answer.result
        self._drive.felt(self._value(result.position))
        if result.stalled:
            return "", True
        return failure(answer, f"it stands at {result.position:.3g}"), None

    def _position(self, value: float) -> float:
        if self._channel.unit == "m":
            value = min(max(value, 0.0), self._gripper.max_width_m)
        return value / 2 if self._half else value / self._channel.scale

    def _value(self, position: float) -> float:
        """Of a position that the gripper tells: Franka's tells whole widths."""
        return position if self._half else position * self._channel.scale

    def _feel(self, message: Any) -> None:
        self._drive.felt(self._value(message.feedback.position))
