# SPDX-License-Identifier: Apache-2.0
"""Laws of the manager: real lifecycle nodes, most in processes of their own, on a real graph."""

import json
import os
import signal
import subprocess
import sys
from contextlib import contextmanager

import pytest

pytest.importorskip("rclpy")
pytest.importorskip("uwm_ros.msg")

from lifecycle_msgs.srv import GetState
from rclpy.lifecycle import LifecycleNode, TransitionCallbackReturn
from rclpy.qos import DurabilityPolicy, QoSProfile
from std_msgs.msg import String
from std_srvs.srv import Trigger
from trajectory_msgs.msg import JointTrajectory

from uwm_ros.bringup import node_command
from uwm_ros.description import Process, environment
from uwm_ros.nodes.executor import ExecutorNode

WORKER = """
import sys
from rclpy.lifecycle import LifecycleNode, TransitionCallbackReturn
from uwm_ros.bridge.runtime import run_node
class Worker(LifecycleNode):
    def __init__(self): super().__init__("worker")
    def on_configure(self, state): return TransitionCallbackReturn.SUCCESS
sys.exit(run_node(Worker))
"""


class Worker(LifecycleNode):
    """Does as it is told, and keeps what it was told."""

    def __init__(self, name, **options):
        super().__init__(name, **options)
        self.told = []
        self.answer = TransitionCallbackReturn.SUCCESS

    def on_configure(self, _):
        return self._note("configure")

    def on_activate(self, _):
        return self._note("activate")

    def on_deactivate(self, _):
        return self._note("deactivate")

    def on_cleanup(self, _):
        return self._note("cleanup")

    def _note(self, word):
        self.told.append(word)
        return self.answer


class Desk:
    """Sits at a graph with a robot and an executor, and reads what managers say."""

    def __init__(self, graph, folder, tiny):
        self.graph, self.folder, self.tiny = graph, folder, tiny
        self.heard = []
        latched = QoSProfile(depth=10, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        graph.node.create_subscription(
            String, "manager/status", lambda m: self.heard.append(json.loads(m.data)), latched
        )

    def controller(self):
        topic = self.tiny.embodiment.action["joint_target"].command_topic
        self.graph.node.create_subscription(JointTrajectory, topic, lambda _: None, 1)

    def executor(self):
        self.graph.add(ExecutorNode, parameters={"embodiment": self.tiny.spec})

    @contextmanager
    def manager(self, *nodes):
        parameters = {"embodiment": self.tiny.spec, "nodes": list(nodes)}
        process = Process(node="manager", parameters=parameters)
        line = node_command(process, self.folder / "manager.yaml")
        log = (self.folder / "manager.log").open("w")
        with subprocess.Popen(line, env=os.environ | environment(), stderr=log) as popen:
            try:
                yield popen
            finally:
                popen.kill()

    def until(self, what):
        self.graph.wait(lambda: self.heard and what(self.heard[-1]), f"it; heard {self.heard[-1:]}")
        return self.heard[-1]


@pytest.fixture
def desk(graph, still_robot, tiny, tmp_path):
    still_robot(graph, tiny.embodiment)
    return Desk(graph, tmp_path, tiny)


def test_up_waits_for_the_preflight_item_by_item_and_sigint_takes_all_down_in_order(graph, desk):
    first, second = graph.add(Worker, "first"), graph.add(Worker, "second")
    with desk.manager("first", "second") as manager:
        said = desk.until(lambda s: s["state"] == "preflight" and "executor" in s["reason"])
        assert said["nodes"] == {"first": "inactive", "second": "inactive"}
        desk.executor()
        desk.until(lambda s: "nobody listens" in s["reason"] and "executor" not in s["reason"])
        assert first.told == second.told == ["configure"]
        desk.controller()
        said = desk.until(lambda s: s["state"] == "up")
        assert [line for line in said["preflight"] if line["level"] == "fail"] == []
        assert first.told == second.told == ["configure", "activate"]
        manager.send_signal(signal.SIGINT)
        assert manager.wait(30) == 0
    assert first.told == second.told == ["configure", "activate", "deactivate", "cleanup"]
    assert desk.heard[-1]["state"] == "down"


def test_a_stranger_on_the_command_topic_keeps_the_policy_down(graph, stranger, desk):
    graph.add(Worker, "first")
    desk.executor()
    desk.controller()
    topic = desk.tiny.embodiment.action["joint_target"].command_topic
    stranger.node.create_publisher(JointTrajectory, topic, 1)
    with desk.manager("first"):
        said = desk.until(lambda s: s["state"] == "preflight" and "tester" in s["reason"])
        assert said["nodes"]["first"] == "inactive"


def test_down_and_up_again_by_service(graph, desk):
    first = graph.add(Worker, "first")
    desk.executor()
    desk.controller()
    with desk.manager("first"):
        desk.until(lambda s: s["state"] == "up")
        assert graph.call(Trigger, "manager/down").success
        desk.until(lambda s: s["state"] == "down")
        assert graph.call(Trigger, "manager/up").success
        desk.until(lambda s: s["state"] == "up")
    assert first.told == ["configure", "activate", "deactivate", "cleanup", "configure", "activate"]


def test_a_refusal_at_the_start_ends_the_manager_with_the_reason(graph, desk):
    graph.add(Worker, "first").answer = TransitionCallbackReturn.FAILURE
    with desk.manager("first") as manager:
        assert manager.wait(60) == 2
    assert "first refused: could not configure" in (desk.folder / "manager.log").read_text()


def test_a_node_that_was_killed_is_told_and_brought_up_again_when_it_is_back(graph, desk):
    desk.executor()
    desk.controller()

    def worker():
        return subprocess.Popen([sys.executable, "-c", WORKER], env=os.environ | environment())

    first = worker()
    with desk.manager("worker"):
        desk.until(lambda s: s["state"] == "up")
        first.kill()
        first.wait()
        said = desk.until(lambda s: s["state"] == "waiting")
        assert "worker does not answer" in said["reason"] or "left the graph" in said["reason"]
        second = worker()
        try:
            desk.until(lambda s: s["state"] == "up")
            state = graph.call(GetState, "worker/get_state").current_state.label
            assert state == "active"
        finally:
            second.kill()
            second.wait()
