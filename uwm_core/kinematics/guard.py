# SPDX-License-Identifier: Apache-2.0
"""Whether the links may be where a motion brings them: workspace, table, self collision.

Links are capsules. The base, which stands where it stands, is exempt from the workspace and the
table; links that a joint connects are exempt from each other.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from uwm_core.arm import Safety
from uwm_core.kinematics.model import ArmModel, Floats
from uwm_core.kinematics.shapes import distance


@dataclasses.dataclass(frozen=True, eq=False)
class Clearance:
    """How much room there is.

    Attributes:
        distance_m: (N,) least room of every configuration to what it must keep away from, less
            the distance to be kept; below 0 a limit is broken. Infinite where nothing is watched.
        what: What the worst configuration is nearest to, as ``"fr3_hand and the table"``.
    """

    distance_m: Floats
    what: str


class Guard:
    """Watches what ``safety`` asks for.

    Args:
        model: The arm.
        safety: The limits.

    Raises:
        UwmError: If the URDF has no shapes that can be watched.
    """

    def __init__(self, model: ArmModel, safety: Safety) -> None:
        self._model = model
        shapes = model.shapes()
        self._links = [shape.link for shape in shapes]
        self._joint = np.array([shape.joint for shape in shapes])
        self._ends = np.array([shape.ends_m for shape in shapes]).swapaxes(1, 2)  # (C, 3, 2)
        self._radius = np.array([shape.radius_m for shape in shapes])
        self._moving = np.flatnonzero(self._joint > 0)
        # Of a wall: outward normal (W, 3) and where along it the room ends (W,).
        self._normal, self._wall_m, self._walls = _walls(safety)
        self._keep_m = 0.0 if safety.self_collision_m is None else safety.self_collision_m
        self._left, self._right = self._pairs(watched=safety.self_collision_m is not None)

    def clearance(self, joints_rad: Floats) -> Clearance:
        """Room of configurations (N, J), rad; of none at all it is infinite."""
        joints_rad = np.asarray(joints_rad, dtype=np.float64)
        least = np.full(len(joints_rad), np.inf)
        if not len(least):
            return Clearance(least, "nothing")
        ends = self._placed(joints_rad)  # (N, C, 2, 3)
        worst: list[tuple[float, str]] = [(np.inf, "nothing")]
        for rooms, named in (self._to_walls(ends), self._to_itself(ends)):
            if rooms.shape[1]:
                least = np.minimum(least, rooms.min(axis=1))
                row, column = divmod(int(rooms.argmin()), rooms.shape[1])
                worst.append((float(rooms[row, column]), named(column)))
        return Clearance(least, min(worst)[1])

    def _placed(self, joints_rad: Floats) -> Floats:
        """Ends (N, C, 2, 3) of all capsules in the base frame, m."""
        turns, places = self._model.joint_frames(joints_rad)
        ends = turns[:, self._joint] @ self._ends + places[:, self._joint, :, None]
        return ends.swapaxes(2, 3)

    def _to_walls(self, ends: Floats) -> tuple[Floats, Callable[[int], str]]:
        """Room (N, M * W) of each moving capsule to each wall, and a column's name."""
        reach = (ends[:, self._moving] @ self._normal.T).max(axis=2)  # (N, M, W)
        room = self._wall_m - reach - self._radius[self._moving, None]

        def named(column: int) -> str:
            shape, wall = divmod(column, len(self._walls))
            return f"{self._links[self._moving[shape]]} and {self._walls[wall]}"

        return room.reshape(len(ends), -1), named

    def _to_itself(self, ends: Floats) -> tuple[Floats, Callable[[int], str]]:
        """Room (N, P) of each pair of capsules, and a column's name."""
        left, right = self._left, self._right
        room = distance(ends[:, left], ends[:, right])
        room -= self._radius[left] + self._radius[right] + self._keep_m

        def named(column: int) -> str:
            return f"{self._links[left[column]]} and {self._links[right[column]]}"

        return room, named

    def _pairs(self, *, watched: bool) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
        """Capsules that could meet: two joints or more apart, and apart where the arm rests.

        What touches at home touches by construction, as MoveIt's allowed collision matrix has it.
        """
        left, right = np.triu_indices(len(self._joint), k=1)
        apart = np.abs(self._joint[left] - self._joint[right]) > 1
        left, right = left[apart & watched], right[apart & watched]
        home = self._placed(self._model.home[None])[0]
        room = distance(home[left], home[right]) - self._radius[left] - self._radius[right]
        return left[room > self._keep_m], right[room > self._keep_m]


def _walls(safety: Safety) -> tuple[Floats, Floats, list[str]]:
    """Outward normals (W, 3), distances along them (W,) m, and names."""
    rows: list[tuple[Floats, float, str]] = []
    for axis, (low, high) in zip(range(3), safety.workspace_m, strict=False):
        unit, name = np.eye(3)[axis], "xyz"[axis]
        rows.append((-unit, -low, f"the workspace's low {name} side"))
        rows.append((unit, high, f"the workspace's high {name} side"))
    if safety.table_m is not None:
        rows.append((np.array([0.0, 0, -1]), -safety.table_m, "the table"))
    normals = np.array([row[0] for row in rows]).reshape(-1, 3)
    return normals, np.array([row[1] for row in rows]), [row[2] for row in rows]
