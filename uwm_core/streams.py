# SPDX-License-Identifier: Apache-2.0
"""The streams of an embodiment: cameras, vectors and action channels, each valid from birth.

One entry says on which topic a stream lives, which of its values are wanted, by which clock it is
stamped and how old it may be. ``embodiment.py`` joins them to a robot.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Iterable, Sequence
from typing import Literal

Clock = Literal["header", "receive"]
Unit = Literal["rad", "m", "rad/s", "m/s", "unitless"]
Field = Literal["position", "velocity", "effort", "data"]
Combine = Literal["none", "sum"]
Interpolation = Literal["linear", "previous"]

IMAGE_TYPES = ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage")
JOINT_STATE = "sensor_msgs/msg/JointState"
FLOAT_TYPES = ("std_msgs/msg/Float32", "std_msgs/msg/Float64")
JOINT_TRAJECTORY = "trajectory_msgs/msg/JointTrajectory"
COMMAND_TYPES = (JOINT_TRAJECTORY, "std_msgs/msg/Float32")

_UNITS: dict[str, tuple[str, ...]] = {
    "position": ("rad", "m"),
    "velocity": ("rad/s", "m/s"),
    "effort": ("unitless",),
    "data": ("rad", "m", "rad/s", "m/s", "unitless"),
}
_TOPIC = re.compile(r"(/|~/)?[A-Za-z_][A-Za-z0-9_]*(/[A-Za-z_][A-Za-z0-9_]*)*")


def above_zero(**values: float) -> None:
    """Refuse a value that is not finite and above 0; the message begins with its name."""
    for name, value in values.items():
        if not (value > 0 and math.isfinite(value)):
            raise ValueError(f"{name} must be above 0, got {value:g}")


def unique(name: str, values: Sequence[str]) -> None:
    """Refuse an empty list, empty text, and repeated text."""
    if not values:
        raise ValueError(f"{name} must have at least one entry")
    for value in values:
        if not value:
            raise ValueError(f"{name} must not contain empty text")
        if values.count(value) > 1:
            raise ValueError(
                f"{name} must be unique, {value!r} is there {values.count(value)} times"
            )


def _topic(**values: str) -> None:
    for name, value in values.items():
        if not _TOPIC.fullmatch(value):
            raise ValueError(f"{name} {value!r} is not a topic name, like front/color/image_raw")


def _among(known: Iterable[str], **values: str) -> None:
    for name, value in values.items():
        if value not in known:
            raise ValueError(f"{name} {value!r} is not supported; supported: {', '.join(known)}")


def _timing(rate_hz: float, latency_s: float, max_age_s: float) -> None:
    above_zero(rate_hz=rate_hz, max_age_s=max_age_s)
    if not 0 <= latency_s < 10:
        raise ValueError(f"latency_s must be within 0 and 10, got {latency_s:g}")
    # Small allowance: 0.0333 is what people write for 30 Hz.
    if max_age_s * rate_hz < 0.999:
        raise ValueError(
            f"max_age_s {max_age_s:g} is below one period of the stream ({1 / rate_hz:g} s at "
            f"{rate_hz:g} Hz): every sample would be absent"
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Camera:
    """One view.

    Attributes:
        topic: Where the images are published.
        type: ``sensor_msgs/msg/Image`` or ``sensor_msgs/msg/CompressedImage``.
        rate_hz: Rate at which they are published.
        size: (H, W) of the image on the grid, pixels; resized with antialiasing.
        clock: Which stamp counts: the header's or that of reception.
        latency_s: Subtracted from the stamp: age of the picture when it was stamped.
        max_age_s: Older than this at a tick is absent.

    Raises:
        ValueError: If a value is impossible.
    """

    topic: str
    type: str = "sensor_msgs/msg/Image"
    rate_hz: float
    size: tuple[int, int]
    clock: Clock = "header"
    latency_s: float = 0.0
    max_age_s: float

    def __post_init__(self) -> None:
        _topic(topic=self.topic)
        _among(IMAGE_TYPES, type=self.type)
        _timing(self.rate_hz, self.latency_s, self.max_age_s)
        if min(self.size) <= 0:
            raise ValueError(f"size must be positive pixels (height, width), got {self.size}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Vector:
    """A low-dimensional stream.

    Attributes:
        topic: Where it is published.
        type: ``sensor_msgs/msg/JointState``, ``std_msgs/msg/Float32`` or ``Float64``.
        rate_hz: Rate at which it is published.
        names: Joint names wanted, in this order; for Float32 and Float64 one name of our own.
        field: Which array of the JointState; ``data`` for Float32 and Float64.
        combine: ``sum`` adds the named joints up to one value (two fingers to a width).
        unit: Unit of the value (after ``scale``).
        scale: value = raw * scale, unitless unless it converts.
        interpolation: ``linear``, or ``previous`` for commands that jump.
        clock: Which stamp counts: the header's or that of reception.
        latency_s: Subtracted from the stamp.
        max_age_s: Older than this at a tick is absent.

    Raises:
        ValueError: If a value is impossible.
    """

    topic: str
    type: str = JOINT_STATE
    rate_hz: float
    names: tuple[str, ...]
    field: Field = "position"
    combine: Combine = "none"
    unit: Unit
    scale: float = 1.0
    interpolation: Interpolation = "linear"
    clock: Clock = "header"
    latency_s: float = 0.0
    max_age_s: float

    def __post_init__(self) -> None:
        _topic(topic=self.topic)
        _among((JOINT_STATE, *FLOAT_TYPES), type=self.type)
        _timing(self.rate_hz, self.latency_s, self.max_age_s)
        unique("names", self.names)
        joints = self.type == JOINT_STATE
        if joints == (self.field == "data"):
            wanted = "position, velocity or effort" if joints else "data"
            raise ValueError(f"field {self.field!r} is not in {self.type}; use {wanted}")
        if not joints and len(self.names) != 1:
            raise ValueError(f"names must be one name for {self.type}, got {len(self.names)}")
        if not joints and self.clock == "header":
            raise ValueError(f"clock must be 'receive' for {self.type}, which has no header")
        if self.unit not in _UNITS[self.field]:
            fitting = ", ".join(_UNITS[self.field])
            raise ValueError(f"unit {self.unit!r} does not fit {self.field}; use {fitting}")
        if self.scale == 0 or not math.isfinite(self.scale):
            raise ValueError(f"scale must be finite and not 0, got {self.scale:g}")

    @property
    def size(self) -> int:
        """Columns of the value (n)."""
        return 1 if self.combine == "sum" else len(self.names)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ActionChannel(Vector):
    """An action: recorded from ``topic`` as any ``Vector``, executed on ``command_topic``.

    Attributes:
        command_topic: Where the command goes.
        command_type: ``trajectory_msgs/msg/JointTrajectory`` or ``std_msgs/msg/Float32``; for the
            latter value / scale is sent, so that what was recorded is what is played.

    Raises:
        ValueError: If a value is impossible.
    """

    command_topic: str
    command_type: str

    def __post_init__(self) -> None:
        super().__post_init__()
        _topic(command_topic=self.command_topic)
        _among(COMMAND_TYPES, command_type=self.command_type)
        if self.command_type == JOINT_TRAJECTORY and self.combine != "none":
            raise ValueError(
                "combine must be 'none' for a JointTrajectory: each joint is commanded"
            )
        if self.command_type != JOINT_TRAJECTORY and self.size != 1:
            raise ValueError(f"command_type {self.command_type} takes one value, got {self.size}")
