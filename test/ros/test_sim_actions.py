# SPDX-License-Identifier: Apache-2.0
"""The simulated robot's actions, asked by the project's own outputs' counterparts: real clients."""

import dataclasses
import importlib.util
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rclpy")
pytest.importorskip("uwm_ros.msg")
if importlib.util.find_spec("mujoco") is None:
    pytest.skip("needs mujoco", allow_module_level=True)

from rclpy.action import ActionClient
from sensor_msgs.msg import JointState
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from uwm_core.embodiment import Embodiment
from uwm_ros.bridge.clock import to_duration

FR3 = Embodiment.load("fr3_sim")
BUILDER = Path(__file__).parents[1] / "interfaces" / "builder.py"
SUCCEEDED, CANCELED, ABORTED = 4, 5, 6


@pytest.fixture(scope="module")
def interfaces():
    """franka_msgs and control_msgs, built once per machine; skips where that cannot be."""
    spec = importlib.util.spec_from_file_location("interfaces_builder", BUILDER)
    builder = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(builder)
    if problem := builder.provide():
        pytest.skip(problem)
    return builder


@pytest.fixture
def start(graph, tmp_path, interfaces):
    """Starts the simulated robot with another command type of one action."""
    processes = []

    def start(key, **changes):
        action = {**FR3.action, key: dataclasses.replace(FR3.action[key], **changes)}
        path = tmp_path / "robot.yaml"
        path.write_text(dataclasses.replace(FR3, action=action).to_yaml())
        command = [sys.executable, "-m", "uwm_ros.nodes.sim_robot", "--ros-args"]
        command += ["-p", f"embodiment:={path}", "-p", "image_height:=32", "-p", "image_width:=32"]
        environment = {**os.environ, **interfaces.environment()}
        here = str(Path(__file__).parents[2])
        environment["PYTHONPATH"] = f"{here}:{environment.get('PYTHONPATH', '')}"
        processes.append(subprocess.Popen(command, env=environment))

    yield start
    for process in processes:
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0


def ask(graph, client, goal, cancel=False):
    """Sends a goal; its status and result."""
    graph.wait(client.server_is_ready, "the action")
    sent = [client.send_goal_async(goal)]

    def answered():
        # A server may know of its client too late to answer the first request: it says so.
        if time.monotonic() > asked_s + 5.0 * len(sent):
            sent.append(client.send_goal_async(goal))
        return next((future for future in sent if future.done()), None)

    asked_s = time.monotonic()
    graph.wait(answered, "an answer to the goal")
    handle = answered().result()
    asked = handle.get_result_async()
    if cancel:
        handle.cancel_goal_async()
    graph.wait(asked.done, "the result")
    return asked.result().status, asked.result().result


def test_franka_gripper_moves_grasps_and_is_refused_what_it_cannot(graph, start):
    changes = {"command_type": "franka_msgs/action/Move", "command_topic": "franka_gripper"}
    start("gripper_width", **changes)
    from franka_msgs.action import Grasp, Move

    fingers = graph.listen(JointState, FR3.state["gripper_width"].topic)
    move = ActionClient(graph.node, Move, "franka_gripper/move")
    grasp = ActionClient(graph.node, Grasp, "franka_gripper/grasp")
    status, result = ask(graph, move, Move.Goal(width=0.03, speed=0.1))
    assert status == SUCCEEDED and result.success
    width = pytest.approx(0.03, abs=0.004)
    graph.wait(lambda: fingers and sum(fingers[-1].position) == width, "a state of that width")
    status, result = ask(graph, move, Move.Goal(width=0.3, speed=0.1))
    assert status == ABORTED and "0.3 m" in result.error
    nothing = Grasp.Goal(width=0.04, speed=0.1, force=20.0)
    status, result = ask(graph, grasp, nothing)  # the fingers meet: 0 is not 0.04
    assert status == ABORTED and not result.success


def test_gripper_command_of_franka_takes_half_of_the_width(graph, start):
    topic = "franka_gripper/gripper_action"
    start("gripper_width", command_type="control_msgs/action/GripperCommand", command_topic=topic)
    from control_msgs.action import GripperCommand

    goal = GripperCommand.Goal()
    goal.command.position = 0.02
    status, result = ask(graph, ActionClient(graph.node, GripperCommand, topic), goal)
    assert status == SUCCEEDED and result.reached_goal
    assert result.position == pytest.approx(0.04, abs=0.004)


def test_trajectory_action_is_followed_refused_and_cancelled(graph, start):
    topic = "fr3_arm_controller/follow_joint_trajectory"
    kind = "control_msgs/action/FollowJointTrajectory"
    start("joint_target", command_type=kind, command_topic=topic)
    from control_msgs.action import FollowJointTrajectory

    joints = graph.listen(JointState, FR3.state["joint_pos"].topic)
    graph.wait(lambda: joints, "joint states")
    client = ActionClient(graph.node, FollowJointTrajectory, topic)
    here = np.array(joints[-1].position)

    def goal(target, after_s, names=FR3.arm_joints):
        point = JointTrajectoryPoint(
            positions=target.tolist(), time_from_start=to_duration(round(after_s * 1e9))
        )
        trajectory = JointTrajectory(joint_names=list(names), points=[point])
        return FollowJointTrajectory.Goal(trajectory=trajectory)

    status, result = ask(graph, client, goal(here + 0.1, 0.5))
    assert status == SUCCEEDED and result.error_code == 0
    np.testing.assert_allclose(joints[-1].position, here + 0.1, atol=0.02)
    status, result = ask(graph, client, goal(here, 0.5, [*FR3.arm_joints[:-1], "other"]))
    assert status == ABORTED and "unknown joint 'other'" in result.error_string
    status, _ = ask(graph, client, goal(here - 0.5, 20.0), cancel=True)
    assert status == CANCELED
    assert np.abs(np.array(joints[-1].position) - here).max() < 0.3
