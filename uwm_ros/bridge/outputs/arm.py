# SPDX-License-Identifier: Apache-2.0
"""The arm's output: a judged plan to whatever the arm's controller takes.

Two kinds. A controller of trajectories gets every new plan once, as points (`plan` sends). All
others get one target after another, sampled from the plan in force (`tick` sends), also while the
arm rests: most of them give up when nothing comes.
"""

from __future__ import annotations

from typing import Protocol

from rclpy.node import Node

from uwm_core.action_channel import ActionChannel
from uwm_core.embodiment import Embodiment
from uwm_core.streams import (
    ARRAY,
    FOLLOW_JOINT_TRAJECTORY,
    JOINT_STATE,
    JOINT_TRAJECTORY,
    POSE_STAMPED,
)
from uwm_ros.logic.plan import Plan


class ArmOutput(Protocol):
    """What moves the arm. Nothing here waits: an action's answers arrive while the node spins.

    Attributes:
        topics: Full names of the topics that nobody else may publish on.
        streams: Whether `tick` sends; else `plan` does.
    """

    topics: tuple[str, ...]
    streams: bool

    def plan(self, plan: Plan, now_ns: int) -> None:
        """Take a new plan, also a stop; it is in force from now on."""

    def tick(self, now_ns: int) -> bool:
        """Send the sample for now; whether anything was sent."""

    def check(self) -> str:
        """What is wrong with topic or controller, one sentence; empty where all is well.

        An event (a goal that was rejected or aborted) is said once.
        """

    def release(self) -> None:
        """Send no more until the next plan."""

    def wait_until_sent(self, timeout_s: float) -> None:
        """Wait until the controller has what was sent; for the end of the process."""


def make_arm_output(node: Node, embodiment: Embodiment, rate_hz: float = 100.0) -> ArmOutput | None:
    """The output that the arm's action channel asks for; None where no channel moves the arm.

    Args:
        node: The node that sends.
        embodiment: Its first channel that moves the arm is taken.
        rate_hz: Rate at which `tick` will be called.

    Raises:
        UwmError: If the command type's package is not installed, or its kinematics is missing.
    """
    found = arm_channel(embodiment)
    if found is None:
        return None
    if found.command_type == JOINT_TRAJECTORY:
        from uwm_ros.bridge.outputs.trajectories import TrajectoryTopic

        return TrajectoryTopic(node, embodiment, found)
    if found.command_type == FOLLOW_JOINT_TRAJECTORY:
        from uwm_ros.bridge.outputs.trajectory_action import TrajectoryAction

        return TrajectoryAction(node, embodiment, found)
    if found.command_type in (JOINT_STATE, ARRAY):
        from uwm_ros.bridge.outputs.joints import make_joint_stream

        return make_joint_stream(node, embodiment, found, rate_hz)
    from uwm_ros.bridge.outputs.cartesian import PoseStream, TwistStream

    if found.command_type == POSE_STAMPED:
        return PoseStream(node, embodiment, found)
    return TwistStream(node, embodiment, found, rate_hz)


def arm_channel(embodiment: Embodiment) -> ActionChannel | None:
    """The channel that moves the arm."""
    channels = embodiment.action.values()
    return next((channel for channel in channels if embodiment.moves_arm(channel)), None)
