# SPDX-License-Identifier: Apache-2.0
"""How the hand gets somewhere: joint velocities for a twist, joints for a pose, near where it is.

Damped least squares: damping grows as a direction is lost, so the answer is exact far from singular
poses and slow near them, never a jump. What is redundant drifts to the arm's home.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np

from uwm_core.data.rotations import turn_of
from uwm_core.kinematics.model import ArmModel, Floats

# Least singular value of the Jacobian (m and rad per rad) below which damping begins. The arm works
# at 0.15; with the damping of motion a hand at 0.2 m/s asks for no more than some 6 rad/s^2.
_SINGULAR = 0.1
_MOTION, _SEARCH = 0.2, 0.03  # damping at a singular pose
_EYE = np.eye(6)
_NOTHING = 1e-10 * _EYE  # keeps the inverse of a singular matrix finite
_DRIFT_PER_S = 0.5
_LONGEST_STEP_RAD = 0.2
# How near a pose is reached, m and rad.
_NEAR = np.array([2e-5] * 3 + [1e-4] * 3)


def joint_velocity(
    model: ArmModel, joint_rad: Floats, twist: Floats, drift_per_s: float = _DRIFT_PER_S
) -> Floats:
    """Joint velocities (J,) rad/s that move the tcp by a twist.

    Where a joint would be too fast all of them are slower: the hand stays on its way.

    Args:
        model: The arm.
        joint_rad: Where it is, (J,).
        twist: (6,) m/s, then rad/s, along the axes of the base frame.
        drift_per_s: Rate at which redundant motion leads home.
    """
    drift = drift_per_s * (model.home - joint_rad)
    velocity = _resolve(model.jacobian(joint_rad), twist, drift, _MOTION)
    return velocity / max(1.0, float(np.abs(velocity / model.velocity).max()))


def _resolve(jacobian: Floats, twist: Floats, posture: Floats, damping: float) -> Floats:
    """Joint velocities (J,) for a twist; what is redundant follows the posture's (J,)."""
    square = jacobian @ jacobian.T + _NOTHING
    factors = _factors()(square)
    # 1 / trace of the inverse: the square of the least singular value, or up to a sixth of it.
    room = 1 / (_SINGULAR * math.sqrt(float(factors.solve(_EYE).trace())))
    if room < 1:
        factors = _factors()(square + _EYE * (damping * (1 - room)) ** 2)
    return np.asarray(posture + jacobian.T @ factors.solve(twist - jacobian @ posture))


@functools.cache
def _factors() -> Any:
    """Factors of a symmetric matrix, by Eigen; for 6 x 6 a tenth of the time of numpy's."""
    from eigenpy import LDLT

    return LDLT


def inverse(
    model: ArmModel, pose: Floats, seed_rad: Floats, *, iterations: int = 30
) -> Floats | None:
    """Joints that reach a pose, near a seed.

    Args:
        model: The arm.
        pose: (4, 4) of the tcp in the base frame.
        seed_rad: (J,) where to begin.
        iterations: Newton steps at most; a seed nearby needs two or three.

    Returns:
        (J,) rad within the embodiment's position limits; None where none was found.
    """
    q = np.array(seed_rad, dtype=np.float64)
    wanted_m, wanted = pose[:3, 3], pose[:3, :3]
    for step in range(iterations):
        rotation, place, jacobian = model.pose_and_jacobian(q)
        error = np.empty(6)
        error[:3] = wanted_m - place
        error[3:] = _turn(wanted @ rotation.T)
        if bool((np.abs(error) < _NEAR).all()):
            return q
        # The drift home belongs to motion, not to the search for a solution: only at its start.
        posture = (model.home - q) * (0.02 if step == 0 else 0.0)
        change = _resolve(jacobian, error, posture, _SEARCH)
        change *= min(1.0, _LONGEST_STEP_RAD / max(float(np.abs(change).max()), 1e-12))
        q = np.clip(q + change, model.low, model.high)
    return None


def _turn(matrix: Floats) -> Floats | tuple[float, float, float]:
    """Rotation vector (3,), rad, of a rotation matrix (3, 3)."""
    (a, b, c), (d, e, f), (g, h, i) = matrix.tolist()
    cosine = (a + e + i - 1) / 2
    if cosine < 0:  # here the axis drowns in the rounding of its sine
        return turn_of(matrix)
    x, y, z = (h - f) / 2, (c - g) / 2, (d - b) / 2
    sine = math.sqrt(x * x + y * y + z * z)
    scale = 1.0 if sine < 1e-9 else math.atan2(sine, cosine) / sine
    return x * scale, y * scale, z * scale
