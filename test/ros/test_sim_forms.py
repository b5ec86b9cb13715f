# SPDX-License-Identifier: Apache-2.0
"""The simulated robot takes every form of command and has every fault, on the wire."""

import dataclasses
import importlib.util
import itertools
import os
import signal
import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("rclpy")
pytest.importorskip("uwm_ros.msg")
# Looked for, not imported: the scene chooses the OpenGL back end before MuJoCo is imported.
if importlib.util.find_spec("mujoco") is None:
    pytest.skip("needs mujoco", allow_module_level=True)

from geometry_msgs.msg import PoseStamped, Twist, TwistStamped
from rcl_interfaces.srv import SetParameters
from rclpy.parameter import Parameter
from sensor_msgs.msg import Image, JointState
from std_msgs.msg import Float32, Float64, Float64MultiArray

from uwm_core.data.messages import header_ns
from uwm_core.embodiment import Embodiment
from uwm_core.sim import kinematics
from uwm_ros.bridge.clock import now_ns, to_stamp

FR3 = Embodiment.load("fr3_sim")
STATES = FR3.state["joint_pos"].topic
TOPIC = "arm/command"
HOUR_NS = 3_600_000_000_000


def forms(kind, **changes):
    """`fr3_sim` whose arm is commanded by messages of another type."""
    joints = dataclasses.replace(
        FR3.action["joint_target"], command_type=kind, command_topic=TOPIC, **changes
    )
    return dataclasses.replace(FR3, action={**FR3.action, "joint_target": joints})


@pytest.fixture
def start(graph, tmp_path):
    """Starts the simulated robot of an embodiment."""
    robots = []

    def start(embodiment):
        robots.append(Robot(graph, tmp_path, embodiment))
        return robots[-1]

    yield start
    for robot in robots:
        robot.close()


class Robot:
    """A simulated robot of an embodiment and this side of its topics."""

    def __init__(self, graph, folder, embodiment):
        path = folder / "robot.yaml"
        path.write_text(embodiment.to_yaml())
        self.graph, self.embodiment = graph, embodiment
        spec = embodiment.state["joint_pos"]
        self.topic = spec.topic
        self.joints = graph.listen(JointState, spec.topic)
        command = [sys.executable, "-m", "uwm_ros.nodes.sim_robot", "--ros-args"]
        for name, value in (("embodiment", path), ("image_height", 32), ("image_width", 48)):
            command += ["-p", f"{name}:={value}"]
        # A process of its own: what draws keeps to one thread, from its start to its end.
        self.process = subprocess.Popen(command, env=dict(os.environ))
        graph.wait(lambda: len(self.joints) > 5, "joint states")

    def close(self):
        self.process.send_signal(signal.SIGINT)
        assert self.process.wait(30) == 0

    def position(self):
        message = self.joints[-1]
        return np.array(
            [message.position[message.name.index(j)] for j in self.embodiment.arm_joints]
        )

    def speed(self):
        return float(np.abs(self.joints[-1].velocity).max())

    def stream(self, publisher, message, until, what):
        """Send a message at about 100 Hz, freshly stamped, until something is so."""

        def send():
            if hasattr(message, "header"):
                message.header.stamp = to_stamp(now_ns(self.graph.node))
            publisher.publish(message)

        timer = self.graph.node.create_timer(0.01, send)
        self.graph.wait(until, what)
        self.graph.node.destroy_timer(timer)

    def fault(self, name):
        request = SetParameters.Request(
            parameters=[Parameter("fault", value=name).to_parameter_msg()]
        )
        return self.graph.call(SetParameters, "sim_robot/set_parameters", request).results[0]


def rests(robot):
    robot.graph.wait(lambda: robot.speed() < 0.01, "the arm at rest")


def joint_state(target):
    order = [3, 0, 6, 1, 5, 2, 4]
    names = [FR3.arm_joints[i] for i in order]
    return JointState(name=names, position=[float(target[i]) for i in order])


def pose(target):
    message, matrix = PoseStamped(), kinematics.tcp_pose(target)
    at, turn = message.pose.position, message.pose.orientation
    at.x, at.y, at.z = matrix[:3, 3].tolist()
    turn.w, turn.x, turn.y, turn.z = kinematics.quaternion(matrix[:3, :3]).tolist()
    return message


TARGETS = {
    "sensor_msgs/msg/JointState": (JointState, joint_state),
    "std_msgs/msg/Float64MultiArray": (
        Float64MultiArray,
        lambda q: Float64MultiArray(data=q),
    ),
    "geometry_msgs/msg/PoseStamped": (PoseStamped, pose),
}


@pytest.mark.parametrize("kind", TARGETS)
def test_arm_goes_to_a_streamed_target_and_stays(graph, start, kind):
    robot = start(forms(kind))
    message_class, make = TARGETS[kind]
    target = robot.position() + np.array([0.2, 0.1, 0, 0.1, 0, 0.1, 0.2])
    publisher = graph.node.create_publisher(message_class, TOPIC, 10)
    graph.connected(publisher)

    def there():
        hand = kinematics.tcp_pose(robot.position()) - kinematics.tcp_pose(target)
        return np.abs(hand).max() < 0.01

    robot.stream(publisher, make(target), there, "the target")
    rests(robot)
    assert there()


VELOCITIES = {
    "std_msgs/msg/Float64MultiArray": (Float64MultiArray, {"command_field": "velocity"}),
    "geometry_msgs/msg/Twist": (Twist, {}),
}


@pytest.mark.parametrize("kind", VELOCITIES)
def test_arm_moves_while_velocities_come_and_stops_when_they_do_not(graph, start, kind):
    message_class, changes = VELOCITIES[kind]
    robot = start(forms(kind, **changes))
    begin = kinematics.tcp_pose(robot.position())[:3, 3]
    publisher = graph.node.create_publisher(message_class, TOPIC, 10)
    graph.connected(publisher)
    message = message_class()
    if kind.endswith("Array"):
        message.data = [0.3, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]  # the base turns: the hand goes to +y
    else:
        message.linear.y = 0.1
    moved = lambda: kinematics.tcp_pose(robot.position())[:3, 3] - begin  # noqa: E731
    robot.stream(publisher, message, lambda: moved()[1] > 0.04, "a motion to +y")
    assert np.abs(moved()[[0, 2]]).max() < 0.02
    rests(robot)


def test_gripper_without_a_unit_is_open_at_0_and_closed_at_1(graph, start):
    changes = {"unit": "unitless", "scale": 1.0, "command_type": "std_msgs/msg/Float64"}
    channel = dataclasses.replace(FR3.action["gripper_width"], **changes)
    action = {**FR3.action, "gripper_width": channel}
    robot = start(dataclasses.replace(FR3, action=action))
    fingers = graph.listen(JointState, FR3.state["gripper_width"].topic)
    publisher = graph.node.create_publisher(Float64, channel.command_topic, 10)
    graph.connected(publisher)
    for value, width_m in ((1.0, 0.0), (0.0, 0.08)):

        def goal(wanted=width_m):
            return fingers and abs(sum(fingers[-1].position) - wanted) < 0.003

        robot.stream(publisher, Float64(data=value), goal, f"a width of {width_m} m")


def test_robot_has_the_names_topics_and_cameras_of_its_embodiment(graph, start):
    droid = Embodiment.load("droid")
    twist = droid.action["cartesian_velocity"]
    images = {name: graph.listen(Image, c.topic) for name, c in droid.cameras.items()}
    opening = graph.listen(Float32, droid.state["gripper_position"].topic)
    robot = start(droid)
    assert tuple(robot.joints[-1].name) == droid.arm_joints
    graph.wait(lambda: all(images.values()) and opening, "three cameras and the gripper")
    views = [bytes(heard[-1].data) for heard in images.values()]
    assert len(set(views)) == 3 and opening[-1].data == pytest.approx(0.0, abs=0.02)
    begin = kinematics.tcp_pose(robot.position())[:3, 3]
    publisher = graph.node.create_publisher(TwistStamped, twist.command_topic, 10)
    graph.connected(publisher)
    message = TwistStamped()
    message.twist.linear.z = 0.1  # of the highest speed: 0.11 m/s
    risen = lambda: kinematics.tcp_pose(robot.position())[2, 3] - begin[2] > 0.03  # noqa: E731
    robot.stream(publisher, message, risen, "the hand higher")


@pytest.fixture
def faulty(graph, start):
    robot = start(forms("std_msgs/msg/Float64MultiArray"))
    robot.images = {n: graph.listen(Image, c.topic) for n, c in FR3.cameras.items()}
    graph.wait(lambda: all(robot.images.values()), "pictures")
    return robot


def test_faults_of_streams_are_real_and_end(faulty, graph):
    front, wrist = faulty.images["front"], faulty.images["wrist"]
    streams = {"front": front, "wrist": wrist, "joints": faulty.joints}

    def after(name, listening):
        """What comes once a fault is set, of the streams that still come."""
        assert faulty.fault(name).successful
        for heard in streams.values():
            heard.clear()
        graph.wait(lambda: all(len(streams[key]) > 5 for key in listening), f"{name}: {listening}")

    for name, silent in (("camera_stops", "front"), ("joint_states_stop", "joints")):
        after(name, set(streams) - {silent})
        assert len(streams[silent]) <= 1  # one may have been on its way
    after("camera_freezes", streams)
    stamps = [header_ns(message) for message in front[-4:]]
    assert len({bytes(message.data) for message in front[-4:]}) == 1
    assert all(a < b for a, b in itertools.pairwise(stamps))
    for name, shift_ns in (("stamps_ahead", HOUR_NS), ("stamps_behind", -HOUR_NS)):
        after(name, streams)
        for heard in streams.values():
            off_ns = header_ns(heard[-1]) - now_ns(graph.node) - shift_ns
            assert abs(off_ns) < 30_000_000_000, name
    here = faulty.position()
    after("wrong_joint_order", streams)
    assert tuple(faulty.joints[-1].name) != FR3.arm_joints
    np.testing.assert_allclose(faulty.position(), here, atol=1e-3)
    after("wrong_joint_names", streams)
    assert not set(faulty.joints[-1].name) & set(FR3.arm_joints)
    after("", streams)
    assert tuple(faulty.joints[-1].name) == FR3.arm_joints
    refused = faulty.fault("camera_stop")
    assert not refused.successful and "camera_stops" in refused.reason


def test_faults_of_the_arm_are_real_and_end(faulty, graph):
    publisher = graph.node.create_publisher(Float64MultiArray, TOPIC, 10)
    graph.connected(publisher)
    start = faulty.position()
    message = Float64MultiArray(data=list(start + 0.2))
    pushing = lambda: np.abs(faulty.joints[-1].effort).max() > 50  # noqa: E731
    assert faulty.fault("obstacle").successful
    faulty.stream(publisher, message, pushing, "the arm to push")
    assert np.abs(faulty.position() - start).max() < 0.01
    assert faulty.fault("controller_stops").successful
    graph.wait(lambda: publisher.get_subscription_count() == 0, "the controller to leave")
    rests(faulty)
    assert faulty.fault("").successful
    graph.connected(publisher)
    moved = lambda: np.abs(faulty.position() - start - 0.2).max() < 0.01  # noqa: E731
    faulty.stream(publisher, message, moved, "the arm to go on")
