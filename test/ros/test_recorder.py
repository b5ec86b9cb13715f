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
from sensor_msgs.msg import Image, JointState
from std_msgs.msg import Float32, String
from std_srvs.srv import Trigger

from uwm_core.data.bag import BagReader
from uwm_core.embodiment import Embodiment
from uwm_ros.msg import EpisodeStatus
from uwm_ros.nodes.recorder import RecorderNode
from uwm_ros.srv import StartEpisode, StopEpisode

KINDS = {
    "sensor_msgs/msg/Image": Image,
    "sensor_msgs/msg/JointState": JointState,
    "std_msgs/msg/Float32": Float32,
}
TOPICS = Embodiment.load("fr3_sim").topics
JOINTS = [*Embodiment.load("fr3_sim").arm_joints, "fr3_finger_joint1", "fr3_finger_joint2"]


class Robot:
    """Publishes every topic of the embodiment and remembers the bytes that went over the wire.

    They are taken by a raw subscription: serialized twice, one message may differ in its unused
    last bytes.
    """

    def __init__(self, graph, skip=()):
        self.graph = graph
        self.sent = {}
        self.publishers = {
            topic: graph.node.create_publisher(KINDS[kind], topic, 100)
            for topic, kind in TOPICS.items()
            if topic not in skip
        }
        for topic in self.publishers:
            keep = self.sent.setdefault(topic, []).append
            graph.node.create_subscription(KINDS[TOPICS[topic]], topic, keep, 100, raw=True)
        self.number = 0

    def publish(self):
        self.number += 1
        for topic, publisher in self.publishers.items():
            kind = KINDS[TOPICS[topic]]
            message = kind()
            if kind is Float32:
                message.data = self.number / 1000
            else:
                message.header.stamp = self.graph.node.get_clock().now().to_msg()
            if kind is Image:
                message.height, message.width, message.step = 8, 8, 24
                message.encoding = "rgb8"
                message.data.frombytes(bytes([self.number % 256]) * 192)
            if kind is JointState:
                message.name, message.position = JOINTS, [float(self.number)] * len(JOINTS)
            publisher.publish(message)

    def connected(self):
        for publisher in self.publishers.values():
            self.graph.connected(publisher, 2 if publisher.topic_name[1:] in self.sent else 1)


@pytest.fixture
def recorder(graph, tmp_path):
    return graph.add(RecorderNode, parameters={"directory": str(tmp_path), "min_free_gib": 0.0})


@pytest.fixture
def status(graph):
    return graph.listen(EpisodeStatus, "recorder/status")


def start(graph, task="lift the cube", role="expert"):
    return graph.call(StartEpisode, "recorder/start", StartEpisode.Request(task=task, role=role))


def stop(graph, outcome="success"):
    return graph.call(StopEpisode, "recorder/stop", StopEpisode.Request(outcome=outcome))


def heard(graph, status, times):
    """Wait until the recorder wrote this many messages of every topic."""
    graph.wait(
        lambda: status and status[-1].counts and min(status[-1].counts) >= times,
        f"{times} messages of every topic",
    )


def test_bag_holds_the_published_bytes_and_what_the_episode_was(graph, recorder, status, tmp_path):
    robot = Robot(graph)
    robot.connected()
    robot.publish()
    graph.wait(lambda: status and min(status[-1].rates_hz) > 0, "every stream")
    assert start(graph).success
    for _ in range(5):
        robot.publish()
    heard(graph, status, 5)
    answer = stop(graph, "failure")
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


def test_message_before_the_start_serves_the_first_tick(graph, status, tmp_path):
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
    robot = Robot(graph)
    robot.connected()
    robot.publish()
    graph.wait(lambda: status and min(status[-1].rates_hz) > 0, "every stream")
    assert start(graph).success
    heard(graph, status, 1)
    answer = stop(graph)
    with BagReader(answer.path) as bag:
        assert {f"/{topic}" for topic in TOPICS} | {"/recorder/mark"} == set(bag.topics)
        assert all(info.messages for info in bag.topics.values())


def test_missing_topic_is_named_and_nothing_is_written(graph, recorder, tmp_path):
    robot = Robot(graph, skip=("wrist/color/image_raw",))
    robot.connected()
    graph.wait(lambda: graph.node.count_subscribers("/wrist/color/image_raw") > 0, "recorder")
    robot.publish()
    answer = start(graph)
    assert not answer.success
    assert "/wrist/color/image_raw" in answer.message
    assert "no publisher" in answer.message
    assert "\n" not in answer.message
    assert list(tmp_path.iterdir()) == []


def test_silent_topic_is_named(graph, recorder):
    robot = Robot(graph)
    robot.connected()
    answer = start(graph)
    assert not answer.success
    assert "silent" in answer.message


def test_topic_of_another_type_is_named_with_its_type(graph, stranger, recorder):
    Robot(graph, skip=("front/color/image_raw",))
    stranger.node.create_publisher(String, "front/color/image_raw", 1)
    graph.wait(lambda: graph.node.count_publishers("/front/color/image_raw") == 1, "publisher")
    answer = start(graph)
    assert "std_msgs/msg/String" in answer.message


def test_discard_moves_to_trash_and_deletes_nothing(graph, recorder, status, tmp_path):
    robot = Robot(graph)
    robot.connected()
    robot.publish()
    graph.wait(lambda: status and min(status[-1].rates_hz) > 0, "every stream")
    for _ in range(2):
        assert start(graph).success
        robot.publish()
        heard(graph, status, 1)
        answer = graph.call(Trigger, "recorder/discard")
        assert answer.success, answer.message
        status.clear()
    assert [path.name for path in tmp_path.iterdir()] == ["trash"]
    bags = list((tmp_path / "trash").iterdir())
    assert len(bags) == 2
    for bag in bags:
        with BagReader(bag) as reader:
            assert reader.metadata["uwm.outcome"] == "discard"


def test_wrong_role_outcome_and_order_are_refused_in_one_line(graph, recorder, status):
    assert "no episode" in stop(graph).message
    assert "role" in start(graph, role="pilot").message
    robot = Robot(graph)
    robot.connected()
    robot.publish()
    graph.wait(lambda: status and min(status[-1].rates_hz) > 0, "every stream")
    robot.publish()
    assert start(graph).success
    assert "outcome" in stop(graph, "fine").message
    assert "running" in start(graph).message
    assert stop(graph).success


def test_best_effort_publisher_is_recorded(graph, recorder, status):
    robot = Robot(graph, skip=("franka/joint_states",))
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


def test_killed_recorder_leaves_earlier_episodes_readable(graph, status, tmp_path):
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "uwm_ros.nodes.recorder", "--ros-args"),
            *("-p", f"directory:={tmp_path}", "-p", "min_free_gib:=0.0"),
        ],
        env=dict(os.environ),
    )
    try:
        robot = Robot(graph)
        robot.connected()
        robot.publish()
        graph.wait(lambda: status and min(status[-1].rates_hz) > 0, "every stream")
        assert start(graph).success
        robot.publish()
        heard(graph, status, 1)
        whole = Path(stop(graph).path)
        robot.publish()
        assert start(graph).success
        for _ in range(20):
            robot.publish()
        heard(graph, status, 10)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    with BagReader(whole) as bag:
        assert all(info.messages for info in bag.topics.values())
    others = [path for path in tmp_path.iterdir() if path != whole]
    assert [path.suffix for path in others] == [".part"]
