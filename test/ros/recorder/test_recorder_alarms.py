# SPDX-License-Identifier: Apache-2.0
"""Laws of what the recorder says while it records: status, alarms, quality of service, the disk."""

import json
import os
import subprocess
import sys

import pytest

pytest.importorskip("rclpy")
pytest.importorskip("uwm_ros.msg")

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CompressedImage, JointState

from uwm_core.data.bag import BagReader
from uwm_core.data.bag_labels import read_labels
from uwm_core.embodiment import Embodiment

TOPICS = Embodiment.load("fr3_sim").topics


def started(desk, robot, status):
    robot.alive(status)
    answer = desk.start()
    assert answer.success, answer.message
    status.clear()


def alarm(graph, status, text, act=lambda: None):
    """Wait for an alarm while something goes on; it."""

    def told():
        act()
        return status and any(text in entry for entry in status[-1].alarms)

    graph.wait(told, f"an alarm of {text!r}")
    return next(entry for entry in status[-1].alarms if text in entry)


def test_status_says_how_every_stream_is(graph, desk, make, status, sending_robot):
    make()
    robot = sending_robot(graph)
    started(desk, robot, status)
    for _ in range(5):
        robot.publish()
    desk.heard(status, 5)
    now = status[-1]
    assert set(now.topics) == {f"/{topic}" for topic in TOPICS}
    expected = dict(zip(now.topics, now.expected_hz, strict=True))
    assert expected["/franka/joint_states"] == 200
    assert expected["/front/color/image_raw"] == 30
    for values in (now.counts, now.rates_hz, now.ages_s, now.gaps_s, now.drops, now.lost, now.qos):
        assert len(values) == len(now.topics)
    assert min(now.ages_s) >= 0
    assert list(now.drops) == list(now.lost) == [0] * len(now.topics)
    assert list(now.qos) == [""] * len(now.topics)
    assert now.store == "off"
    assert now.disk_free_bytes > 0


def test_topic_that_stops_in_a_take_is_told_at_once(graph, desk, make, status, sending_robot):
    diagnostics = graph.listen(DiagnosticArray, "/diagnostics")
    make()
    robot = sending_robot(graph)
    started(desk, robot, status)
    quiet = ("wrist/color/image_raw",)
    text = alarm(graph, status, "is silent", lambda: robot.publish(skip=quiet))
    assert text.startswith("/wrist/color/image_raw")

    def told():
        return any("/wrist/color/image_raw is silent" in d.status[0].message for d in diagnostics)

    graph.wait(told, "diagnostics")


def test_header_clock_that_jumps_in_a_take_is_told(graph, desk, make, status, sending_robot):
    make()
    robot = sending_robot(graph)
    started(desk, robot, status)
    robot.offset_s = -1000.0
    alarm(graph, status, "jump back", robot.publish)
    alarm(graph, status, "another epoch", robot.publish)


def test_image_that_changes_its_size_in_a_take_is_told(graph, desk, make, status, sending_robot):
    make()
    robot = sending_robot(graph)
    started(desk, robot, status)
    robot.size = 16
    alarm(graph, status, "changes of its image size", robot.publish)


def test_take_ends_in_order_before_the_disk_is_full(
    graph, desk, make, status, sending_robot, tmp_path
):
    make(reserve_gib=1e6)
    robot = sending_robot(graph)
    started(desk, robot, status)
    graph.wait(lambda: status and status[-1].state == "idle", "the recorder to stop by itself")
    (bag,) = (path.parent for path in (tmp_path / "bags").glob("*/metadata.yaml"))
    labels = read_labels(bag)
    assert labels["uwm.outcome"] == "failure"
    assert "disk" in labels["uwm.remarks"]
    assert any("disk" in entry for entry in status[-1].alarms)


def test_best_effort_offer_is_told_in_the_status(graph, make, status, sending_robot):
    make()
    robot = sending_robot(graph, skip=("franka/joint_states",))
    qos = QoSProfile(depth=10, reliability=ReliabilityPolicy.BEST_EFFORT)
    publisher = graph.node.create_publisher(JointState, "franka/joint_states", qos)
    robot.publishers["franka/joint_states"] = publisher
    robot.alive(status)
    notes = dict(zip(status[-1].topics, status[-1].qos, strict=True))
    assert "best effort" in notes.pop("/franka/joint_states")
    assert set(notes.values()) == {""}


def test_best_effort_publisher_that_comes_in_a_take_loses_nothing(
    graph, desk, make, status, sending_robot
):
    make()
    robot = sending_robot(graph)
    started(desk, robot, status)
    for _ in range(50):
        robot.publish()
    qos = QoSProfile(depth=10, reliability=ReliabilityPolicy.BEST_EFFORT)
    late = graph.node.create_publisher(JointState, "franka/joint_states", qos)
    graph.connected(late, 1)
    for _ in range(50):
        robot.publish()
    path = desk.stop().path
    with BagReader(path) as bag:
        sent = [
            round(message.position[0])
            for _, message, _ in bag.messages(["/franka/joint_states"])
            if len(message.position)
        ]
    assert sent[-100:] == list(range(robot.number - 99, robot.number + 1))


def test_compressed_cameras_are_recorded_instead_and_named_in_the_bag(
    graph, desk, make, status, sending_robot
):
    make(image_transport="compressed")
    raw = ("front/color/image_raw", "wrist/color/image_raw")
    robot = sending_robot(graph, skip=raw)
    for topic in raw:
        kind, name = CompressedImage, f"{topic}/compressed"
        robot.kinds[name] = kind
        robot.publishers[name] = graph.node.create_publisher(kind, name, 10)
    graph.wait(lambda: graph.node.count_subscribers(f"/{raw[0]}/compressed") > 0, "recorder")
    started(desk, robot, status)
    desk.heard(status, 2, robot.publish)
    with BagReader(desk.stop().path) as bag:
        spec = Embodiment.parse(bag.metadata["uwm.embodiment"])
        assert bag.topics["/front/color/image_raw/compressed"].type.endswith("CompressedImage")
        assert "/front/color/image_raw" not in bag.topics
    assert spec.cameras["front"].topic == "front/color/image_raw/compressed"


def test_cut_off_episodes_are_named_with_the_command_that_saves_them(tmp_path):
    (tmp_path / "20260101_120000.part").mkdir()
    command = [sys.executable, "-m", "uwm_ros.nodes.recorder", "--ros-args"]
    command += ["-p", f"directory:={tmp_path}"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=dict(os.environ))
    try:
        line = next(text for text in process.stderr if "cut off" in text)
    finally:
        process.kill()
        process.wait()
        process.stderr.close()
    assert f"uwm bag recover {tmp_path}/20260101_120000.part" in line


def test_doctor_fails_by_name_without_a_robot_and_passes_with_one(graph, sending_robot, tmp_path):
    def doctor():
        command = [sys.executable, "-m", "uwm_core.cli.main", "doctor", "--json", "--seconds", "6"]
        command += ["--directory", str(tmp_path)]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        return done.returncode, [json.loads(line) for line in done.stdout.splitlines()]

    code, lines = doctor()
    assert code == 1
    failed = [line for line in lines if line["level"] == "fail"]
    assert len(failed) == len(Embodiment.load("fr3_sim").streams)
    assert all(line["advice"] for line in failed)
    robot = sending_robot(graph)
    graph.node.create_timer(1 / 30, robot.publish)
    code, lines = doctor()
    # Only the rate of this test's joint states is not as the embodiment says.
    assert [line["subject"] for line in lines if line["level"] == "fail"] == []
    assert code == 0
