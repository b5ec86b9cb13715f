# SPDX-License-Identifier: Apache-2.0
"""Where an arm's shapes are, by a second implementation that shares nothing with the guard.

The URDF is read with the standard library, frames are chained as matrices, and shapes are rows of
spheres: crude and slow, which is what a second opinion may be.
"""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree

import numpy as np

from uwm_core.embodiment import Embodiment
from uwm_core.kinematics.model import urdf_path
from uwm_ros.logic.limits import Floats

_ALONG = np.linspace(-0.5, 0.5, 5)
# Pairs of shapes that are this near at home touch by construction.
_TOUCHING_M = 0.004


def _pose(origin: ElementTree.Element | None) -> Floats:
    """(4, 4) of an origin element: fixed axes roll, pitch, yaw."""
    pose = np.eye(4)
    if origin is None:
        return pose
    pose[:3, 3] = [float(x) for x in origin.get("xyz", "0 0 0").split()]
    for axis, angle in enumerate(float(x) for x in origin.get("rpy", "0 0 0").split()):
        pose[:3, :3] = _turn(axis, np.array(angle))[:3, :3] @ pose[:3, :3]
    return pose


def _turn(axis: int, angle_rad: Floats) -> Floats:
    """Rotations (..., 4, 4) about a coordinate axis by angles (...)."""
    turn = np.tile(np.eye(4), (*angle_rad.shape, 1, 1))
    i, j = (axis + 1) % 3, (axis + 2) % 3
    turn[..., i, i] = turn[..., j, j] = np.cos(angle_rad)
    turn[..., j, i] = np.sin(angle_rad)
    turn[..., i, j] = -turn[..., j, i]
    return turn


class Places:
    """Room of an embodiment's arm in its workspace, above its table and from itself."""

    def __init__(self, embodiment: Embodiment) -> None:
        """Read the URDF; joints turn about their own z, as those of the bundled arms do."""
        assert embodiment.kinematics is not None
        self._safety, self._names = embodiment.safety, embodiment.arm_joints
        root = ElementTree.parse(urdf_path(embodiment.kinematics.urdf)).getroot()
        self._joints = [
            (j.get("name"), _of(j, "parent"), _of(j, "child"), _pose(j.find("origin")))
            for j in root.findall("joint")
        ]
        self._shapes: list[tuple[str, Floats, float]] = []
        for link in root.findall("link"):
            for shape in link.findall("collision"):
                self._add(str(link.get("name")), shape)
        children = {child for _, _, child, _ in self._joints}
        self._root = next(
            str(x.get("name")) for x in root.findall("link") if x.get("name") not in children
        )
        home = np.array([embodiment.home_rad])
        apart = self._pair_rooms(*self._spheres(home))
        keep_m = self._safety.self_collision_m
        self._pairs: set[tuple[int, int]] = (
            set()
            if keep_m is None
            else {pair for pair, room in apart.items() if room[0] > keep_m + _TOUCHING_M}
        )

    def _add(self, link: str, shape: ElementTree.Element) -> None:
        pose = _pose(shape.find("origin"))
        ball, rod = shape.find("geometry/sphere"), shape.find("geometry/cylinder")
        if ball is not None:
            self._shapes.append((link, pose[None, :3, 3], float(ball.attrib["radius"])))
        if rod is not None:
            z_m = _ALONG * float(rod.attrib["length"])
            rows = pose[:3, 3] + z_m[:, None] * pose[:3, 2]
            self._shapes.append((link, rows, float(rod.attrib["radius"])))

    def _spheres(self, joints_rad: Floats) -> tuple[list[Floats], list[int]]:
        """Middles (N, P, 3) of every shape's spheres, and how many joints move the shape."""
        column = {name: joints_rad[:, j] for j, name in enumerate(self._names)}
        poses = {self._root: np.tile(np.eye(4), (len(joints_rad), 1, 1))}
        depth, left = {self._root: 0}, list(self._joints)
        while left:
            name, parent, child, fixed = left.pop(0)
            if parent not in poses:
                left.append((name, parent, child, fixed))
                continue
            poses[child], depth[child] = poses[parent] @ fixed, depth[parent]
            if name in column:
                poses[child] = poses[child] @ _turn(2, column[name])
                depth[child] += 1
        middles = [
            np.einsum("nij,pj->npi", poses[link][:, :3, :3], rows) + poses[link][:, None, :3, 3]
            for link, rows, _ in self._shapes
        ]
        return middles, [depth[link] for link, _, _ in self._shapes]

    def _pair_rooms(
        self, middles: list[Floats], depth: list[int], only: set[tuple[int, int]] | None = None
    ) -> dict[tuple[int, int], Floats]:
        """Room (N,) between shapes that two joints or more lie between."""
        rooms = {}
        for i in range(len(middles)):
            for j in range(i):
                if abs(depth[i] - depth[j]) < 2 or (only is not None and (i, j) not in only):
                    continue
                gaps = np.linalg.norm(middles[i][:, :, None] - middles[j][:, None], axis=-1)
                rooms[i, j] = gaps.min(axis=(1, 2)) - self._shapes[i][2] - self._shapes[j][2]
        return rooms

    def room_m(self, joints_rad: Floats) -> Floats:
        """Least room (N,) m of configurations (N, J); below 0 something is broken."""
        middles, depth = self._spheres(joints_rad)
        least = np.full(len(joints_rad), np.inf)
        for at, moved, (_, _, radius) in zip(middles, depth, self._shapes, strict=True):
            if not moved:
                continue
            for axis, (low, high) in enumerate(self._safety.workspace_m):
                least = np.minimum(least, (at[..., axis] - low).min(axis=1) - radius)
                least = np.minimum(least, (high - at[..., axis]).min(axis=1) - radius)
            if self._safety.table_m is not None:
                least = np.minimum(least, at[..., 2].min(axis=1) - radius - self._safety.table_m)
        keep_m = self._safety.self_collision_m or 0.0
        for room in self._pair_rooms(middles, depth, self._pairs).values():
            least = np.minimum(least, room - keep_m)
        return least


def _of(joint: ElementTree.Element, what: str) -> str:
    found = joint.find(what)
    assert found is not None
    return found.attrib["link"]
