# SPDX-License-Identifier: Apache-2.0
"""Real action servers with the manners of franka_gripper and of a joint trajectory controller."""

import importlib.util
import threading
import time
from pathlib import Path

import pytest

BUILDER = Path(__file__).parents[2] / "interfaces" / "builder.py"


@pytest.fixture(scope="session")
def interfaces():
    """franka_msgs and control_msgs, built once per machine; skips where that cannot be."""
    spec = importlib.util.spec_from_file_location("interfaces_builder", BUILDER)
    builder = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(builder)
    problem = builder.provide()
    if problem:
        pytest.skip(problem)
    return builder


class Hand:
    """Fingers that take their time, and a node that serves them as franka_gripper does.

    Accepts every goal at once and without a look at others; blocks while it moves; `stop` ends what
    is done as failed. `object_m` is what stands between the fingers.
    """

    def __init__(self, graph, namespace="franka_gripper", *, object_m=0.0, hangs=False):
        from franka_msgs.action import Grasp, Move
        from rclpy.action import ActionServer
        from rclpy.callback_groups import ReentrantCallbackGroup
        from rclpy.node import Node
        from sensor_msgs.msg import JointState
        from std_srvs.srv import Trigger

        self.width_m, self.object_m, self.hangs = 0.04, object_m, hangs
        self.goals, self.most_at_once, self.stops = [], 0, 0
        self._busy, self._stop = 0, threading.Event()
        self.node = Node("hand", context=graph.context)
        group = ReentrantCallbackGroup()
        self.servers = [
            ActionServer(
                self.node, kind, f"{namespace}/{name}", self._run(name, kind), callback_group=group
            )
            for kind, name in ((Move, "move"), (Grasp, "grasp"))
        ]
        self.node.create_service(Trigger, f"{namespace}/stop", self._end, callback_group=group)
        self.states = self.node.create_publisher(JointState, f"{namespace}/joint_states", 1)
        self.node.create_timer(1 / 30, self._tell, callback_group=group)
        self._spin(graph)

    def _tell(self):
        from sensor_msgs.msg import JointState

        names = ["fr3_finger_joint1", "fr3_finger_joint2"]
        self.states.publish(JointState(name=names, position=[self.width_m / 2] * 2))

    def _spin(self, graph):
        from rclpy.executors import MultiThreadedExecutor

        self.executor = MultiThreadedExecutor(4, context=graph.context)
        self.executor.add_node(self.node)
        self.thread = threading.Thread(target=self.executor.spin, daemon=True)
        self.thread.start()

    def close(self):
        self._stop.set()
        self.executor.shutdown(timeout_sec=5.0)
        self.thread.join(5.0)
        for server in self.servers:
            server.destroy()
        self.node.destroy_node()

    def _end(self, _, response):
        self.stops += 1
        self._stop.set()
        response.success = True
        return response

    def _run(self, name, kind):
        def run(handle):
            goal = handle.request
            self._stop.clear()
            self.goals.append((name, round(goal.width, 4)))
            self._busy += 1
            self.most_at_once = max(self.most_at_once, self._busy)
            done = self._travel(handle, kind, goal)
            self._busy -= 1
            handle.succeed() if done else handle.abort()
            return kind.Result(success=done, error="" if done else "command was aborted")

        return run

    def _travel(self, handle, kind, goal):
        for _ in range(400):
            if self._stop.is_set():
                return False
            if not self.hangs:
                step = max(-0.002, min(0.002, goal.width - self.width_m))
                self.width_m = max(self.width_m + step, self.object_m if step < 0 else 0.0)
                at_object = step < 0 and self.width_m <= self.object_m
                if at_object or abs(self.width_m - goal.width) < 1e-6:
                    handle.publish_feedback(kind.Feedback(current_width=self.width_m))
                    time.sleep(0.02)
                    return True
            handle.publish_feedback(kind.Feedback(current_width=self.width_m))
            time.sleep(0.02)
        return False


@pytest.fixture
def hand(graph, interfaces):
    """Builds hands: `hand(namespace, object_m=, hangs=)`."""
    hands = []

    def build(*args, **options):
        hands.append(Hand(graph, *args, **options))
        return hands[-1]

    yield build
    for made in hands:
        made.close()


@pytest.fixture
def serve(graph, interfaces):
    """Serves actions on the graph's node: `serve(kind, name, run, ...)`."""
    from rclpy.action import ActionServer

    servers = []
    yield lambda *args, **options: servers.append(ActionServer(graph.node, *args, **options))
    # A server that is taken from a node that spins would end the spinning.
    graph.executor.shutdown(timeout_sec=5.0)
    graph.thread.join(5.0)
    for server in servers:
        server.destroy()
