# SPDX-License-Identifier: Apache-2.0
"""Laws of the imagination, with a real (tiny, untrained) checkpoint on a real graph."""

import numpy as np
import pytest

pytest.importorskip("rclpy")
pytest.importorskip("uwm_ros.msg")

from diagnostic_msgs.msg import DiagnosticArray
from sensor_msgs.msg import Image

from uwm_core.policy import Policy
from uwm_core.records import ActionChunk
from uwm_ros.bridge.chunks import to_message
from uwm_ros.bridge.clock import to_ns, to_stamp
from uwm_ros.bridge.images import to_array
from uwm_ros.msg import ActionChunk as ActionChunkMessage
from uwm_ros.msg import SafetyStatus
from uwm_ros.nodes.imagination import ImaginationNode


@pytest.fixture
def robot(graph, still_robot, tiny):
    return still_robot(graph, tiny.embodiment)


@pytest.fixture
def imagine(graph, robot, tiny):
    """Send a chunk that answers now, and return it."""
    graph.add(
        ImaginationNode,
        parameters={
            "embodiment": tiny.spec,
            "checkpoint": tiny.checkpoint,
            "sample_steps": 2,
            "autostart": True,
        },
    )
    publisher = graph.node.create_publisher(ActionChunkMessage, "policy/action_chunk", 10)
    graph.connected(publisher)
    for camera in robot.publishers.values():
        graph.connected(camera)

    def send(age_s=0.1):
        actions = np.tile([*tiny.embodiment.home_rad, 0.04], (12, 1)).astype(np.float32)
        stamp_ns = graph.node.get_clock().now().nanoseconds - round(age_s * 1e9)
        names = tiny.embodiment.action_names
        chunk = ActionChunk(stamp_ns, tiny.embodiment.period_ns, actions, names)
        publisher.publish(to_message(chunk))
        return chunk

    return send


def test_image_is_what_the_model_expects_and_is_stamped_with_its_moment(
    graph, robot, tiny, imagine
):
    images = {camera: graph.listen(Image, f"imagination/{camera}/image") for camera in robot.images}
    sent = []

    timer = graph.node.create_timer(0.5, lambda: sent.append(imagine()))
    graph.wait(lambda: all(images.values()), "imagined images")
    graph.node.destroy_timer(timer)
    oracle = Policy.load(tiny.checkpoint, sample_steps=2)
    ahead_ns = oracle.window.chunk * tiny.embodiment.period_ns
    for camera, heard in images.items():
        stamp_ns = to_ns(heard[0].header.stamp)
        chunk = next(c for c in sent if c.stamp_ns + ahead_ns == stamp_ns)
        future = oracle.imagine(robot.observation(chunk.stamp_ns), chunk, seed=0)
        np.testing.assert_allclose(
            to_array(heard[0]).astype(int), future.images[camera][0].astype(int), atol=1
        )
        assert heard[0].header.frame_id == camera
        assert heard[0].encoding == "rgb8"


def test_what_answers_an_arm_at_rest_is_seen_as_much_after_it_began(graph, robot, tiny, imagine):
    images = graph.listen(Image, "imagination/front/image")
    says = graph.node.create_publisher(SafetyStatus, "executor/safety", 10)
    graph.connected(says)
    began_ns = graph.node.get_clock().now().nanoseconds + 3_600_000_000_000
    ahead_ns = Policy.load(tiny.checkpoint).window.chunk * tiny.embodiment.period_ns

    def send():
        says.publish(SafetyStatus(state="running", resumed=to_stamp(began_ns)))
        imagine()

    timer = graph.node.create_timer(0.5, send)
    wanted = began_ns + ahead_ns
    graph.wait(lambda: any(to_ns(i.header.stamp) == wanted for i in images), "an image of then")
    graph.node.destroy_timer(timer)


def test_chunk_without_its_observation_is_not_imagined_and_says_so(graph, imagine):
    images = graph.listen(Image, "imagination/front/image")
    diagnostics = graph.listen(DiagnosticArray, "/diagnostics")
    imagine(age_s=60.0)

    def reason():
        return [s.message for array in diagnostics for s in array.status if "camera" in s.message]

    graph.wait(reason, "the reason on /diagnostics")
    assert images == []
