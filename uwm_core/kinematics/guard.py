# SPDX-License-Identifier: Apache-2.0
"""Whether the links may be where a motion brings them: workspace, table, self collision.

Links are capsules. The base, which stands where it stands, is exempt from the workspace and the
table; links that a joint connects are exempt from each other.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

from uwm_core.arm import Safety
from uwm_core.kinematics.model import ArmModel, Floats
from uwm_core.kinematics.shapes import segment_distance


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
        ends = np.array([shape.ends_m for shape in shapes])  # (C, 2, 3)
        # Middle and half of the line, (C, 3, 2): its ends are middle +- half.
        self._lines = np.stack([ends.mean(axis=1), (ends[:, 1] - ends[:, 0]) / 2], axis=2)
        self._half_m = np.linalg.norm(self._lines[:, :, 1], axis=1)
        self._radius = np.array([shape.radius_m for shape in shapes])
        self._moving = np.flatnonzero(self._joint > 0)
        # Of a wall: outward normal (W, 3) and where along it the room ends (W,).
        self._normal, self._wall_m, self._walls = _walls(safety)
        self._keep_m = 0.0 if safety.self_collision_m is None else safety.self_collision_m
        self._left, self._right = self._pairs(watched=safety.self_collision_m is not None)
        left, right = self._left, self._right
        self._thick_m = self._radius[left] + self._radius[right] + self._keep_m
        self._long_m = self._half_m[left] + self._half_m[right]

    def clearance(self, joints_rad: Floats) -> Clearance:
        """Room of configurations (N, J), rad; of none at all it is infinite."""
        joints_rad = np.asarray(joints_rad, dtype=np.float64)
        if not len(joints_rad):
            return Clearance(np.empty(0), "nothing")
        middle, half = self._placed(joints_rad)
        least, what = self._to_walls(middle, half)
        if len(self._left):
            apart, pair = self._to_itself(middle, half, least)
            # Exact wherever it is the lesser one, see there.
            if apart.min() < least.min():
                what = pair
            least = np.minimum(least, apart)
        return Clearance(least, what)

    def _placed(self, joints_rad: Floats) -> tuple[Floats, Floats]:
        """Middles and halves of all capsules in the base frame, m: (3, N, C) each."""
        turns, places = self._model.joint_frames(joints_rad)
        lines = np.moveaxis(turns[:, self._joint] @ self._lines, 2, 0)  # (3, N, C, 2)
        middle = lines[..., 0] + np.moveaxis(places[:, self._joint], 2, 0)
        return np.ascontiguousarray(middle), np.ascontiguousarray(lines[..., 1])

    def _to_walls(self, middle: Floats, half: Floats) -> tuple[Floats, str]:
        """Least room (N,) of the moving capsules to the walls, and what is nearest."""
        if not self._walls:
            return np.full(middle.shape[1], np.inf), "nothing"
        moving = self._moving
        reach = np.tensordot(self._normal, middle[:, :, moving], 1)  # (W, N, M)
        reach += np.abs(np.tensordot(self._normal, half[:, :, moving], 1)) + self._radius[moving]
        room = self._wall_m[:, None, None] - reach
        wall, _, shape = np.unravel_index(int(room.argmin()), room.shape)
        least: Floats = room.min(axis=(0, 2))
        return least, f"{self._links[moving[shape]]} and {self._walls[wall]}"

    def _to_itself(self, middle: Floats, half: Floats, walls: Floats) -> tuple[Floats, str]:
        """Least room (N,) between the pairs of capsules, and which are nearest.

        Middles bound distances from both sides; exact distances are found only of pairs that may
        be the nearest. Where walls (N,) are certainly nearer, more than the least is returned.
        """
        left, right = self._left, self._right
        gap = middle[:, :, left] - middle[:, :, right]  # (3, N, P)
        most = np.sqrt(gap[0] ** 2 + gap[1] ** 2 + gap[2] ** 2) - self._thick_m
        bound = np.minimum(most.min(axis=1), walls)
        row, pair = np.nonzero(most - self._long_m <= bound[:, None])
        i, j = left[pair], right[pair]
        along, across = half[:, row, i], half[:, row, j]
        room = segment_distance(gap[:, row, pair] - along + across, 2 * along, 2 * across)
        room -= self._thick_m[pair]
        least = most.min(axis=1)
        np.minimum.at(least, row, room)
        if not len(room):
            return least, "nothing"
        worst = pair[int(room.argmin())]
        return least, f"{self._links[left[worst]]} and {self._links[right[worst]]}"

    def _pairs(self, *, watched: bool) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
        """Capsules that could meet: two joints or more apart, and apart where the arm rests.

        What touches at home touches by construction, as MoveIt's allowed collision matrix has it.
        """
        left, right = np.triu_indices(len(self._joint), k=1)
        apart = np.abs(self._joint[left] - self._joint[right]) > 1
        left, right = left[apart & watched], right[apart & watched]
        middle, half = (part[:, 0] for part in self._placed(self._model.home[None]))
        start = middle - half
        room = segment_distance(
            start[:, left] - start[:, right], 2 * half[:, left], 2 * half[:, right]
        )
        room -= self._radius[left] + self._radius[right]
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
