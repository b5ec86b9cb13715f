# SPDX-License-Identifier: Apache-2.0
"""Stands for the robot and the policy around one executor on a real graph."""

import numpy as np
import pytest

from uwm_core.embodiment import Embodiment
from uwm_core.records import ActionChunk

FR3 = Embodiment.load("fr3_sim")
HOME = np.array(FR3.home_rad)
JOINTS = list(FR3.arm_joints)
ARM = FR3.action["joint_target"].command_topic
GRIPPER = FR3.action["gripper_width"].command_topic


class Bench:
    """Stands for robot and policy: measures, asks, and keeps what was commanded."""

    def __init__(self, graph):
        from diagnostic_msgs.msg import DiagnosticArray
        from sensor_msgs.msg import JointState
        from std_msgs.msg import Float32
        from trajectory_msgs.msg import JointTrajectory

        from uwm_ros.logic.limits import Limits
        from uwm_ros.msg import ActionChunk as ActionChunkMessage
        from uwm_ros.msg import ExecutorStatus, SafetyStatus

        self.embodiment, self.home, self.arm_topic = FR3, HOME, ARM
        self.limits = Limits.of(FR3)
        self.graph, self.node = graph, graph.node
        self.safety = graph.listen(SafetyStatus, "executor/safety")
        self.trajectories = graph.listen(JointTrajectory, ARM)
        self.gripper = graph.listen(Float32, GRIPPER)
        self.status = graph.listen(ExecutorStatus, "executor/status")
        self.diagnostics = graph.listen(DiagnosticArray, "/diagnostics")
        self.state = self.node.create_publisher(JointState, FR3.state["joint_pos"].topic, 10)
        self.chunks = self.node.create_publisher(ActionChunkMessage, "policy/action_chunk", 10)
        self.sequence = 0
        self.measured = HOME
        self.measuring = self.following = True
        self.timer = self.node.create_timer(0.01, self.measure)

    def connected(self):
        for publisher in (self.state, self.chunks):
            self.graph.connected(publisher)
        self.graph.wait(
            lambda: self.node.count_publishers(self.arm_topic) == 1 and self.status, "the executor"
        )
        self.graph.wait(
            lambda: self.status and self.status[-1].observation_age_s >= 0, "a measured arm"
        )

    def now_ns(self):
        return self.node.get_clock().now().nanoseconds

    def measure(self):
        if self.following and self.trajectories:
            self.measured, _ = self.curve(self.trajectories[-1]).sample(self.now_ns())
        if self.measuring:
            from sensor_msgs.msg import JointState

            message = JointState(name=JOINTS[::-1], position=self.measured[::-1].tolist())
            message.header.stamp = self.node.get_clock().now().to_msg()
            self.state.publish(message)

    def chunk(self, arm=None, gripper=0.04, age_s=0.0, order=None, **fields):
        from uwm_ros.bridge.chunks import to_message

        arm = np.tile(HOME, (12, 1)) if arm is None else arm
        actions = np.column_stack([arm, np.broadcast_to(gripper, len(arm))]).astype(np.float32)
        names = FR3.action_names
        if order is not None:
            actions, names = actions[:, order], tuple(names[i] for i in order)
        message = to_message(
            ActionChunk(self.now_ns() - round(age_s * 1e9), FR3.period_ns, actions, names)
        )
        self.sequence += 1
        message.sequence, message.embodiment = self.sequence, "fr3_sim"
        for name, value in fields.items():
            setattr(message, name, value)
        self.chunks.publish(message)

    def call(self, name):
        from std_srvs.srv import Trigger

        return self.graph.call(Trigger, f"executor/{name}")

    def run(self):
        answer = self.call("run")
        assert answer.success, answer.message

    def reaches(self, state):
        self.graph.wait(lambda: self.status and self.status[-1].state == state, f"state {state}")
        return self.status[-1]

    def running(self):
        """Run with a calm chunk."""
        self.run()
        self.chunk(self.ramp(0.1))
        self.reaches("running")
        self.graph.wait(lambda: self.trajectories, "a trajectory")

    def rests(self):
        """Wait until the plan has ended and the controller is told nothing any more."""

        def quiet():
            count, reports = len(self.trajectories), len(self.status)
            self.graph.wait(lambda: len(self.status) > reports + 3, "status")
            return len(self.trajectories) == count

        self.graph.wait(quiet, "the rest")

    def all_commands_keep_the_limits(self):
        for message in self.trajectories:
            assert list(message.joint_names) == JOINTS
            assert self.curve(message).violations(self.limits) == []
            assert not any(message.points[-1].velocities)

    def add(self, **parameters):
        """The executor, in this process."""
        from rclpy.parameter import Parameter

        from uwm_ros.nodes.executor import ExecutorNode

        given = [Parameter(name, value=value) for name, value in parameters.items()]
        self.executor = self.graph.add(ExecutorNode, parameter_overrides=given)
        self.connected()

    @staticmethod
    def ramp(rate_rad_s, length=12):
        """(A, J) rad: all joints from home at one speed."""
        return HOME + np.outer(np.arange(length) * FR3.period_ns / 1e9, np.full(7, rate_rad_s))

    @staticmethod
    def curve(message):
        """What a controller plays of a message."""
        from uwm_ros.bridge.clock import to_ns
        from uwm_ros.logic.trajectory import Trajectory

        start_ns = to_ns(message.header.stamp)
        times_ns = np.array([start_ns + to_ns(p.time_from_start) for p in message.points])
        positions = np.array([p.positions for p in message.points])
        return Trajectory(times_ns, positions, np.array([p.velocities for p in message.points]))


@pytest.fixture
def idle_bench(graph):
    """Without an executor yet: `add` brings one with parameters of its own."""
    return Bench(graph)


@pytest.fixture
def bench(idle_bench):
    """With an executor as it is by default."""
    idle_bench.add()
    return idle_bench
