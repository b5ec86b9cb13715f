# SPDX-License-Identifier: Apache-2.0
"""Action servers of the simulated robot: FollowJointTrajectory, franka_gripper's, GripperCommand.

Their packages are not part of every ROS installation: an embodiment that commands an action is
refused where its package is missing, and a trajectory controller then has its topic only. Goals run
as coroutines that the node's loop ends, so that nothing blocks its one thread.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
from rclpy.action import ActionServer, CancelResponse
from rclpy.node import Node
from rclpy.task import Future
from std_srvs.srv import Trigger

from uwm_core.embodiment import ActionChannel, Embodiment
from uwm_core.errors import UwmError
from uwm_core.sim import hand
from uwm_core.sim.controller import JointTrajectoryController, Rejected, Trajectory
from uwm_core.sim.scene import Scene
from uwm_core.streams import FOLLOW_JOINT_TRAJECTORY, FRANKA_GRIPPER, GRIPPER_COMMAND
from uwm_ros.bridge.outputs.actions import action_class
from uwm_ros.bridge.outputs.gripper import FRANKA_NAMESPACES

_INVALID_GOAL, _PATH_VIOLATED, _SUCCESSFUL = -1, -4, 0
_REPLACED = "a newer goal came"
_ELSEWHERE = "it ended elsewhere"

Look = Callable[[], "bool | None"]
Answer = Callable[[bool, str], Any]


@dataclasses.dataclass
class _Running:
    """The goal that is being done: how it is looked at, and what its end is told to."""

    handle: Any
    look: Look
    ended: Future[str]


class Goals:
    """One goal at a time, over all servers that move the same thing; a newer one ends the older."""

    def __init__(self, node: Node, halt: Callable[[], None]) -> None:
        """Begin without a goal; `halt` stops what moves."""
        self._node, self._halt = node, halt
        self._running: _Running | None = None
        self._servers: list[Any] = []

    def serve(self, kind: Any, name: str, begin: Callable[[Any], Look], answer: Answer) -> None:
        """Offer an action.

        Args:
            kind: Its class.
            name: Its name.
            begin: Starts what a request asks for and gives what tells how it ended; Rejected where
                it cannot be done.
            answer: The result, from whether it succeeded and why not.
        """

        async def execute(handle: Any) -> Any:
            try:
                look = begin(handle.request)
            except Rejected as error:
                handle.abort()
                return answer(False, str(error))
            self._finish(_REPLACED)
            running = _Running(handle, look, Future())
            self._running = running
            why = await running.ended or ""
            if handle.is_cancel_requested:
                handle.canceled()
            elif why:
                handle.abort()
            else:
                handle.succeed()
            return answer(not why, why)

        self._servers.append(
            ActionServer(
                self._node, kind, name, execute, cancel_callback=lambda _: CancelResponse.ACCEPT
            )
        )

    def poll(self) -> None:
        """End the goal where it is done, failed or cancelled."""
        if self._running is None:
            return
        if self._running.handle.is_cancel_requested:
            self.halt("cancelled")
            return
        done = self._running.look()
        if done is not None:
            self._finish("" if done else _ELSEWHERE)

    def halt(self, why: str) -> None:
        """Stop what moves and end the goal."""
        self._halt()
        self._finish(why)

    def _finish(self, why: str) -> None:
        running, self._running = self._running, None
        if running is not None:
            running.ended.set_result(why)


def arm_goals(
    node: Node,
    channel: ActionChannel,
    arm: JointTrajectoryController,
    moment: Callable[[], int],
) -> Goals | None:
    """FollowJointTrajectory beside the controller's topic; None where control_msgs is missing.

    Raises:
        UwmError: It is missing, and the embodiment commands this action.
    """
    try:
        kind = action_class(FOLLOW_JOINT_TRAJECTORY)
    except UwmError:
        if channel.command_type == FOLLOW_JOINT_TRAJECTORY:
            raise
        return None

    def begin(request: Any) -> Look:
        arm.accept(Trajectory.from_message(request.trajectory), moment())
        return lambda: None if arm.moving(moment()) else True

    def answer(succeeded: bool, why: str) -> Any:
        code = _SUCCESSFUL if succeeded else _PATH_VIOLATED if why == _REPLACED else _INVALID_GOAL
        return kind.Result(error_code=code, error_string=why)

    name = channel.command_topic
    if channel.command_type != FOLLOW_JOINT_TRAJECTORY:
        name = f"{name.rpartition('/')[0]}/follow_joint_trajectory".lstrip("/")
    goals = Goals(node, lambda: arm.hold(arm.sample(moment())[0]))
    goals.serve(kind, name, begin, answer)
    return goals


def hand_goals(node: Node, embodiment: Embodiment, scene: Scene) -> Goals | None:
    """The actions of the hand that the embodiment commands; None where it commands none.

    Raises:
        UwmError: Their package is not installed.
    """
    goals = Goals(node, lambda: scene.set_gripper_target(scene.gripper_width))
    for key, channel in embodiment.action.items():
        if channel.command_type == FRANKA_GRIPPER:
            hand.check(f"action {key}", channel)
            _franka(node, goals, channel.command_topic, scene)
            return goals
        if channel.command_type == GRIPPER_COMMAND:
            hand.check(f"action {key}", channel)
            _gripper_command(goals, channel, scene)
            return goals
    return None


def _start(scene: Scene, width_m: float, epsilon_m: tuple[float, float] | None = None) -> Look:
    """Move the hand; what looks how that ended."""
    if not (np.isfinite(width_m) and -1e-6 <= width_m <= hand.FULL_M + 1e-6):
        raise Rejected(f"a width of {width_m:g} m; the hand has 0 to {hand.FULL_M:g} m")
    scene.set_gripper_target(0.0 if epsilon_m else width_m)
    motion = hand.HandMotion(width_m, epsilon_m)
    return lambda: motion.look(scene.gripper_width)


def _franka(node: Node, goals: Goals, namespace: str, scene: Scene) -> None:
    """`move`, `grasp` and `stop` as of franka_gripper."""
    move, grasp = action_class(FRANKA_GRIPPER), action_class("franka_msgs/action/Grasp")

    def begin_grasp(request: Any) -> Look:
        return _start(scene, request.width, (request.epsilon.inner, request.epsilon.outer))

    def stop(request: Any, response: Any) -> Any:
        goals.halt("stopped")
        response.success = True
        return response

    goals.serve(
        move, f"{namespace}/move", lambda request: _start(scene, request.width),
        lambda ok, why: move.Result(success=ok, error=why),
    )  # fmt: skip
    goals.serve(
        grasp, f"{namespace}/grasp", begin_grasp,
        lambda ok, why: grasp.Result(success=ok, error=why),
    )  # fmt: skip
    node.create_service(Trigger, f"{namespace}/stop", stop)


def _gripper_command(goals: Goals, channel: ActionChannel, scene: Scene) -> None:
    """GripperCommand; Franka's takes half of the width and answers with the whole."""
    kind, name = action_class(GRIPPER_COMMAND), channel.command_topic
    parent = name.rpartition("/")[0]
    half = channel.unit == "m" and parent.endswith(FRANKA_NAMESPACES)

    def begin(request: Any) -> Look:
        position = request.command.position
        if half:
            return _start(scene, 2 * position)
        return _start(scene, hand.width_of(position * channel.scale, channel))

    def answer(succeeded: bool, why: str) -> Any:
        width_m = scene.gripper_width
        position = width_m if half else hand.value_of(width_m, channel) / channel.scale
        stalled = why == _ELSEWHERE
        return kind.Result(position=position, stalled=stalled, reached_goal=succeeded)

    goals.serve(kind, name, begin, answer)
