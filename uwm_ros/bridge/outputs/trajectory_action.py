# SPDX-License-Identifier: Apache-2.0
"""Whole plans as goals of a `FollowJointTrajectory` action; the controller says if it fails.

Every plan is a new goal. The controller takes it in place of the one that it plays and ends that as
cancelled or aborted, so only what becomes of the newest goal means anything.
"""

from __future__ import annotations

import time
from typing import Any

from rclpy.action import ActionClient
from rclpy.node import Node

from uwm_core.action_channel import ActionChannel
from uwm_core.embodiment import Embodiment
from uwm_ros.bridge.chunks import to_trajectory
from uwm_ros.bridge.outputs.actions import ACCEPTED_ENDS, action_class
from uwm_ros.bridge.outputs.graph import second_publisher
from uwm_ros.bridge.outputs.trajectories import points_of
from uwm_ros.logic.plan import Plan

# A process that ends takes with it what its middleware has not put on the wire.
_ON_THE_WIRE_S = 0.1
_ERRORS = {
    -1: "the goal is invalid",
    -2: "the joints are not its own",
    -3: "the trajectory came too late",
    -4: "the arm left the path",
    -5: "the arm did not reach the end",
}


class TrajectoryAction:
    """Sends every plan once. An `ArmOutput`."""

    streams = False

    def __init__(self, node: Node, embodiment: Embodiment, channel: ActionChannel) -> None:
        """Create the client; nothing is sent.

        Raises:
            UwmError: If control_msgs is not installed.
        """
        self._kind = action_class(channel.command_type)
        self._node = node
        self._names = embodiment.arm_joints
        self._name = node.resolve_topic_name(channel.command_topic)
        self._client = ActionClient(node, self._kind, self._name)
        self._newest = 0
        self._trouble = ""
        # The same controller takes trajectories of a topic too: nobody else may send any there.
        parent, _, _ = self._name.rpartition("/")
        self.topics = (f"{parent}/joint_trajectory",)

    def plan(self, plan: Plan, now_ns: int) -> None:
        """Send it; the controller's answer comes later."""
        goal = self._kind.Goal()
        goal.trajectory = to_trajectory(points_of(plan, now_ns), self._names)
        self._newest += 1
        number = self._newest
        sent = self._client.send_goal_async(goal)
        sent.add_done_callback(lambda future: self._answered(number, future))

    def tick(self, now_ns: int) -> bool:
        """Nothing to send: the controller has the whole plan."""
        return False

    def check(self) -> str:
        """A goal that was rejected or aborted (said once), another commander, or no controller."""
        trouble, self._trouble = self._trouble, ""
        if trouble:
            return trouble
        if not self._client.server_is_ready():
            return f"no controller offers the action {self._name}"
        return second_publisher(self._node, self.topics[0], own=0)

    def release(self) -> None:
        """The controller stays where the last plan ended; how that ends is nobody's concern."""
        self._newest += 1
        self._trouble = ""

    def wait_until_sent(self, timeout_s: float) -> None:
        """Give the request time to leave: a service knows no acknowledgement."""
        time.sleep(min(timeout_s, _ON_THE_WIRE_S))

    def _answered(self, number: int, future: Any) -> None:
        handle = future.result()
        if handle is None or number != self._newest:
            return
        if not handle.accepted:
            self._trouble = f"{self._name} rejected the trajectory"
            return
        handle.get_result_async().add_done_callback(lambda f: self._ended(number, f))

    def _ended(self, number: int, future: Any) -> None:
        answer = future.result()
        if answer is None or number != self._newest or answer.status in ACCEPTED_ENDS:
            return
        code = int(answer.result.error_code)
        why = answer.result.error_string or _ERRORS.get(code, f"error {code}")
        self._trouble = f"{self._name} gave up the trajectory: {why}"
