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
from typing import Literal, NamedTuple

from uwm_core.spec import NEWER

Clock = Literal["header", "receive"]
Unit = Literal["rad", "m", "rad/s", "m/s", "unitless"]
Field = Literal[
    "position", "velocity", "effort", "data", "pose", "twist", "twist_6d", "axes", "buttons"
]
Combine = Literal["none", "sum"]
Interpolation = Literal["linear", "previous"]

IMAGE_TYPES = ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage")
JOINT_STATE = "sensor_msgs/msg/JointState"
JOINT_TRAJECTORY = "trajectory_msgs/msg/JointTrajectory"
FLOAT32 = "std_msgs/msg/Float32"
FLOAT_TYPES = (FLOAT32, "std_msgs/msg/Float64")
ARRAY = "std_msgs/msg/Float64MultiArray"
JOY = "sensor_msgs/msg/Joy"
TWIST = "geometry_msgs/msg/Twist"
TWIST_STAMPED = "geometry_msgs/msg/TwistStamped"
POSE_STAMPED = "geometry_msgs/msg/PoseStamped"
GRIPPER_COMMAND = "control_msgs/action/GripperCommand"
FRANKA_GRIPPER = "franka_msgs/action/Move"
FOLLOW_JOINT_TRAJECTORY = "control_msgs/action/FollowJointTrajectory"
_ROTATION = ("r11", "r12", "r13", "r21", "r22", "r23")
POSE_PARTS = ("x", "y", "z", *_ROTATION)
"""Columns of a pose: position, then the first two rows of its rotation matrix (6D)."""
TWIST_PARTS = ("vx", "vy", "vz", "wx", "wy", "wz")
"""Columns of a twist: linear, then angular velocity."""
TWIST_6D_PARTS = ("vx", "vy", "vz", *_ROTATION)
"""The same, its angular part read as Euler angles (intrinsic XYZ) and held in 6D, as in DROID."""


class Kind(NamedTuple):
    """What a message type offers to a vector.

    Attributes:
        fields: Its fields; the first is the default.
        header: Whether it has a header.
        parts: Columns of each field where the type fixes them; else ``names`` choose.
        by_index: Whether its values have places instead of names.
    """

    fields: tuple[Field, ...]
    header: bool = True
    parts: tuple[tuple[str, ...], ...] = ()
    by_index: bool = False


_TWIST_KIND = Kind(("twist", "twist_6d"), parts=(TWIST_PARTS, TWIST_6D_PARTS))

VECTOR_TYPES: dict[str, Kind] = {
    JOINT_STATE: Kind(("position", "velocity", "effort")),
    JOINT_TRAJECTORY: Kind(("position", "velocity")),
    **{name: Kind(("data",), header=False) for name in FLOAT_TYPES},
    ARRAY: Kind(("data",), header=False, by_index=True),
    JOY: Kind(("axes", "buttons"), by_index=True),
    TWIST: _TWIST_KIND._replace(header=False),
    TWIST_STAMPED: _TWIST_KIND,
    POSE_STAMPED: Kind(("pose",), parts=(POSE_PARTS,)),
}

_UNITS: dict[str, tuple[str, ...]] = {
    "position": ("rad", "m"),
    "velocity": ("rad/s", "m/s"),
    "effort": ("unitless",),
    "data": ("rad", "m", "rad/s", "m/s", "unitless"),
    "pose": ("m",),
    "twist": ("m/s", "unitless"),
    "twist_6d": ("m/s", "unitless"),
    "axes": ("unitless", "m", "rad", "m/s", "rad/s"),
    "buttons": ("unitless",),
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


def topic_name(**values: str) -> None:
    """Refuse what is no topic name; the message begins with its name."""
    for name, value in values.items():
        if not _TOPIC.fullmatch(value):
            raise ValueError(f"{name} {value!r} is not a topic name, like front/color/image_raw")


def among(known: Iterable[str], **values: str) -> None:
    """Refuse a value that is not among the known ones; the message begins with its name."""
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
        topic_name(topic=self.topic)
        among(IMAGE_TYPES, type=self.type)
        _timing(self.rate_hz, self.latency_s, self.max_age_s)
        if min(self.size) <= 0:
            raise ValueError(f"size must be positive pixels (height, width), got {self.size}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Vector:
    """A low-dimensional stream.

    Attributes:
        topic: Where it is published.
        type: One of ``VECTOR_TYPES``.
        rate_hz: Rate at which it is published.
        names: Joint names wanted, in this order; names of our own for numbers without one; none
            for poses and twists, whose columns are fixed (``POSE_PARTS``, ``TWIST_PARTS``).
        field: Which part of the message; ``position`` for a JointState, else the type's only one.
        indices: Places of the ``names`` in an array or a Joy; by default the first ones.
        combine: ``sum`` adds the named joints up to one value (two fingers to a width).
        unit: Unit of the value (after ``scale``). A pose in ``m`` has a rotation in 6D beside its
            position, a twist in ``m/s`` an angular velocity in rad/s; ``unitless`` is a percentage.
        scale: value = raw * scale, unitless unless it converts.
        open_above: Turns a value into open (1) above this limit and closed (0) below it; for
            grippers that know no width.
        interpolation: ``linear`` (orientations: slerp), or ``previous`` for commands that jump.
        clock: Which stamp counts: the header's or that of reception.
        latency_s: Subtracted from the stamp.
        max_age_s: Older than this at a tick is absent.

    Raises:
        ValueError: If a value is impossible.
    """

    topic: str
    type: str = JOINT_STATE
    rate_hz: float
    names: tuple[str, ...] = ()
    field: Field = "position"
    indices: tuple[int, ...] = dataclasses.field(default=(), metadata=NEWER)
    combine: Combine = "none"
    unit: Unit
    scale: float = 1.0
    open_above: float | None = dataclasses.field(default=None, metadata=NEWER)
    interpolation: Interpolation = "linear"
    clock: Clock = "header"
    latency_s: float = 0.0
    max_age_s: float

    def __post_init__(self) -> None:
        topic_name(topic=self.topic)
        among(VECTOR_TYPES, type=self.type)
        _timing(self.rate_hz, self.latency_s, self.max_age_s)
        kind = VECTOR_TYPES[self.type]
        if self.field not in kind.fields:
            wanted = " or ".join(kind.fields)
            raise ValueError(f"field {self.field!r} is not in {self.type}; use {wanted}")
        self._check_columns()
        if not kind.header and self.clock == "header":
            raise ValueError(f"clock must be 'receive' for {self.type}, which has no header")
        if self.unit not in _UNITS[self.field]:
            fitting = ", ".join(_UNITS[self.field])
            raise ValueError(f"unit {self.unit!r} does not fit {self.field}; use {fitting}")
        if self.scale == 0 or not math.isfinite(self.scale):
            raise ValueError(f"scale must be finite and not 0, got {self.scale:g}")
        if self.field == "pose" and self.scale != 1:
            raise ValueError("scale must be 1 for a pose: its rotation has no size")
        self._check_open()

    def _check_columns(self) -> None:
        kind = VECTOR_TYPES[self.type]
        if kind.parts and (self.names or self.combine != "none"):
            raise ValueError(
                f"names must be left out for {self.type}: its columns are {', '.join(self._parts)}"
            )
        if not kind.parts:
            unique("names", self.names)
        if self.type in FLOAT_TYPES and len(self.names) != 1:
            raise ValueError(f"names must be one name for {self.type}, got {len(self.names)}")
        if self.indices and not kind.by_index:
            raise ValueError(f"indices are for arrays and Joy, not for {self.type}")
        if self.indices and len(self.indices) != len(self.names):
            raise ValueError(
                f"indices must be as many as names, got {len(self.indices)} for {len(self.names)}"
            )
        if any(index < 0 for index in self.indices):
            raise ValueError(f"indices must be 0 or more, got {list(self.indices)}")

    def _check_open(self) -> None:
        if self.open_above is None:
            return
        if self.size != 1 or self.unit != "unitless":
            raise ValueError("open_above needs one value, and 'unitless' as its unit")
        if self.interpolation != "previous":
            raise ValueError("open_above needs interpolation 'previous': half open is no state")

    @property
    def _parts(self) -> tuple[str, ...]:
        """Columns that the type fixes."""
        kind = VECTOR_TYPES[self.type]
        return kind.parts[kind.fields.index(self.field)] if kind.parts else ()

    @property
    def size(self) -> int:
        """Columns of the value (n)."""
        return len(self.columns(""))

    def columns(self, key: str) -> tuple[str, ...]:
        """One name per column: joints keep theirs, a sum is its key, poses and twists have parts.

        Args:
            key: Under which the embodiment has this vector.
        """
        if self.combine == "sum":
            return (key,)
        return self.names or tuple(f"{key}_{part}" for part in self._parts)

    @property
    def meaning(self) -> str:
        """What its numbers are, as text that differs where they do."""
        joined = f"{self.combine} of " if self.combine != "none" else ""
        listed = ", ".join(self.names or self._parts)
        limit = f", open above {self.open_above:g}" if self.open_above is not None else ""
        return f"{joined}{listed} ({self.field}, {self.unit}{limit})"
