# SPDX-License-Identifier: Apache-2.0
"""Law: a bag over the wire and a bag through the converter give the same bytes at the same ticks.

The bag's serialized messages are published on a real graph, taken by real subscriptions into the
buffer that the policy uses, sampled as soon as each tick is known, and compared with the store.
"""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from uwm_core.data.bag import BagReader
from uwm_core.data.convert import convert
from uwm_core.data.resample import ObservationBuffer
from uwm_core.data.store import Store
from uwm_core.data.stream_buffer import Absent
from uwm_core.embodiment import Embodiment
from uwm_core.records import Observation


def replayed(graph: Any, bag: Path, embodiment: Embodiment, ticks: list[int]) -> dict[int, Any]:
    """Observations at the ticks, each taken at the first moment at which it is known."""
    from rclpy.node import Node
    from rclpy.qos import QoSProfile
    from sensor_msgs.msg import CompressedImage, Image, JointState

    types = {kind.__name__: kind for kind in (CompressedImage, Image, JointState)}
    qos = QoSProfile(depth=1000)
    buffer = ObservationBuffer(embodiment, history=2)
    found: dict[int, Observation | None] = {}
    listener, player = graph.add(Node, "listener"), graph.add(Node, "player")

    def take(key: str, msg: Any) -> None:
        buffer.push(key, msg, listener.get_clock().now().nanoseconds)
        newest = buffer.newest_tick_ns()
        for tick in ticks:
            if newest is not None and tick not in found and tick <= newest:
                try:
                    found[tick] = buffer.observation(tick)
                except Absent:
                    found[tick] = None  # The first step has no step before it.

    publishers = {}
    for key, stream in embodiment.observation_streams.items():
        kind = types[stream.type.rsplit("/", 1)[-1]]
        listener.create_subscription(kind, stream.topic, lambda msg, key=key: take(key, msg), qos)
        publishers[f"/{stream.topic}"] = player.create_publisher(kind, stream.topic, qos)
    for publisher in publishers.values():
        graph.connected(publisher)
    with BagReader(bag) as reader:
        for topic, msg, _ in reader.messages(publishers):
            publishers[topic].publish(msg.raw)
    graph.wait(lambda: len(found) == len(ticks), "every tick to be known")
    return found


@pytest.mark.parametrize("kind", ["raw", "jpeg"])
def test_live_and_converted_observations_are_equal(
    graph: Any, bags: SimpleNamespace, embodiment: Embodiment, tmp_path: Path, kind: str
) -> None:
    def image(index: int, ns: int) -> tuple[str, Any]:
        picture = bags.picture(index, 120, 160)
        if kind == "raw":
            return "sensor_msgs/msg/Image", bags.image_msg(picture[..., ::-1].copy(), ns, "bgr8")
        return "sensor_msgs/msg/CompressedImage", bags.compressed_msg(picture, ns)

    text = embodiment.to_yaml()
    if kind == "jpeg":
        text = text.replace("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage")
    embodiment = Embodiment.parse(text)
    order = tuple(reversed(bags.ARM))
    rows = bags.streams(image=image, joint_order=order)
    bag = bags.write_bag(tmp_path / "bag", rows, metadata={"uwm.embodiment": text})
    convert([bag], tmp_path / "s.zarr")
    episode = Store.open(tmp_path / "s.zarr").episode(0)
    ticks = [int(stamp) for stamp in episode.stamp_ns]

    found = replayed(graph, bag, embodiment, ticks)

    assert found[ticks[0]] is None and len(ticks) == 20
    for row, tick in enumerate(ticks[1:], start=1):
        observation = found[tick]
        assert observation is not None
        for camera in ("front", "wrist"):
            wanted = episode.images[camera][row - 1 : row + 1]
            assert observation.images[camera].tobytes() == wanted.tobytes()
        for key in ("joint_pos", "gripper_width"):
            wanted = episode.state[key][row - 1 : row + 1]
            assert observation.state[key].tobytes() == wanted.tobytes()
    # The law would hold for black pictures too; these are not.
    assert len(np.unique(episode.images["front"])) > 50
