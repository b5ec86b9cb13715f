# SPDX-License-Identifier: Apache-2.0
"""Builds bags for tests: synthetic streams of the embodiment ``fr3_sim``, with known values.

Every value is a closed form of its stamp (``joints_at``, ``width_at``, ``target_at``), so that a
test can say what a step must hold. ``build_bag`` writes a bag through the project's own writer with
any part left out, changed or broken.
"""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from uwm_core.data.bag import BagWriter
from uwm_core.data.bag_types import standard_types
from uwm_core.embodiment import Embodiment

NS = 1_000_000_000
START_NS = 1_700_000_000 * NS
ARM = tuple(f"fr3_joint{i}" for i in range(1, 8))
FINGERS = ("fr3_finger_joint1", "fr3_finger_joint2")


def joints_at(stamp_ns: int) -> np.ndarray:
    """Arm position at a moment: linear in time, so that interpolation is exact. (7,) rad."""
    return np.linspace(-1.0, 1.0, 7) + (stamp_ns - START_NS) / NS * np.arange(1, 8) * 0.01


def width_at(stamp_ns: int) -> float:
    """Gripper opening at a moment, m."""
    return 0.08 - 0.005 * (stamp_ns - START_NS) / NS


def picture(index: int, height: int = 48, width: int = 64) -> np.ndarray:
    """A picture that says which one it is: (H, W, 3) uint8, smooth, unlike its neighbours."""
    rows, columns = np.mgrid[0:height, 0:width]
    red = (rows * 3 + index * 5) % 256
    green = (columns * 2 + index * 11) % 256
    blue = np.full_like(rows, (index * 17) % 256)
    return np.stack([red, green, blue], -1).astype(np.uint8)


def make(type_name: str, **fields: Any) -> Any:
    """A message object of a standard type."""
    return standard_types().types[type_name](**fields)


def header(stamp_ns: int, frame: str = "") -> Any:
    """A ``std_msgs/Header``."""
    stamp = make("builtin_interfaces/msg/Time", sec=stamp_ns // NS, nanosec=int(stamp_ns % NS))
    return make("std_msgs/msg/Header", stamp=stamp, frame_id=frame)


def image_msg(pixels: np.ndarray, stamp_ns: int, encoding: str = "rgb8") -> Any:
    """A ``sensor_msgs/Image`` from bytes as they lie in ``pixels`` (H, W, ...)."""
    return make(
        "sensor_msgs/msg/Image",
        header=header(stamp_ns, "camera"),
        height=pixels.shape[0],
        width=pixels.shape[1],
        encoding=encoding,
        is_bigendian=0,
        step=int(np.prod(pixels.shape[1:])),
        data=pixels.reshape(-1),
    )


def compressed_msg(pixels: np.ndarray, stamp_ns: int, kind: str = "JPEG") -> Any:
    """A ``sensor_msgs/CompressedImage``."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, kind)
    return make(
        "sensor_msgs/msg/CompressedImage",
        header=header(stamp_ns, "camera"),
        format=kind.lower(),
        data=np.frombuffer(stream.getvalue(), np.uint8),
    )


def joint_msg(names: tuple[str, ...], position: np.ndarray, stamp_ns: int) -> Any:
    """A ``sensor_msgs/JointState`` with positions only."""
    empty = np.zeros(0)
    return make(
        "sensor_msgs/msg/JointState",
        header=header(stamp_ns),
        name=list(names),
        position=np.asarray(position, np.float64),
        velocity=empty,
        effort=empty,
    )


@dataclasses.dataclass
class Message:
    """One message of a bag to be: what, where, when."""

    topic: str
    type: str
    msg: Any
    receive_ns: int


def streams(
    duration_s: float = 2.0,
    *,
    start_ns: int = START_NS,
    image: Callable[[int, int], tuple[str, Any]] | None = None,
    joint_order: tuple[str, ...] = ARM,
    image_hz: int = 30,
) -> Iterator[Message]:
    """Messages of an undisturbed recording of ``fr3_sim``, in log order.

    Args:
        duration_s: Length.
        start_ns: First stamp.
        image: (index, stamp) to (type, message) for the cameras.
        joint_order: Order of the joints inside the JointState messages.
        image_hz: Rate of the cameras.
    """
    image = image or (lambda i, ns: ("sensor_msgs/msg/Image", image_msg(picture(i), ns)))
    order = [ARM.index(name) for name in joint_order]
    joint_state = "sensor_msgs/msg/JointState"
    rows: list[Message] = []

    def every(rate_hz: float, phase_s: float = 0.0) -> Iterator[tuple[int, int]]:
        for index in range(round(duration_s * rate_hz)):
            yield index, start_ns + round((index / rate_hz + phase_s) * NS)

    for camera, phase in (("front", 0.004), ("wrist", 0.011)):
        for index, ns in every(image_hz, phase):
            type_name, msg = image(index, ns)
            rows.append(Message(f"/{camera}/color/image_raw", type_name, msg, ns + 2_000_000))
    for _, ns in every(200):
        msg = joint_msg(joint_order, joints_at(ns)[order], ns)
        rows.append(Message("/franka/joint_states", joint_state, msg, ns + 500_000))
    for _, ns in every(30, 0.002):
        msg = joint_msg(FINGERS, np.full(2, width_at(ns) / 2), ns)
        rows.append(Message("/franka_gripper/joint_states", joint_state, msg, ns + 500_000))
    for index, ns in every(30, 0.007):
        msg = joint_msg(ARM, joints_at(ns) + 0.1, ns)
        rows.append(Message("/gello/joint_states", joint_state, msg, ns + 500_000))
        percent = make("std_msgs/msg/Float32", data=1.0 if index < 30 else 0.0)
        topic = "/gripper/gripper_client/target_gripper_width_percent"
        rows.append(Message(topic, "std_msgs/msg/Float32", percent, ns))
    yield from sorted(rows, key=lambda row: row.receive_ns)


def write_bag(
    path: Path,
    messages: Iterator[Message] | list[Message],
    *,
    metadata: dict[str, str] | None = None,
    compress: bool = False,
) -> Path:
    """Write messages as a bag of ``fr3_sim``."""
    if metadata is None:
        metadata = {
            "uwm.task": "lift the cube",
            "uwm.role": "expert",
            "uwm.outcome": "success",
            "uwm.embodiment": Embodiment.load("fr3_sim").to_yaml(),
        }
    with BagWriter(path, metadata=metadata, compress=compress) as writer:
        for row in messages:
            writer.add_topic(row.topic, row.type)
            data = bytes(standard_types().serialize_cdr(row.msg, row.type))
            writer.write(row.topic, data, row.receive_ns)
    return path


@pytest.fixture(scope="session")
def embodiment() -> Embodiment:
    """The bundled ``fr3_sim``."""
    return Embodiment.load("fr3_sim")


@pytest.fixture(scope="session")
def bags() -> SimpleNamespace:
    """The builders of this file, for tests in any folder."""
    return SimpleNamespace(
        NS=NS,
        START_NS=START_NS,
        ARM=ARM,
        FINGERS=FINGERS,
        Message=Message,
        joints_at=joints_at,
        width_at=width_at,
        picture=picture,
        header=header,
        make=make,
        image_msg=image_msg,
        compressed_msg=compressed_msg,
        joint_msg=joint_msg,
        streams=streams,
        write_bag=write_bag,
    )


@pytest.fixture(scope="session")
def good_bag(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An undisturbed recording of two seconds; tests only read it."""
    return write_bag(tmp_path_factory.mktemp("bags") / "good", streams())
