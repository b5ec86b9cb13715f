# SPDX-License-Identifier: Apache-2.0
"""Orientations as data: quaternions to matrices, matrices to 6D and back, poses between poses.

6D is the first two rows of the rotation matrix, one after the other (Zhou et al., "On the
Continuity of Rotation Representations in Neural Networks"): a number that is nearly right is a
rotation that is nearly right, which neither quaternions nor Euler angles offer. Rows, since the
published Unified World Model, UMI and robomimic keep rows; columns would be the inverse rotation to
them. A pose is a row of nine, position in metres and 6D; all functions return new arrays.

Euler angles are intrinsic ``XYZ`` in both directions (R = Rx Ry Rz).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating[Any]]

# Below this angle sin(x) / x is 1 to double precision.
_SMALL_RAD = 1e-8


def matrix_of_quaternion(quaternion: Floats) -> npt.NDArray[np.float64]:
    """Rotation matrices (..., 3, 3) of unit quaternions (..., 4), ordered x, y, z, w."""
    x, y, z, w = np.moveaxis(np.asarray(quaternion, np.float64), -1, 0)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)


def quaternion_of_matrix(matrix: Floats) -> npt.NDArray[np.float64]:
    """Unit quaternion (4,), ordered x, y, z, w, of a rotation matrix (3, 3); w is not negative."""
    m = np.asarray(matrix, np.float64)
    # The eigenvector of the largest eigenvalue: without the case distinctions of the closed form.
    k = np.array(
        [
            [m[0, 0] - m[1, 1] - m[2, 2], m[1, 0] + m[0, 1], m[2, 0] + m[0, 2], m[2, 1] - m[1, 2]],
            [m[1, 0] + m[0, 1], m[1, 1] - m[0, 0] - m[2, 2], m[2, 1] + m[1, 2], m[0, 2] - m[2, 0]],
            [m[2, 0] + m[0, 2], m[2, 1] + m[1, 2], m[2, 2] - m[0, 0] - m[1, 1], m[1, 0] - m[0, 1]],
            [m[2, 1] - m[1, 2], m[0, 2] - m[2, 0], m[1, 0] - m[0, 1], np.trace(m)],
        ]
    )
    quaternion: npt.NDArray[np.float64] = np.linalg.eigh(k)[1][:, -1]
    return -quaternion if quaternion[3] < 0 else quaternion


def rotation_6d(matrix: Floats) -> npt.NDArray[np.float64]:
    """6D (..., 6) of rotation matrices (..., 3, 3): first row, then second."""
    rows = np.asarray(matrix, np.float64)[..., :2, :]
    return rows.reshape(*rows.shape[:-2], 6)


def matrix_of_6d(numbers: Floats) -> npt.NDArray[np.float64]:
    """The rotation matrices (..., 3, 3) nearest to 6D numbers (..., 6), by Gram-Schmidt."""
    numbers = np.asarray(numbers, np.float64)
    first = _unit(numbers[..., :3])
    second = numbers[..., 3:]
    second = _unit(second - (first * second).sum(-1, keepdims=True) * first)
    return np.stack([first, second, np.cross(first, second)], axis=-2)


def _unit(vector: Floats) -> npt.NDArray[np.float64]:
    length = np.linalg.norm(vector, axis=-1, keepdims=True)
    return np.asarray(vector / np.where(length > 0, length, 1.0), np.float64)


def turn_of(matrix: Floats) -> npt.NDArray[np.float64]:
    """Rotation vector (3,), rad, of a rotation matrix (3, 3); its length is at most pi."""
    x, y, z, w = quaternion_of_matrix(matrix)
    axis = np.array([x, y, z])
    sine = float(np.linalg.norm(axis))
    return 2 * axis if sine < _SMALL_RAD else axis / sine * 2 * np.arctan2(sine, w)


def matrix_of_turn(turn: Floats) -> npt.NDArray[np.float64]:
    """Rotation matrix (3, 3) of a rotation vector (3,), rad."""
    turn = np.asarray(turn, np.float64)
    angle = float(np.linalg.norm(turn))
    half = angle / 2
    scale = 0.5 if angle < _SMALL_RAD else np.sin(half) / angle
    return matrix_of_quaternion(np.append(turn * scale, np.cos(half)))


def matrix_of_euler(euler: Floats) -> npt.NDArray[np.float64]:
    """Rotation matrix (3, 3) of intrinsic XYZ angles (3,), rad."""
    x, y, z = (matrix_of_turn(axis * angle) for axis, angle in zip(np.eye(3), euler, strict=True))
    return x @ y @ z


def euler_of_matrix(matrix: Floats) -> npt.NDArray[np.float64]:
    """Intrinsic XYZ angles (..., 3), rad, of matrices (..., 3, 3); the second within +-pi/2."""
    m = np.asarray(matrix, np.float64)
    level = np.hypot(m[..., 0, 0], m[..., 0, 1])
    middle = np.arctan2(m[..., 0, 2], level)
    # Straight up or down only the sum of the outer two is known: all of it is the first's.
    upright = level < _SMALL_RAD
    sine, cosine = (np.where(upright, m[..., i, 1], m[..., i, 2]) for i in (1, 2))
    first = np.where(upright, np.arctan2(cosine, sine), np.arctan2(-sine, cosine))
    last = np.where(upright, 0.0, np.arctan2(-m[..., 0, 1], m[..., 0, 0]))
    return np.stack([first, middle, last], axis=-1)


def mix_poses(
    left: npt.NDArray[np.float32], right: npt.NDArray[np.float32], weight: float
) -> npt.NDArray[np.float32]:
    """The pose between two poses (9,): straight in position, slerp in orientation.

    Args:
        left: The pose at weight 0.
        right: The pose at weight 1.
        weight: Where between them, in [0, 1].
    """
    a, b = left.astype(np.float64), right.astype(np.float64)
    position = (1 - weight) * a[:3] + weight * b[:3]
    start = matrix_of_6d(a[3:])
    turn = turn_of(start.T @ matrix_of_6d(b[3:]))
    rotation = rotation_6d(start @ matrix_of_turn(weight * turn))
    return np.concatenate([position, rotation]).astype(np.float32)


def pose_from(base: Floats, pose: Floats) -> npt.NDArray[np.float64]:
    """How far one pose is from another: ``pose`` (9,) relative to ``base`` (9,).

    Position differences stay in the frame that both are given in, as in the published delta
    actions; the rotation is the one that, applied after the base's, gives the pose's.
    """
    turn = matrix_of_6d(np.asarray(pose)[3:]) @ matrix_of_6d(np.asarray(base)[3:]).T
    return np.concatenate([np.asarray(pose)[:3] - np.asarray(base)[:3], rotation_6d(turn)])


def pose_at(base: Floats, relative: Floats) -> npt.NDArray[np.float64]:
    """The way back of ``pose_from``: the pose (9,) that is ``relative`` (9,) to ``base`` (9,)."""
    turn = matrix_of_6d(np.asarray(relative)[3:]) @ matrix_of_6d(np.asarray(base)[3:])
    return np.concatenate([np.asarray(base)[:3] + np.asarray(relative)[:3], rotation_6d(turn)])
