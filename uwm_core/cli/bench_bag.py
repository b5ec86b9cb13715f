# SPDX-License-Identifier: Apache-2.0
"""A bag of the published sizes for benchmarks: three cameras, joints at 1 kHz, gripper, commands.

Pictures move and carry noise, so that no coder has it easier than with a camera. The same bag comes
out for the same length.
"""

from __future__ import annotations

import dataclasses
import heapq
import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from uwm_core.data.bag import BagWriter
from uwm_core.data.bag_types import standard_types
from uwm_core.data.messages import NS_PER_S
from uwm_core.embodiment import Embodiment

CAMERA_HZ = 30
JOINT_HZ = 1000
START_NS = 1_700_000_000 * NS_PER_S
IMAGE_SIZE = (480, 640)
# Distinct pictures per camera; more would only take memory.
PICTURES = 24


class _Topic(NamedTuple):
    """One topic of the bag: how often, how late, and its messages as bytes but for the stamp."""

    name: str
    type: str
    rate_hz: float
    delay_ns: int
    messages: list[bytearray]
    stamped: bool = True


def bench_embodiment() -> Embodiment:
    """``fr3_sim`` with a third camera and joint states at 1 kHz."""
    plain = Embodiment.load("fr3_sim")
    side = dataclasses.replace(plain.cameras["front"], topic="side/color/image_raw")
    joints = dataclasses.replace(plain.state["joint_pos"], rate_hz=float(JOINT_HZ))
    return dataclasses.replace(
        plain,
        cameras={**plain.cameras, "side": side},
        state={**plain.state, "joint_pos": joints},
    )


def write_bench_bag(
    path: Path,
    seconds: float,
    *,
    image_size: tuple[int, int] = IMAGE_SIZE,
    episodes: int = 1,
) -> Path:
    """Record a synthetic bag.

    Args:
        path: Folder of the bag; must not exist.
        seconds: Its length; a second has 83 MB.
        image_size: (H, W) of its images.
        episodes: Marked episodes of equal length.
    """
    embodiment = bench_embodiment()
    topics = [*_topics(embodiment, image_size), *_marks(seconds / episodes)]
    labels = {"uwm.embodiment": embodiment.to_yaml(), "uwm.task": "bench", "uwm.role": "expert"}
    types = {topic.name: topic.type for topic in topics}
    with BagWriter(path, types, metadata={**labels, "uwm.outcome": "success"}) as writer:
        for log_ns, topic, index in _schedule(topics, seconds):
            data = topic.messages[index % len(topic.messages)]
            if topic.stamped:
                struct.pack_into("<iI", data, 4, *divmod(log_ns - topic.delay_ns, NS_PER_S))
            writer.write(topic.name, bytes(data), log_ns)
    return path


def _schedule(topics: list[_Topic], seconds: float) -> Iterator[tuple[int, _Topic, int]]:
    """Log time, topic and number of every message, in order of time."""

    def moments(place: int, topic: _Topic) -> Iterator[tuple[int, _Topic, int]]:
        for index in range(round(seconds * topic.rate_hz)):
            after_ns = round(index / topic.rate_hz * NS_PER_S) + place * 100_000
            yield START_NS + after_ns + topic.delay_ns, topic, index

    every = [moments(place, topic) for place, topic in enumerate(topics)]
    yield from heapq.merge(*every, key=lambda row: row[0])


def _marks(every_s: float) -> Iterator[_Topic]:
    """Start and stop of one episode after the other, as a recorder marks them."""
    text = "std_msgs/msg/String"
    last_ns = round(every_s * NS_PER_S) - NS_PER_S // CAMERA_HZ
    for delay_ns, mark in ((0, {"event": "start"}), (last_ns, {"event": "stop"})):
        message = _cdr(text, data=json.dumps(mark))
        yield _Topic("/recorder/mark", text, 1 / every_s, delay_ns, [message], stamped=False)


def _topics(embodiment: Embodiment, image_size: tuple[int, int]) -> Iterator[_Topic]:
    rng = np.random.default_rng(0)
    for number, camera in enumerate(embodiment.cameras.values()):
        pictures = [_image(_picture(image_size, number, k, rng)) for k in range(PICTURES)]
        yield _Topic(f"/{camera.topic}", camera.type, CAMERA_HZ, 2_000_000, pictures)
    for vector in (*embodiment.state.values(), *embodiment.action.values()):
        fast = vector.topic == embodiment.state["joint_pos"].topic
        rate_hz = JOINT_HZ if fast else CAMERA_HZ
        stamped = vector.type.endswith("JointState")
        messages = [
            _joints(vector.names, 0.3 * np.sin(k / 50 + np.arange(len(vector.names))))
            if stamped
            else _cdr(vector.type, data=0.5)
            for k in range(rate_hz)
        ]
        yield _Topic(f"/{vector.topic}", vector.type, rate_hz, 300_000, messages, stamped)


def _picture(
    size: tuple[int, int], number: int, k: int, rng: np.random.Generator
) -> npt.NDArray[np.uint8]:
    rows, columns = np.mgrid[0 : size[0], 0 : size[1]]
    moved = columns + 5 * k
    squares = ((moved // 40 + rows // 40 + number) % 2) * 120
    planes = np.stack([moved * (number + 1) // 8, rows // 2 + columns // 4, squares], -1)
    noisy = planes % 256 + rng.normal(0, 4, planes.shape)
    return np.clip(noisy, 0, 255).astype(np.uint8)


def _image(pixels: npt.NDArray[np.uint8]) -> bytearray:
    height, width, _ = pixels.shape
    return _cdr(
        "sensor_msgs/msg/Image",
        header=_header(),
        height=height,
        width=width,
        encoding="rgb8",
        is_bigendian=0,
        step=3 * width,
        data=pixels.reshape(-1),
    )


def _joints(names: tuple[str, ...], position: npt.NDArray[np.float64]) -> bytearray:
    empty = np.zeros(0)
    return _cdr(
        "sensor_msgs/msg/JointState",
        header=_header(),
        name=list(names),
        position=position,
        velocity=empty,
        effort=empty,
    )


def _header() -> Any:
    types = standard_types().types
    stamp = types["builtin_interfaces/msg/Time"](sec=0, nanosec=0)
    return types["std_msgs/msg/Header"](stamp=stamp, frame_id="bench")


def _cdr(type_name: str, **fields: Any) -> bytearray:
    types = standard_types()
    return bytearray(types.serialize_cdr(types.types[type_name](**fields), type_name))
