# SPDX-License-Identifier: Apache-2.0
"""Laws of the scripted teleoperation, on a real graph with a robot that always obeys."""

import numpy as np
import pytest

pytest.importorskip("rclpy")
pytest.importorskip("uwm_ros.msg")

from sensor_msgs.msg import JointState
from std_msgs.msg import Float32
from std_srvs.srv import Trigger
from trajectory_msgs.msg import JointTrajectory

from uwm_core.data.messages import header_ns
from uwm_core.embodiment import Embodiment
from uwm_core.sim import fr3
from uwm_ros.msg import SimTask
from uwm_ros.nodes.scripted_teleop import ScriptedTeleop
from uwm_ros.operator.client import GraphError, Operator

EMBODIMENT = Embodiment.load("fr3_sim")
ARM = EMBODIMENT.action["joint_target"]
GRIPPER = EMBODIMENT.action["gripper_width"]


class Arm:
    """Says that the arm is at home and the cube before it, for as long as it is asked to."""

    def __init__(self, graph):
        self.graph, self.silent = graph, False
        node = graph.node
        self.joints = node.create_publisher(JointState, EMBODIMENT.state["joint_pos"].topic, 10)
        self.fingers = node.create_publisher(
            JointState, EMBODIMENT.state["gripper_width"].topic, 10
        )
        self.task = node.create_publisher(SimTask, "sim/task", 10)
        node.create_timer(0.01, self.publish)

    def publish(self):
        if self.silent:
            return
        stamp = self.graph.node.get_clock().now().to_msg()
        # Back to front: joints are known by their names.
        joints = JointState(name=list(reversed(fr3.ARM_JOINTS)))
        joints.position, joints.velocity = list(reversed(fr3.HOME_RAD)), [0.0] * 7
        fingers = JointState(name=list(fr3.FINGER_JOINTS), position=[0.04, 0.04])
        task = SimTask()
        task.cube_pose.position.x, task.cube_pose.position.z = 0.5, 0.02
        task.cube_pose.orientation.w = 1.0
        for message, publisher in (
            (joints, self.joints), (fingers, self.fingers), (task, self.task),
        ):  # fmt: skip
            message.header.stamp = stamp
            publisher.publish(message)


@pytest.fixture
def outputs(graph):
    """What the teleoperation publishes: labels, commands, gripper."""
    return (
        graph.listen(JointState, ARM.topic),
        graph.listen(JointTrajectory, ARM.command_topic),
        graph.listen(Float32, GRIPPER.command_topic),
    )


def built(graph, **parameters):
    return graph.add(ScriptedTeleop, parameters=parameters)


def begin(graph):
    """Start as soon as the arm is heard."""
    graph.wait(lambda: graph.call(Trigger, "scripted_teleop/start").success, "the start")


def offsets(labels, commands):
    """Largest difference of joint targets, per moment that both were published for."""
    sent = {header_ns(m): np.array(m.points[0].positions) for m in list(commands)}
    pairs = [(m.position, sent.get(header_ns(m))) for m in list(labels)]
    return [np.abs(np.array(label) - to).max() for label, to in pairs if to is not None]


def span_ns(messages):
    return header_ns(messages[-1]) - header_ns(messages[0])


def test_label_is_clean_and_the_command_is_it_plus_noise(graph, outputs):
    Arm(graph)
    built(graph, noise_m=0.03, seed=19)  # its first gust blows from 0.14 s to 0.38 s
    labels, commands, percents = outputs
    begin(graph)
    # By the stamps, and not by counting: a busy machine publishes less often. Gusts follow time.
    graph.wait(lambda: labels and span_ns(labels) > 400_000_000, "0.4 s of labels")
    graph.wait(lambda: percents, "the gripper")
    graph.call(Trigger, "scripted_teleop/stop")
    assert min(offsets(labels, commands)) < 1e-12  # quiet before the gust
    assert max(offsets(labels, commands)) > 1e-4
    assert list(labels[0].name) == list(commands[0].joint_names) == list(fr3.ARM_JOINTS)
    assert {m.data for m in percents} == {1.0}


def test_play_sends_what_it_labels(graph, outputs):
    Arm(graph)
    built(graph, mode="play", seed=1)
    labels, commands, _ = outputs
    begin(graph)
    graph.wait(lambda: len(labels) > 20 and len(commands) > 20, "labels")
    graph.call(Trigger, "scripted_teleop/stop")
    assert set(offsets(labels, commands)) == {0.0}


def test_start_without_an_arm_is_refused_and_names_what_is_missing(graph, outputs):
    built(graph)
    response = graph.call(Trigger, "scripted_teleop/start")
    assert not response.success
    for topic in ("sim/task", "franka/joint_states", "franka_gripper/joint_states"):
        assert topic in response.message
    assert not outputs[0]


def test_it_stops_when_the_arm_falls_silent(graph, outputs):
    arm = Arm(graph)
    built(graph)
    begin(graph)
    graph.wait(lambda: outputs[0], "a label")
    arm.silent = True
    graph.wait(
        lambda: graph.call(Trigger, "scripted_teleop/stop").message == "was not running", "the stop"
    )


def test_mode_is_set_between_attempts_and_an_unknown_one_refused(graph):
    built(graph)
    operator = Operator(graph.node)
    operator.set_parameters("scripted_teleop", mode="play", seed=7)
    with pytest.raises(GraphError, match="Did you mean 'expert'"):
        operator.set_parameters("scripted_teleop", mode="exprt")
    with pytest.raises(GraphError, match="at least 0"):
        operator.set_parameters("scripted_teleop", seed=-1)
