# SPDX-License-Identifier: Apache-2.0
"""Laws of orientations, with scipy's rotations as the oracle."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from uwm_core.data.rotations import (
    euler_of_matrix,
    matrix_of_6d,
    matrix_of_euler,
    matrix_of_quaternion,
    matrix_of_turn,
    mix_poses,
    pose_at,
    pose_from,
    quaternion_of_matrix,
    rotation_6d,
    turn_of,
)

spatial = pytest.importorskip("scipy.spatial.transform")
Rotation, Slerp = spatial.Rotation, spatial.Slerp

turns = st.tuples(*[st.floats(-4.0, 4.0)] * 3).map(np.array)
shares = st.floats(0.0, 1.0)


def pose(position, rotation):
    return np.concatenate([position, rotation_6d(rotation.as_matrix())])


@given(turns)
def test_quaternions_and_turns_become_the_matrices_of_scipy(turn):
    rotation = Rotation.from_rotvec(turn)
    assert np.allclose(matrix_of_quaternion(rotation.as_quat()), rotation.as_matrix(), atol=1e-12)
    assert np.allclose(matrix_of_turn(turn), rotation.as_matrix(), atol=1e-12)
    back = matrix_of_quaternion(quaternion_of_matrix(rotation.as_matrix()))
    assert np.allclose(back, rotation.as_matrix(), atol=1e-12)
    assert np.allclose(
        matrix_of_turn(turn_of(rotation.as_matrix())), rotation.as_matrix(), atol=1e-9
    )


@given(turns)
def test_euler_angles_are_the_intrinsic_ones_of_scipy_both_ways(angles):
    matrix = matrix_of_euler(angles)
    assert np.allclose(matrix, Rotation.from_euler("XYZ", angles).as_matrix(), atol=1e-12)
    assert np.allclose(matrix_of_euler(euler_of_matrix(matrix)), matrix, atol=1e-6)


@pytest.mark.parametrize("middle", [np.pi / 2, -np.pi / 2])
def test_straight_up_and_down_euler_angles_still_give_the_same_rotation(middle):
    matrix = Rotation.from_euler("XYZ", [0.3, middle, 0.7]).as_matrix()
    assert np.allclose(matrix_of_euler(euler_of_matrix(matrix)), matrix, atol=1e-7)


def test_6d_is_the_first_two_rows_as_in_the_published_model():
    matrix = Rotation.from_rotvec([0.1, 0.2, 0.3]).as_matrix()
    assert (rotation_6d(matrix) == matrix[:2].ravel()).all()


@given(turns)
def test_6d_is_a_round_trip_and_forgives_scale(turn):
    matrix = Rotation.from_rotvec(turn).as_matrix()
    assert np.allclose(matrix_of_6d(rotation_6d(matrix)), matrix, atol=1e-12)
    assert np.allclose(matrix_of_6d(3.0 * rotation_6d(matrix)), matrix, atol=1e-12)


@settings(deadline=None)
@given(turns, turns, shares)
def test_between_two_poses_is_the_slerp_of_scipy(left, right, share):
    a, b = Rotation.from_rotvec(left), Rotation.from_rotvec(right)
    # At half a turn apart both ways round are right; scipy may choose the other.
    if (a.inv() * b).magnitude() > np.pi - 1e-3:
        return
    wanted = Slerp([0, 1], Rotation.concatenate([a, b]))(share)
    start, end = np.zeros(3), np.ones(3)
    mixed = mix_poses(pose(start, a).astype(np.float32), pose(end, b).astype(np.float32), share)
    assert np.allclose(mixed[:3], share, atol=1e-6)
    assert np.allclose(matrix_of_6d(mixed[3:]), wanted.as_matrix(), atol=1e-5)


@given(turns, turns)
def test_a_relative_pose_leads_back(left, right):
    base = pose(left, Rotation.from_rotvec(left))
    there = pose(right, Rotation.from_rotvec(right))
    assert np.allclose(pose_at(base, pose_from(base, there)), there, atol=1e-12)
    same = pose_from(base, base)
    assert np.allclose(same, [0, 0, 0, 1, 0, 0, 0, 1, 0], atol=1e-12)


def test_opposite_quaternions_are_one_orientation():
    a = Rotation.from_rotvec([0.1, 0.2, 0.3])
    one = pose(np.zeros(3), a).astype(np.float32)
    other = np.concatenate([np.zeros(3), rotation_6d(matrix_of_quaternion(-a.as_quat()))])
    assert np.allclose(mix_poses(one, other.astype(np.float32), 0.5), one, atol=1e-6)
