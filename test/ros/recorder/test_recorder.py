# SPDX-License-Identifier: Apache-2.0
"""Laws of the recorder, on a real graph with real bags."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("rclpy")
pytest.importorskip("uwm_ros.msg")

from rclpy.qos import QoSProfile, ReliabilityPolicy
from rosbags.rosbag2 import Reader
from sensor_msgs.msg import JointState
from std_msgs.msg import String
from std_srvs.srv import Trigger

from uwm_core.data.bag import BagReader
from uwm_core.embodiment import Embodiment
from uwm_ros.nodes.recorder import RecorderNode

TOPICS = Embodiment.load("fr3_sim").topics


@pytest.fixture
def recorder(graph, tmp_path):
    return graph.add(RecorderNode, parameters={"directory": str(tmp_path), "min_free_gib": 0.0})


def test_bag_holds_the_published_bytes_and_what_the_episode_was(
    graph, recorder, status, tmp_path, desk, sending_robot
):
    robot = sending_robot(graph)
    robot.connected()
    robot.publish()
    graph.wait(lambda: status and min(status[-1].rates_hz) > 0, "every stream")
    assert desk.start().success
    for _ in range(5):
        robot.publish()
    desk.heard(status, 5)
    answer = desk.stop("failure")
    assert answer.success, answer.message
    written = {}
    with BagReader(answer.path) as bag:
        assert bag.metadata["uwm.task"] == "lift the cube"
        assert bag.metadata["uwm.role"] == "expert"
        assert bag.metadata["uwm.outcome"] == "failure"
        assert Embodiment.parse(bag.metadata["uwm.embodiment"]) == Embodiment.load("fr3_sim")
    with Reader(answer.path) as raw:
        for connection, _, data in raw.messages():
            written.setdefault(connection.topic, []).append(bytes(data))
    for topic, sent in robot.sent.items():
        # The first one came before the start and is the lead-in.
        graph.wait(lambda sent=sent: len(sent) == robot.number, topic)
        assert written[f"/{topic}"] == sent[-len(written[f"/{topic}"]) :]
        assert len(written[f"/{topic}"]) >= 5
    assert sorted(path.name for path in tmp_path.iterdir()) == [Path(answer.path).name]


def test_message_before_the_start_serves_the_first_tick(
    graph, status, tmp_path, desk, sending_robot
):
    patient = tmp_path / "patient.yaml"
    text = Embodiment.load("fr3_sim").to_yaml()
    patient.write_text(re.sub(r"max_age_s: .*", "max_age_s: 60.0", text))
    graph.add(
        RecorderNode,
        parameters={
            "directory": str(tmp_path / "bags"),
            "min_free_gib": 0.0,
            "embodiment": str(patient),
        },
    )
    robot = sending_robot(graph)
    robot.connected()
    robot.publish()
    graph.wait(lambda: status and min(status[-1].rates_hz) > 0, "every stream")
    assert desk.start().success
    desk.heard(status, 1)
    answer = desk.stop()
    with BagReader(answer.path) as bag:
        assert {f"/{topic}" for topic in TOPICS} | {"/recorder/mark"} == set(bag.topics)
        assert all(info.messages for info in bag.topics.values())


def test_missing_topic_is_named_and_nothing_is_written(
    graph, recorder, tmp_path, desk, sending_robot
):
    robot = sending_robot(graph, skip=("wrist/color/image_raw",))
    robot.connected()
    graph.wait(lambda: graph.node.count_subscribers("/wrist/color/image_raw") > 0, "recorder")
    robot.publish()
    answer = desk.start()
    assert not answer.success
    assert "/wrist/color/image_raw" in answer.message
    assert "no publisher" in answer.message
    assert "\n" not in answer.message
    assert list(tmp_path.iterdir()) == []


def test_silent_topic_is_named(graph, recorder, desk, sending_robot):
    robot = sending_robot(graph)
    robot.connected()
    answer = desk.start()
    assert not answer.success
    assert "silent" in answer.message


def test_topic_of_another_type_is_named_with_its_type(
    graph, stranger, recorder, desk, sending_robot
):
    sending_robot(graph, skip=("front/color/image_raw",))
    stranger.node.create_publisher(String, "front/color/image_raw", 1)
    graph.wait(lambda: graph.node.count_publishers("/front/color/image_raw") == 1, "publisher")
    answer = desk.start()
    assert "std_msgs/msg/String" in answer.message


def test_discard_moves_to_trash_and_deletes_nothing(
    graph, recorder, status, tmp_path, desk, sending_robot
):
    robot = sending_robot(graph)
    robot.connected()
    robot.publish()
    graph.wait(lambda: status and min(status[-1].rates_hz) > 0, "every stream")
    for _ in range(2):
        assert desk.start().success
        robot.publish()
        desk.heard(status, 1)
        answer = graph.call(Trigger, "recorder/discard")
        assert answer.success, answer.message
        status.clear()
    assert [path.name for path in tmp_path.iterdir()] == ["trash"]
    bags = list((tmp_path / "trash").iterdir())
    assert len(bags) == 2
    for bag in bags:
        with BagReader(bag) as reader:
            assert reader.metadata["uwm.outcome"] == "discard"


def test_wrong_role_outcome_and_order_are_refused_in_one_line(
    graph, recorder, status, desk, sending_robot
):
    assert "no episode" in desk.stop().message
    assert "role" in desk.start(role="pilot").message
    robot = sending_robot(graph)
    robot.connected()
    robot.publish()
    graph.wait(lambda: status and min(status[-1].rates_hz) > 0, "every stream")
    robot.publish()
    assert desk.start().success
    assert "outcome" in desk.stop("fine").message
    assert "running" in desk.start().message
    assert desk.stop().success


def test_best_effort_publisher_is_recorded(graph, recorder, status, sending_robot):
    robot = sending_robot(graph, skip=("franka/joint_states",))
    qos = QoSProfile(depth=10, reliability=ReliabilityPolicy.BEST_EFFORT)
    robot.publishers["franka/joint_states"] = graph.node.create_publisher(
        JointState, "franka/joint_states", qos
    )
    robot.connected()

    def alive():
        robot.publish()
        time.sleep(0.02)
        return status and min(status[-1].rates_hz) > 0

    graph.wait(alive, "every stream")


def test_killed_recorder_leaves_earlier_episodes_readable(
    graph, status, tmp_path, desk, sending_robot
):
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "uwm_ros.nodes.recorder", "--ros-args"),
            *("-p", f"directory:={tmp_path}", "-p", "min_free_gib:=0.0"),
        ],
        env=dict(os.environ),
    )
    try:
        robot = sending_robot(graph)
        robot.connected()
        robot.publish()
        graph.wait(lambda: status and min(status[-1].rates_hz) > 0, "every stream")
        assert desk.start().success
        robot.publish()
        desk.heard(status, 1)
        whole = Path(desk.stop().path)
        robot.publish()
        assert desk.start().success
        for _ in range(20):
            robot.publish()
        desk.heard(status, 10)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    with BagReader(whole) as bag:
        assert all(info.messages for info in bag.topics.values())
    others = [path for path in tmp_path.iterdir() if path != whole]
    assert [path.suffix for path in others] == [".part"]
