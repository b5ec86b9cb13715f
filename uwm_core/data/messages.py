# SPDX-License-Identifier: Apache-2.0
"""ROS-shaped messages to arrays, the same for bag and wire.

Duck-typed: rclpy messages, rosbags objects and ``SimpleNamespace`` all fit, and nothing of ROS is
imported. Joints are matched by name, never by position. ``resize`` is the only resizing there is,
so that a picture on the robot equals the same picture in a store, byte for byte.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from uwm_core.data.rotations import matrix_of_euler, matrix_of_quaternion, mix_poses, rotation_6d
from uwm_core.errors import DataError
from uwm_core.streams import (
    ARRAY,
    FLOAT_TYPES,
    JOINT_STATE,
    JOINT_TRAJECTORY,
    JOY,
    POSE_STAMPED,
    TWIST,
    TWIST_STAMPED,
    Camera,
    Vector,
)

NS_PER_S = 1_000_000_000


class _Layout(NamedTuple):
    """How an encoding lays out one pixel."""

    channels: int
    order: tuple[int, int, int]  # where red, green and blue are
    depth: int = 8  # bits per channel


ENCODINGS: dict[str, _Layout] = {
    "rgb8": _Layout(3, (0, 1, 2)),
    "bgr8": _Layout(3, (2, 1, 0)),
    "rgba8": _Layout(4, (0, 1, 2)),
    "bgra8": _Layout(4, (2, 1, 0)),
    "mono8": _Layout(1, (0, 0, 0)),
    "8UC1": _Layout(1, (0, 0, 0)),
    "8UC3": _Layout(3, (2, 1, 0)),  # OpenCV's own order
    "8UC4": _Layout(4, (2, 1, 0)),
    "rgb16": _Layout(3, (0, 1, 2), 16),
    "bgr16": _Layout(3, (2, 1, 0), 16),
    "mono16": _Layout(1, (0, 0, 0), 16),
}


def header_ns(msg: Any) -> int:
    """Header stamp of a message, int64 ns; 0 if it was never filled in."""
    stamp = msg.header.stamp
    return int(stamp.sec) * NS_PER_S + int(stamp.nanosec)


def stamp_ns(msg: Any, receive_ns: int, spec: Camera | Vector) -> int:
    """Moment at which a message was true: the chosen clock less the stream's latency.

    Args:
        msg: The message.
        receive_ns: When it was received (or logged).
        spec: The stream; says which clock counts and its latency.

    Returns:
        Stamp, int64 ns.
    """
    clock_ns = header_ns(msg) if spec.clock == "header" else receive_ns
    return clock_ns - round(spec.latency_s * NS_PER_S)


def image_rgb(msg: Any) -> npt.NDArray[np.uint8]:
    """Decode a ``sensor_msgs`` Image or CompressedImage.

    Args:
        msg: The message; one with a ``format`` is taken for a CompressedImage.

    Returns:
        Pixels (H, W, 3) uint8, RGB; may share memory with the message.

    Raises:
        DataError: If the encoding is unknown or the data do not fit the header.
    """
    return _decompressed(msg) if hasattr(msg, "format") else _raw(msg)


def _raw(msg: Any) -> npt.NDArray[np.uint8]:
    layout = ENCODINGS.get(msg.encoding)
    if layout is None:
        known = ", ".join(ENCODINGS)
        raise DataError(f"image encoding {msg.encoding!r} is not supported; supported: {known}")
    height, width, step = int(msg.height), int(msg.width), int(msg.step)
    row_bytes = width * layout.channels * layout.depth // 8
    data = np.frombuffer(msg.data, np.uint8)
    if height <= 0 or width <= 0:
        raise DataError(f"image is {height}x{width} pixels; it must have some")
    # The last row need not be padded; some drivers leave the padding off.
    if step < row_bytes or data.size < step * (height - 1) + row_bytes:
        raise DataError(
            f"image of {height}x{width} {msg.encoding} with step {step} needs "
            f"{max(step, row_bytes) * height} bytes, has {data.size}"
        )
    rows = np.lib.stride_tricks.as_strided(data, (height, row_bytes), (step, 1), writeable=False)
    if layout.depth == 16:
        # The high byte of each sample; is_bigendian says which of the two that is.
        rows = rows[:, (0 if msg.is_bigendian else 1) :: 2]
    pixels = rows.reshape(height, width, layout.channels)
    if layout.order == (0, 1, 2):
        return pixels[..., :3]
    return pixels[..., list(layout.order)]


def _decompressed(msg: Any) -> npt.NDArray[np.uint8]:
    data = msg.data if isinstance(msg.data, bytes) else np.frombuffer(msg.data, np.uint8).tobytes()
    try:
        with Image.open(io.BytesIO(data), formats=("JPEG", "PNG")) as image:
            if image.mode not in ("RGB", "RGBA", "L", "LA", "P", "CMYK", "1"):
                raise DataError(f"compressed image has pixels of kind {image.mode}, not colours")
            return np.asarray(image.convert("RGB"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        shown = " ".join(str(error).split())
        raise DataError(
            f"compressed image of format {msg.format!r} ({len(data)} bytes) is not a readable "
            f"JPEG or PNG: {shown}"
        ) from None


def resize(image: npt.NDArray[np.uint8], size: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """Resize with antialiasing (area-weighted bilinear).

    Args:
        image: Pixels (H, W, 3) uint8.
        size: Wanted (height, width).

    Returns:
        A new contiguous array (height, width, 3) uint8.
    """
    height, width = size
    if image.shape[:2] == (height, width):
        return np.array(image, order="C")
    resized = Image.fromarray(np.ascontiguousarray(image)).resize(
        (width, height), Image.Resampling.BILINEAR
    )
    return np.array(resized)


def picture(msg: Any, spec: Camera) -> npt.NDArray[np.uint8]:
    """A camera's message as it is on the grid: (H, W, 3) uint8, RGB.

    Raises:
        DataError: If the message cannot be decoded.
    """
    return resize(image_rgb(msg), spec.size)


def vector(msg: Any, spec: Vector) -> npt.NDArray[np.float32]:
    """Values of one low-dimensional message, in the order and unit of the embodiment.

    Args:
        msg: A message of the vector's type.
        spec: Which values are wanted.

    Returns:
        (n,) float32.

    Raises:
        DataError: If a joint or an entry is missing, a value is not finite, or an orientation is
            none.
    """
    raw = _READERS[spec.type](msg, spec)
    if spec.combine == "sum":
        raw = raw.sum(keepdims=True)
    if not np.isfinite(raw).all():
        raise DataError(f"{spec.topic} has a {spec.field} that is not finite: {raw.tolist()}")
    value = raw * spec.scale
    if spec.field == "twist_6d":
        value = np.concatenate([value[:3], rotation_6d(matrix_of_euler(value[3:]))])
    return (value if spec.open_above is None else value > spec.open_above).astype(np.float32)


def between(
    left: npt.NDArray[np.float32], right: npt.NDArray[np.float32], weight: float, spec: Vector
) -> npt.NDArray[np.float32]:
    """What a vector was between two samples: ``left`` at weight 0, ``right`` at 1.

    Linear, orientations by slerp; in double precision, rounded once.
    """
    if spec.field in ("pose", "twist_6d"):
        return mix_poses(left, right, weight)
    mixed = (1.0 - weight) * left.astype(np.float64) + weight * right.astype(np.float64)
    return mixed.astype(np.float32)


def _single(msg: Any, spec: Vector) -> npt.NDArray[np.float64]:
    return np.array([msg.data], np.float64)


def _by_index(msg: Any, spec: Vector) -> npt.NDArray[np.float64]:
    values = getattr(msg, spec.field)
    indices = spec.indices or range(len(spec.names))
    if max(indices) >= len(values):
        raise DataError(
            f"{spec.topic} has {len(values)} entries in {spec.field}, the embodiment wants "
            f"number {max(indices)} (counted from 0)"
        )
    return np.array([values[index] for index in indices], np.float64)


def _twist(msg: Any, spec: Vector) -> npt.NDArray[np.float64]:
    twist = msg.twist if spec.type == TWIST_STAMPED else msg
    linear, angular = twist.linear, twist.angular
    return np.array([linear.x, linear.y, linear.z, angular.x, angular.y, angular.z], np.float64)


def _pose(msg: Any, spec: Vector) -> npt.NDArray[np.float64]:
    at, turn = msg.pose.position, msg.pose.orientation
    quaternion = np.array([turn.x, turn.y, turn.z, turn.w], np.float64)
    norm = np.linalg.norm(quaternion)
    if not 0.5 < norm < 2.0:
        raise DataError(f"{spec.topic} has an orientation of length {norm:.3g}, not 1")
    rotation = rotation_6d(matrix_of_quaternion(quaternion / norm))
    return np.concatenate([np.array([at.x, at.y, at.z], np.float64), rotation])


def _trajectory(msg: Any, spec: Vector) -> npt.NDArray[np.float64]:
    """Where a trajectory leads: its last point."""
    if not len(msg.points):
        raise DataError(f"{spec.topic} has a trajectory without points")
    values = getattr(
        msg.points[-1], {"position": "positions", "velocity": "velocities"}[spec.field]
    )
    return _named(list(msg.joint_names), values, spec)


def _by_name(msg: Any, spec: Vector) -> npt.NDArray[np.float64]:
    return _named(list(msg.name), getattr(msg, spec.field), spec)


def _named(names: list[str], values: Any, spec: Vector) -> npt.NDArray[np.float64]:
    where = {name: index for index, name in enumerate(names)}
    missing = [name for name in spec.names if name not in where]
    if missing:
        raise DataError(f"{spec.topic} lacks the joints {missing}; it has {names}")
    if len(values) != len(names):
        raise DataError(
            f"{spec.topic} has {len(values)} entries in {spec.field} for {len(names)} names"
        )
    return np.array([values[where[name]] for name in spec.names], np.float64)


_READERS: dict[str, Callable[[Any, Vector], npt.NDArray[np.float64]]] = {
    JOINT_STATE: _by_name,
    JOINT_TRAJECTORY: _trajectory,
    ARRAY: _by_index,
    JOY: _by_index,
    TWIST: _twist,
    TWIST_STAMPED: _twist,
    POSE_STAMPED: _pose,
    **dict.fromkeys(FLOAT_TYPES, _single),
}
