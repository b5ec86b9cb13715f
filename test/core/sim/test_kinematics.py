# SPDX-License-Identifier: Apache-2.0
"""Laws of the FR3's kinematics: against the chain written out, finite differences, and MuJoCo."""

import importlib.util
import math

import numpy as np
import pytest

from uwm_core.sim import fr3, kinematics
from uwm_core.sim.scene import Scene

needs_mujoco = pytest.mark.skipif(importlib.util.find_spec("mujoco") is None, reason="needs mujoco")


def random_joints(seed):
    low, high = fr3.position_limits_rad().T
    return np.random.default_rng(seed).uniform(low, high)


def rot_x(angle):
    c, s = math.cos(angle), math.sin(angle)
    return np.array([[1, 0, 0, 0], [0, c, -s, 0], [0, s, c, 0], [0, 0, 0, 1.0]])


def rot_z(angle):
    c, s = math.cos(angle), math.sin(angle)
    return np.array([[c, -s, 0, 0], [s, c, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])


def shift(x=0.0, z=0.0):
    pose = np.eye(4)
    pose[0, 3], pose[2, 3] = x, z
    return pose


def written_out(q):
    """The chain of Franka's data sheet, one elementary motion after another."""
    pose = shift(z=0.333) @ rot_z(q[0])
    pose = pose @ rot_x(-math.pi / 2) @ rot_z(q[1])
    pose = pose @ rot_x(math.pi / 2) @ shift(z=0.316) @ rot_z(q[2])
    pose = pose @ shift(x=0.0825) @ rot_x(math.pi / 2) @ rot_z(q[3])
    pose = pose @ shift(x=-0.0825) @ rot_x(-math.pi / 2) @ shift(z=0.384) @ rot_z(q[4])
    pose = pose @ rot_x(math.pi / 2) @ rot_z(q[5])
    pose = pose @ shift(x=0.088) @ rot_x(math.pi / 2) @ rot_z(q[6])
    return pose @ shift(z=0.107) @ rot_z(-math.pi / 4) @ shift(z=0.1034)


@pytest.mark.parametrize("seed", range(20))
def test_tool_pose_is_the_chain_of_the_data_sheet(seed):
    q = random_joints(seed)
    np.testing.assert_allclose(kinematics.tcp_pose(q), written_out(q), atol=1e-12)


@needs_mujoco
@pytest.mark.parametrize("seed", range(10))
def test_simulated_arm_has_the_closed_form_kinematics(seed):
    scene = Scene(home_rad=tuple(random_joints(seed)))
    np.testing.assert_allclose(scene.ee_pose, kinematics.tcp_pose(scene.joint_pos), atol=1e-9)


@pytest.mark.parametrize("seed", range(10))
def test_jacobian_is_the_finite_difference_of_the_pose(seed):
    q, step = random_joints(seed), 1e-6
    pose, jacobian = kinematics.jacobian(q)
    for j in range(7):
        moved = kinematics.tcp_pose(q + step * np.eye(7)[j])
        turn = kinematics.rotation_error(moved[:3, :3], pose[:3, :3])
        numeric = np.concatenate([moved[:3, 3] - pose[:3, 3], turn]) / step
        np.testing.assert_allclose(jacobian[:, j], numeric, atol=1e-5)


@pytest.mark.parametrize("seed", range(20))
def test_inverse_lands_on_the_pose_it_was_asked_for(seed):
    rng = np.random.default_rng(seed)
    pose = np.eye(4)
    pose[:3, :3] = kinematics.downward(rng.uniform(-0.6, 0.6))
    pose[:3, 3] = rng.uniform((0.36, -0.2, 0.02), (0.62, 0.2, 0.3))
    q = kinematics.inverse(pose, np.array(fr3.HOME_RAD))
    assert q is not None
    np.testing.assert_allclose(written_out(q), pose, atol=1e-4)
    low, high = fr3.position_limits_rad().T
    assert (q > low).all() and (q < high).all()


def test_inverse_gives_up_on_a_pose_out_of_reach():
    pose = np.eye(4)
    pose[:3, :3] = kinematics.downward(0.0)
    pose[:3, 3] = (1.5, 0.0, 0.2)
    assert kinematics.inverse(pose, np.array(fr3.HOME_RAD)) is None


def test_posture_is_pursued_without_moving_the_hand():
    q = np.array(fr3.HOME_RAD) + np.array([0.3, 0, -0.3, 0, 0, 0, 0])
    velocity = kinematics.joint_velocity(q, np.zeros(6), np.array(fr3.HOME_RAD))
    _, jacobian = kinematics.jacobian(q)
    assert np.abs(velocity).max() > 0.01
    np.testing.assert_allclose(jacobian @ velocity, 0, atol=1e-9)


@pytest.mark.parametrize("seed", range(10))
def test_quaternion_turns_vectors_as_its_matrix_does(seed):
    rotation = kinematics.tcp_pose(random_joints(seed))[:3, :3]
    w, x, y, z = kinematics.quaternion(rotation)
    again = np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )
    np.testing.assert_allclose(again, rotation, atol=1e-12)
