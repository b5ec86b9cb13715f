# SPDX-License-Identifier: Apache-2.0
"""A robot that a recorder can hear, and somebody who operates the recorder."""

import io
import time

import PIL.Image
import pytest


class SendingRobot:
    """Publishes every topic of the embodiment and remembers the bytes that went over the wire.

    They are taken by a raw subscription: serialized twice, one message may differ in its unused
    last bytes.
    """

    def __init__(self, graph, skip=()):
        from sensor_msgs.msg import Image, JointState
        from std_msgs.msg import Float32

        from uwm_core.embodiment import Embodiment

        known = {kind.__name__: kind for kind in (Image, JointState, Float32)}
        embodiment = Embodiment.load("fr3_sim")
        self.kinds = {t: known[name.split("/")[-1]] for t, name in embodiment.topics.items()}
        self.joints = [*embodiment.arm_joints, "fr3_finger_joint1", "fr3_finger_joint2"]
        self.offset_s = 0.0
        self.size = 8
        png = io.BytesIO()
        PIL.Image.new("RGB", (8, 8)).save(png, "PNG")
        self.png = png.getvalue()
        self.graph = graph
        self.sent = {}
        self.publishers = {
            topic: graph.node.create_publisher(kind, topic, 100)
            for topic, kind in self.kinds.items()
            if topic not in skip
        }
        for topic in self.publishers:
            keep = self.sent.setdefault(topic, []).append
            graph.node.create_subscription(self.kinds[topic], topic, keep, 100, raw=True)
        self.number = 0

    def publish(self, skip=()):
        from rclpy.duration import Duration

        self.number += 1
        stamp = self.graph.node.get_clock().now() + Duration(seconds=self.offset_s)
        for topic, publisher in self.publishers.items():
            if topic in skip:
                continue
            message = self.kinds[topic]()
            if hasattr(message, "header"):
                message.header.stamp = stamp.to_msg()
            if hasattr(message, "encoding"):
                message.height = message.width = self.size
                message.step, message.encoding = 3 * self.size, "rgb8"
                message.data.frombytes(bytes([self.number % 256]) * 3 * self.size**2)
            elif hasattr(message, "format"):
                message.format = "png"
                message.data.frombytes(self.png)
            elif hasattr(message, "position"):
                message.name = self.joints
                message.position = [float(self.number)] * len(self.joints)
            else:
                message.data = self.number / 1000
            publisher.publish(message)

    def alive(self, status):
        """Publish until the recorder hears every topic."""
        self.connected()
        status.clear()

        def heard():
            self.publish()
            time.sleep(0.02)
            return status and min(status[-1].rates_hz) > 0

        self.graph.wait(heard, "every stream")

    def connected(self):
        for publisher in self.publishers.values():
            self.graph.connected(publisher, 2 if publisher.topic_name[1:] in self.sent else 1)


@pytest.fixture
def sending_robot():
    """The class: `sending_robot(graph)`."""
    return SendingRobot


class Desk:
    """Calls the services of a recorder."""

    def __init__(self, graph):
        self.graph = graph

    def start(self, task="lift the cube", role="expert"):
        from uwm_ros.srv import StartEpisode

        request = StartEpisode.Request(task=task, role=role)
        return self.graph.call(StartEpisode, "recorder/start", request)

    def stop(self, outcome="success"):
        from uwm_ros.srv import StopEpisode

        request = StopEpisode.Request(outcome=outcome)
        return self.graph.call(StopEpisode, "recorder/stop", request)

    def heard(self, status, times, act=lambda: None):
        """Wait until the recorder wrote this many messages of every topic, acting meanwhile."""

        def enough():
            act()
            return status and status[-1].counts and min(status[-1].counts) >= times

        self.graph.wait(enough, f"{times} messages of every topic")


@pytest.fixture
def desk(graph):
    """Somebody who operates the recorder."""
    return Desk(graph)


@pytest.fixture
def status(graph):
    """What the recorder says, as it comes."""
    from uwm_ros.msg import EpisodeStatus

    return graph.listen(EpisodeStatus, "recorder/status")


@pytest.fixture
def make(graph, tmp_path):
    """Builds a recorder with parameters of one's own."""
    from uwm_ros.nodes.recorder import RecorderNode

    def build(**parameters):
        about = {"directory": str(tmp_path / "bags"), "min_free_gib": 0.0, "reserve_gib": 0.0}
        return graph.add(RecorderNode, parameters={**about, **parameters})

    return build
