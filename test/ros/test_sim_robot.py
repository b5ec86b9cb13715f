# SPDX-License-Identifier: Apache-2.0
"""Laws of the simulated robot: a process of its own, commanded and listened to over DDS."""

import itertools
import os
import signal
import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("rclpy")
pytest.importorskip("uwm_ros.msg")

from builtin_interfaces.msg import Duration
from rcl_interfaces.msg import Log
from sensor_msgs.msg import CameraInfo, Image, JointState
from std_msgs.msg import Float32
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from uwm_core.data.messages import header_ns, image_rgb
from uwm_core.embodiment import Embodiment
from uwm_core.sim import fr3
from uwm_core.sim.scene import Scene
from uwm_ros.bridge.clock import now_ns, to_stamp
from uwm_ros.msg import SimTask
from uwm_ros.srv import ResetSim

EMBODIMENT = Embodiment.load("fr3_sim")
ARM = EMBODIMENT.action["joint_target"].command_topic
GRIPPER = EMBODIMENT.action["gripper_width"].command_topic
JOINTS = EMBODIMENT.state["joint_pos"].topic
FINGERS = EMBODIMENT.state["gripper_width"].topic
AGED_NS = 30_000_000_000


@pytest.fixture(scope="module")
def process():
    """One process for all tests: starting it is what takes time."""
    command = [sys.executable, "-m", "uwm_ros.nodes.sim_robot", "--ros-args"]
    for name, value in (("image_height", 64), ("image_width", 96)):
        command += ["-p", f"{name}:={value}"]
    process = subprocess.Popen(command, stderr=subprocess.STDOUT, env=dict(os.environ))
    yield process
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 0


class Robot:
    """This side of the process' topics."""

    def __init__(self, graph):
        self.graph = graph
        self.joints = graph.listen(JointState, JOINTS)
        self.fingers = graph.listen(JointState, FINGERS)
        self.task = graph.listen(SimTask, "sim/task")
        self.log = graph.listen(Log, "/rosout")
        self.arm = graph.node.create_publisher(JointTrajectory, ARM, 10)
        self.gripper = graph.node.create_publisher(Float32, GRIPPER, 10)
        graph.wait(lambda: self.joints and self.task, "the simulated robot", timeout_s=60)
        graph.connected(self.arm)
        graph.connected(self.gripper)

    def reset(self, seed):
        response = self.graph.call(ResetSim, "sim/reset", ResetSim.Request(seed=seed))
        assert response.success, response.message
        self.task.clear()
        self.graph.wait(lambda: self.task and self.task[-1].seed == seed, "the reset")
        self.joints.clear()
        self.graph.wait(lambda: self.joints, "joint states")

    def position(self):
        message = self.joints[-1]
        return np.array([message.position[message.name.index(j)] for j in fr3.ARM_JOINTS])

    def send(self, target, after_s=0.3, joints=fr3.ARM_JOINTS, stamp=None):
        message = JointTrajectory(joint_names=list(joints))
        if stamp is not None:
            message.header.stamp = stamp
        time = Duration(nanosec=round(after_s * 1e9))
        message.points = [JointTrajectoryPoint(positions=list(target), time_from_start=time)]
        self.arm.publish(message)

    def arrives(self, target):
        self.graph.wait(lambda: np.abs(self.position() - target).max() < 0.01, "the target")

    def says(self, text):
        self.graph.wait(lambda: any(text in entry.msg for entry in self.log), repr(text))


@pytest.fixture
def robot(graph, process):
    return Robot(graph)


def stamp_of(graph, ago_s):
    return to_stamp(now_ns(graph.node) - round(ago_s * 1e9))


def test_robot_obeys_trajectories_by_joint_name_and_refuses_bad_ones(robot, graph):
    robot.reset(3)
    home = robot.position()
    assert np.abs(home - EMBODIMENT.home_rad).max() < 0.05

    target = home + np.linspace(0.1, 0.3, 7)
    robot.send(target)
    robot.arrives(target)

    # Permuted names, same motion.
    order = [3, 0, 6, 1, 5, 2, 4]
    robot.reset(3)
    robot.send(target[order], joints=[fr3.ARM_JOINTS[i] for i in order])
    robot.arrives(target)

    # Wrong name: said, and the arm stays.
    robot.reset(3)
    robot.send(target, joints=[*fr3.ARM_JOINTS[:-1], "fr3_joint8"])
    robot.says("unknown joint 'fr3_joint8'")
    assert np.abs(robot.position() - home).max() < 0.01

    # Wholly past: said, and the arm stays.
    robot.send(target, stamp=stamp_of(graph, 5.0))
    robot.says("the whole trajectory is past")
    assert np.abs(robot.position() - home).max() < 0.01

    # A reset drops the plan.
    robot.send(target, after_s=0.9)
    robot.reset(4)
    elapsed = len(robot.joints)
    graph.wait(lambda: len(robot.joints) > elapsed + 250, "the old plan's end")
    assert np.abs(robot.position() - EMBODIMENT.home_rad).max() < 0.05


def test_gripper_goes_to_the_share_of_its_width_and_ignores_nan(robot, graph):
    def width():
        message = robot.fingers[-1]
        assert set(message.name) == set(fr3.FINGER_JOINTS)
        return sum(message.position)

    graph.wait(lambda: robot.fingers, "gripper states")
    robot.gripper.publish(Float32(data=0.25))
    graph.wait(lambda: abs(width() - 0.02) < 0.002, "a quarter of the width")
    robot.gripper.publish(Float32(data=float("nan")))
    robot.says("not finite")
    assert abs(width() - 0.02) < 0.002


def test_streams_carry_the_moments_and_the_scene_of_the_seed(robot, graph):
    infos = graph.listen(CameraInfo, "front/color/camera_info")
    images = {
        name: graph.listen(Image, camera.topic) for name, camera in EMBODIMENT.cameras.items()
    }
    robot.reset(9)
    for heard in images.values():
        heard.clear()
    graph.wait(lambda: all(len(heard) > 3 for heard in images.values()) and infos, "images")
    present_ns = now_ns(graph.node)
    for stream in (robot.joints, robot.fingers, *images.values()):
        stamps = [header_ns(message) for message in stream]
        assert all(a < b for a, b in itertools.pairwise(stamps))
        assert abs(present_ns - stamps[-1]) < AGED_NS
    assert infos[-1].k[0] == pytest.approx(infos[-1].k[4]) and infos[-1].width == 96
    # Nothing has moved since the reset: the picture is the scene's own.
    scene = Scene((64, 96), EMBODIMENT.home_rad)
    scene.reset(9)
    for name, heard in images.items():
        difference = np.abs(image_rgb(heard[-1]).astype(int) - scene.render(name).astype(int))
        assert difference.mean() < 0.5, name
    cube = robot.task[-1].cube_pose.position
    np.testing.assert_allclose([cube.x, cube.y], scene.cube_pose[:2], atol=1e-3)
    scene.close()


@pytest.mark.parametrize(
    ("parameter", "message"),
    [("embodiment:=fr3_sin", "fr3_sin"), ("image_height:=3", "image_height")],
)
def test_wrong_parameter_ends_in_one_line_and_exit_code_2(parameter, message):
    command = [sys.executable, "-m", "uwm_ros.nodes.sim_robot", "--ros-args", "-p", parameter]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert message in done.stdout + done.stderr and "Traceback" not in done.stdout + done.stderr
