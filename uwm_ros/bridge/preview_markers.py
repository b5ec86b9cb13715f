# SPDX-License-Identifier: Apache-2.0
"""Foresights as messages that RViz and Foxglove draw: markers and a path."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from geometry_msgs.msg import Point, Pose, PoseStamped
from nav_msgs.msg import Path
from std_msgs.msg import ColorRGBA
from visualization_msgs.msg import Marker

from uwm_core.arm import Safety
from uwm_core.sim.kinematics import quaternion
from uwm_ros.bridge.clock import to_duration, to_stamp
from uwm_ros.logic.foresight import Floats, Foresight

# Of a path: where the gripper is open, closed, or not spoken of.
OPEN, CLOSED, UNKNOWN = (0.10, 0.74, 0.66), (0.98, 0.52, 0.14), (0.55, 0.60, 0.68)
_AXES = ((0.93, 0.27, 0.27), (0.30, 0.78, 0.34), (0.26, 0.52, 0.96))
_EDGE, _TABLE = (0.62, 0.66, 0.72), (0.62, 0.66, 0.72)
_FAINTEST = 0.2
_LINE_M, _BEAD_M, _AXIS_M, _EDGE_M = 0.006, 0.014, 0.035, 0.003
_FRAMES = 3
# What is drawn goes by itself soon after the node that drew it has gone.
_LIFETIME_NS = 3_000_000_000
_TABLE_SIDE_M, _TABLE_THICK_M = 1.6, 0.002
_WORDS_M = 0.05
_WAY = ("way", "actions", "tcp")


def to_path(foresight: Foresight, frame: str, now_ns: int) -> Path:
    """The poses to come, each stamped with the moment at which it is due."""
    path = Path()
    path.header.frame_id, path.header.stamp = frame, to_stamp(now_ns)
    for due_ns, pose in zip(foresight.dues_ns, foresight.poses, strict=True):
        stamped = PoseStamped(pose=_pose(pose))
        stamped.header.frame_id, stamped.header.stamp = frame, to_stamp(int(due_ns))
        path.poses.append(stamped)
    return path


def way_markers(foresight: Foresight, frame: str, now_ns: int) -> list[Marker]:
    """The way of the hand: line, beads at the due times, frames; they take the old ones' place."""
    if not len(foresight.dues_ns):
        return no_way(frame, now_ns)
    colors = _colors(foresight)
    line = _marker("way", frame, now_ns, Marker.LINE_STRIP, (_LINE_M, 0.0, 0.0))
    line.points, line.colors = _points(foresight.line_m), colors
    beads = _marker("actions", frame, now_ns, Marker.SPHERE_LIST, (_BEAD_M,) * 3)
    every = (len(foresight.line_m) - 1) // len(foresight.dues_ns)
    beads.points, beads.colors = _points(foresight.poses[:, :3, 3]), colors[every::every]
    frames = _marker("tcp", frame, now_ns, Marker.LINE_LIST, (_LINE_M / 2, 0.0, 0.0))
    last = len(foresight.poses) - 1
    for k in sorted({round(share * last) for share in np.linspace(0, 1, _FRAMES)}):
        fade = colors[(k + 1) * every].a
        origin = foresight.poses[k, :3, 3]
        for axis, color in enumerate(_AXES):
            tip = origin + _AXIS_M * foresight.poses[k, :3, axis]
            frames.points += _points(np.stack([origin, tip]))
            frames.colors += [_color(color, fade)] * 2
    return [line, beads, frames]


def no_way(frame: str, now_ns: int) -> list[Marker]:
    """Take the drawn way back."""
    return [_marker(name, frame, now_ns, action=Marker.DELETE) for name in _WAY]


def place_markers(safety: Safety, frame: str, now_ns: int) -> list[Marker]:
    """The workspace as a box of edges, the table as a plane; nothing where safety has none."""
    markers = []
    if safety.workspace_m:
        box = _marker("workspace", frame, now_ns, Marker.LINE_LIST, (_EDGE_M, 0.0, 0.0))
        box.points, box.color = _points(_edges(np.array(safety.workspace_m))), _color(_EDGE, 0.7)
        markers.append(box)
    if safety.table_m is not None:
        x, y = safety.workspace_m[:2] if safety.workspace_m else ((-0.8, 0.8), (-0.8, 0.8))
        size = (x[1] - x[0], y[1] - y[0], _TABLE_THICK_M)
        table = _marker("table", frame, now_ns, Marker.CUBE, size)
        at = table.pose.position
        at.x, at.y, at.z = sum(x) / 2, sum(y) / 2, safety.table_m - _TABLE_THICK_M / 2
        table.color = _color(_TABLE, 0.35)
        markers.append(table)
    return markers


def words_marker(text: str, frame: str, now_ns: int, at_m: tuple[float, ...]) -> Marker:
    """What the executor says, as words above the arm; empty: taken away."""
    action = Marker.ADD if text else Marker.DELETE
    words = _marker("executor", frame, now_ns, Marker.TEXT_VIEW_FACING, (0, 0, _WORDS_M), action)
    words.text, words.color = text, _color((0.95, 0.95, 0.95), 1.0)
    at = words.pose.position
    at.x, at.y, at.z = at_m
    return words


def _marker(
    name: str,
    frame: str,
    now_ns: int,
    kind: int = Marker.LINE_STRIP,
    size_m: tuple[float, ...] = (0.0, 0.0, 0.0),
    action: int = Marker.ADD,
) -> Marker:
    marker = Marker(ns=name, id=0, type=kind, action=action)
    marker.header.frame_id, marker.header.stamp = frame, to_stamp(now_ns)
    marker.lifetime = to_duration(_LIFETIME_NS)
    marker.scale.x, marker.scale.y, marker.scale.z = (float(value) for value in size_m)
    marker.pose.orientation.w = 1.0
    return marker


def _colors(foresight: Foresight) -> list[ColorRGBA]:
    """One per point of the line: by the gripper, and fainter the later."""
    colors = []
    for share, opening in zip(foresight.shares, foresight.openings, strict=True):
        mixed = UNKNOWN
        if np.isfinite(opening):
            mixed = tuple(c + opening * (o - c) for o, c in zip(OPEN, CLOSED, strict=True))
        colors.append(_color(mixed, 1.0 - (1.0 - _FAINTEST) * float(share)))
    return colors


def _color(rgb: tuple[float, ...], alpha: float) -> ColorRGBA:
    r, g, b = (float(value) for value in rgb)
    return ColorRGBA(r=r, g=g, b=b, a=float(alpha))


def _points(places_m: npt.NDArray[np.float64]) -> list[Point]:
    return [Point(x=x, y=y, z=z) for x, y, z in places_m.tolist()]


def _edges(box_m: Floats) -> Floats:
    """(24, 3): the two ends of each of the 12 edges of a box ((3, 2): low, high)."""
    ends = []
    for axis in range(3):
        one, two = (other for other in range(3) if other != axis)
        for first in box_m[one]:
            for second in box_m[two]:
                for value in box_m[axis]:
                    corner = np.empty(3)
                    corner[[axis, one, two]] = value, first, second
                    ends.append(corner)
    return np.array(ends)


def _pose(pose: Floats) -> Pose:
    message = Pose()
    at, turn = message.position, message.orientation
    at.x, at.y, at.z = pose[:3, 3].tolist()
    turn.w, turn.x, turn.y, turn.z = quaternion(pose[:3, :3]).tolist()
    return message
