# SPDX-License-Identifier: Apache-2.0
"""Collision shapes of a URDF as capsules, and how far capsules are from each other.

Spheres are capsules already; a cylinder or a box is held by the smallest capsule about its longest
axis. A capsule is two ends and a radius, so distances are closed forms over whole arrays.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from uwm_core.errors import UwmError
from uwm_core.kinematics.model import Shape

Floats = npt.NDArray[np.float64]

_SAME_M = 1e-6
# Lengths and products of lengths below this are none.
_TINY = 1e-12


def read_shapes(
    pin: Any, path: Path, whole: Any, held: list[int], base: tuple[Floats, Floats]
) -> list[Shape]:
    """Collision shapes of a URDF.

    Args:
        pin: The pinocchio module.
        path: The URDF.
        whole: Its model with all joints.
        held: Joints of that model that are held at zero.
        base: Rotation (3, 3) into the base frame, and where that frame is in the URDF's, m (3,).

    Returns:
        One capsule per shape; those within another of their link are left out.

    Raises:
        UwmError: If a shape is a mesh, or there is none.
    """
    try:
        geometry = pin.buildGeomFromUrdf(whole, str(path), pin.GeometryType.COLLISION)
    except (ValueError, RuntimeError) as error:
        raise UwmError(f"collision shapes of {path} cannot be read: {error}") from error
    model, geometry = pin.buildReducedModel(whole, geometry, held, pin.neutral(whole))
    turn, origin_m = base
    found: list[Shape] = []
    for item in geometry.geometryObjects:
        link = model.frames[item.parentFrame].name
        ends, radius = _capsule(item.geometry, f"link {link} of {path.name}")
        ends = ends @ item.placement.rotation.T + item.placement.translation
        if item.parentJoint == 0:
            ends = (ends - origin_m) @ turn.T
        found.append(Shape(link, int(item.parentJoint), ends, radius))
    if not found:
        raise UwmError(f"{path} has no collision shapes to watch")
    return _outer(found)


def _capsule(geometry: Any, where: str) -> tuple[Floats, float]:
    """Ends (2, 3) and radius, in metres, of the capsule about a shape of coal."""
    kind = type(geometry).__name__
    if kind == "Sphere":
        return np.zeros((2, 3)), float(geometry.radius)
    if kind in ("Cylinder", "Capsule"):
        half = float(geometry.halfLength)
        return np.array([[0.0, 0, -half], [0, 0, half]]), float(geometry.radius)
    if kind == "Box":
        sides = np.array(geometry.halfSide, dtype=np.float64).ravel()
        long = int(sides.argmax())
        axis = np.eye(3)[long] * sides[long]
        return np.stack([-axis, axis]), float(np.linalg.norm(np.delete(sides, long)))
    raise UwmError(
        f"{where} has a mesh for a collision shape; what can be watched: sphere, cylinder, box"
    )


def _outer(shapes: list[Shape]) -> list[Shape]:
    """The shapes less those that lie within another of the same link (a capsule's spheres)."""
    ends = np.array([shape.ends_m for shape in shapes])  # (S, 2, 3)
    radius = np.array([shape.radius_m for shape in shapes])
    points = np.repeat(ends[:, :, None], 2, axis=2)
    apart = distance(points[:, None], ends[None, :, None]).max(axis=2)  # (S, S)
    links = np.array([shape.link for shape in shapes])
    within = (apart <= radius - radius[:, None] + _SAME_M) & (links == links[:, None])
    # Of equal ones the first stays.
    needless = within & ~(within.T & np.triu(np.ones_like(within)))
    return [shape for shape, drop in zip(shapes, needless.any(axis=1), strict=True) if not drop]


def distance(left: Floats, right: Floats) -> Floats:
    """Distances (...), m, between lines given by their ends, (..., 2, 3) each."""
    left, right = np.broadcast_arrays(left, right)
    start, other = left[..., 0, :], right[..., 0, :]
    return segment_distance(
        np.moveaxis(start - other, -1, 0),
        np.moveaxis(left[..., 1, :] - start, -1, 0),
        np.moveaxis(right[..., 1, :] - other, -1, 0),
    )


def segment_distance(gap: Floats, along: Floats, across: Floats) -> Floats:
    """Distances (...), m, between two lines, coordinates first: (3, ...) each.

    The nearest points of two segments: first on the infinite lines, then each clipped to its
    segment, the other being nearest to the clipped one.

    Args:
        gap: From the second's start to the first's.
        along: From the first's start to its end.
        across: From the second's start to its end.
    """
    aa, bb = _dot(along, along), _dot(across, across)
    ab, ag, bg = _dot(along, across), _dot(along, gap), _dot(across, gap)
    safe_aa, safe_bb = np.maximum(aa, _TINY), np.maximum(bb, _TINY)
    cross = aa * bb - ab * ab
    s = np.where(cross > _TINY, (ab * bg - ag * bb) / np.maximum(cross, _TINY), 0.0)
    s = np.minimum(np.maximum(s, 0.0), 1.0)
    t = np.minimum(np.maximum((ab * s + bg) / safe_bb, 0.0), 1.0)
    s = np.minimum(np.maximum((ab * t - ag) / safe_aa, 0.0), 1.0)
    apart = gap + s * along - t * across
    return np.asarray(np.sqrt(_dot(apart, apart)))


def _dot(left: Floats, right: Floats) -> Floats:
    return np.asarray(left[0] * right[0] + left[1] * right[1] + left[2] * right[2])
