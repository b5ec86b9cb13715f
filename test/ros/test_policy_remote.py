# SPDX-License-Identifier: Apache-2.0
"""A policy on another machine: the same topics over a network that may break.

Two network namespaces stand for the machines, a cable between them for the network.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("rclpy")
pytest.importorskip("uwm_ros.msg")

HERE, THERE = f"uwm_robot_{os.getpid()}", f"uwm_policy_{os.getpid()}"
PATIENCE_S = 40.0

# The robot's side: cameras and states out, chunks in; one line for every chunk and every tenth of
# a second, so that silence can be told from a process that has ended.
ROBOT = """
import json, sys, time
from uwm_core.embodiment import Embodiment
from uwm_ros.bridge.clock import to_ns
from uwm_ros.msg import ActionChunk
from conftest import Graph, StillRobot
graph = Graph()
StillRobot(graph, Embodiment.load(sys.argv[1]))
chunks = graph.listen(ActionChunk, "policy/action_chunk")
while True:
    newest = to_ns(chunks[-1].header.stamp) if chunks else 0
    print(json.dumps({"now_ns": time.time_ns(), "chunks": len(chunks), "newest_ns": newest}))
    sys.stdout.flush()
    time.sleep(0.1)
"""


def ip(*words):
    result = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    if result.returncode:
        pytest.skip(f"needs network namespaces: ip {' '.join(words)}: {result.stderr.strip()}")


def plug_in(name):
    """Raise a machine's end of the cable; a route for discovery does not outlive its fall."""
    ip("-n", name, "link", "set", "cable", "up")
    ip("-n", name, "route", "add", "default", "dev", "cable")


@pytest.fixture
def machines():
    """Two namespaces with a cable between them."""
    if os.geteuid() or shutil.which("ip") is None:
        pytest.skip("needs root and the command ip, to make network namespaces")
    try:
        for name in (HERE, THERE):
            ip("netns", "add", name)
        ip("-n", HERE, "link", "add", "cable", "type", "veth", "peer", "cable", "netns", THERE)
        for number, name in enumerate((HERE, THERE), 1):
            ip("-n", name, "address", "add", f"10.77.0.{number}/24", "dev", "cable")
            ip("-n", name, "link", "set", "lo", "up")
            plug_in(name)
        yield
    finally:
        for name in (HERE, THERE):
            subprocess.run(["ip", "netns", "delete", name], capture_output=True, check=False)


@pytest.fixture
def processes():
    """Starts Python in a namespace; ends what was started."""
    started = []

    def start(name, log, *arguments):
        environment = {**os.environ, "ROS_AUTOMATIC_DISCOVERY_RANGE": "SUBNET"}
        environment["PYTHONPATH"] = os.pathsep.join([*sys.path, str(Path(__file__).parent)])
        command = ["ip", "netns", "exec", name, sys.executable, *arguments]
        with log.open("w") as out:
            process = subprocess.Popen(
                command, env=environment, stdout=out, stderr=subprocess.STDOUT
            )
        started.append(process)

    yield start
    for process in started:
        process.kill()
        process.wait()


def test_chunks_stop_with_the_network_and_come_again_with_it(machines, processes, tiny, tmp_path):
    robot, policy = tmp_path / "robot.log", tmp_path / "policy.log"
    processes(HERE, robot, "-c", ROBOT, tiny.spec)
    processes(
        *(THERE, policy, "-m", "uwm_ros.nodes.policy", "--ros-args", "-p", "autostart:=true"),
        *("-p", f"checkpoint:={tiny.checkpoint}", "-p", f"embodiment:={tiny.spec}"),
        *("-p", "replan_s:=0.1", "-p", "sample_steps:=2"),
    )

    def seen():
        lines = [line for line in robot.read_text().splitlines() if line.startswith("{")]
        return json.loads(lines[-1]) if lines else {"chunks": 0}

    def wait(condition, what):
        end_s = time.monotonic() + PATIENCE_S
        while not condition():
            if time.monotonic() > end_s:
                pytest.fail(f"{what}: {policy.read_text()[-800:]} {robot.read_text()[-800:]}")
            time.sleep(0.05)

    wait(lambda: seen()["chunks"] > 3, "chunks over the network")
    ip("-n", THERE, "link", "set", "cable", "down")
    wait(lambda: "is silent for" in policy.read_text(), "the policy to say that it is deaf")
    still = seen()
    wait(lambda: seen()["now_ns"] > still["now_ns"] + 0.5e9, "the robot to go on")
    assert seen()["chunks"] == still["chunks"]
    cut_ns = seen()["now_ns"]
    plug_in(THERE)
    wait(lambda: seen()["newest_ns"] > cut_ns, "chunks that answer what is seen now")
    wait(lambda: "planning recovered" in policy.read_text(), "the policy to say that it is well")
