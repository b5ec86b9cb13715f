# SPDX-License-Identifier: Apache-2.0
"""Whole plans as stamped points, for a joint trajectory controller's topic."""

from __future__ import annotations

import numpy as np
from rclpy.duration import Duration
from rclpy.node import Node
from trajectory_msgs.msg import JointTrajectory

from uwm_core.action_channel import ActionChannel
from uwm_core.embodiment import Embodiment
from uwm_ros.bridge.chunks import to_trajectory
from uwm_ros.bridge.outputs.graph import trouble_of
from uwm_ros.bridge.qos import reliable
from uwm_ros.logic.plan import Plan
from uwm_ros.logic.trajectory import Trajectory

_STEP_NS = 20_000_000
# A controller refuses a trajectory whose last point is past when it arrives.
_LEAST_NS = 100_000_000


def points_of(plan: Plan, now_ns: int) -> Trajectory:
    """What a controller plays of a plan from now on.

    The first point lies up to one step in the past, so that the controller is on the plan at once
    and does not first travel to it; and all points lie on one grid of absolute time, so that where
    two plans agree the curves through their points agree too.
    """
    start_ns = now_ns - now_ns % _STEP_NS
    points = plan.points(start_ns, _STEP_NS)
    if points.end_ns >= now_ns + _LEAST_NS:
        return points
    rest = points.positions[-1:]
    return Trajectory(
        np.append(points.times_ns, now_ns + _LEAST_NS),
        np.concatenate([points.positions, rest]),
        np.concatenate([points.velocities, np.zeros_like(rest)]),
    )


class TrajectoryTopic:
    """Publishes every plan once. An `ArmOutput`."""

    streams = False

    def __init__(self, node: Node, embodiment: Embodiment, channel: ActionChannel) -> None:
        """Create the publisher; nothing is sent."""
        self._node = node
        self._names = embodiment.arm_joints
        self._publisher = node.create_publisher(JointTrajectory, channel.command_topic, reliable(1))
        self.topics = (self._publisher.topic_name,)

    def plan(self, plan: Plan, now_ns: int) -> None:
        """Send it."""
        self._publisher.publish(to_trajectory(points_of(plan, now_ns), self._names))

    def tick(self, now_ns: int) -> bool:
        """Nothing to send: the controller has the whole plan."""
        return False

    def check(self) -> str:
        """Another publisher, or no controller."""
        return trouble_of(self._node, self._publisher)

    def release(self) -> None:
        """Nothing to do: the controller stays where the last plan ended."""

    def wait_until_sent(self, timeout_s: float) -> None:
        """Until the controller has acknowledged the last plan."""
        self._publisher.wait_for_all_acked(Duration(seconds=timeout_s))
