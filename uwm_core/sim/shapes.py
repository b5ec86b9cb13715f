# SPDX-License-Identifier: Apache-2.0
"""Point clouds whose convex hulls are the arm's soft housings.

MuJoCo takes the hull of a mesh that has vertices and no faces, so one function for a rounded barrel
and one for a rounded box are all the modelling this robot needs. Metres throughout.
"""

import numpy as np

_SIDES = 20


def _basis(axis: np.ndarray) -> np.ndarray:
    """Two unit vectors (2, 3) across ``axis``, a unit vector (3,)."""
    helper = np.array([1.0, 0, 0]) if abs(axis[0]) < 0.9 else np.array([0, 1.0, 0])
    first = np.cross(axis, helper)
    first /= np.linalg.norm(first)
    return np.stack([first, np.cross(axis, first)])


def barrel(
    centre_m: tuple[float, float, float],
    axis: tuple[float, float, float],
    radius_m: float,
    half_m: float,
    fillet_m: float = 0.012,
    rings: int = 3,
) -> np.ndarray:
    """Points (N, 3) of a cylinder along ``axis`` whose rims are rounded by ``fillet_m``."""
    direction = np.array(axis) / np.linalg.norm(axis)
    across = _basis(direction)
    turn = np.linspace(0, 2 * np.pi, _SIDES, endpoint=False)
    circle = np.cos(turn)[:, None] * across[0] + np.sin(turn)[:, None] * across[1]  # (_SIDES, 3)
    points = []
    for bend in np.linspace(0, np.pi / 2, rings):
        ring_m = radius_m - fillet_m * (1 - np.cos(bend))
        height_m = half_m - fillet_m * (1 - np.sin(bend))
        points += [circle * ring_m + direction * height_m, circle * ring_m - direction * height_m]
    cloud: np.ndarray = np.concatenate(points) + np.array(centre_m)
    return cloud


def rounded_box(
    centre_m: tuple[float, float, float], half_m: tuple[float, float, float], bevel_m: float
) -> np.ndarray:
    """Points (24, 3) of a box whose edges are cut by ``bevel_m``."""
    signs = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], dtype=float)
    points = []
    for kept in range(3):
        half = np.array(half_m) - bevel_m
        half[kept] += bevel_m
        points.append(signs * half)
    cloud: np.ndarray = np.concatenate(points) + np.array(centre_m)
    return cloud


def mesh_xml(name: str, points: np.ndarray) -> str:
    """One MJCF ``<mesh>`` element whose convex hull is drawn."""
    numbers = " ".join(f"{value:.5f}" for value in points.reshape(-1))
    return f'<mesh name="{name}" inertia="convex" vertex="{numbers}"/>'
