# SPDX-License-Identifier: Apache-2.0
"""Laws of the inverse: round trips, exactness far from singular poses, calm near them."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from uwm_core.data.rotations import turn_of
from uwm_core.kinematics.inverse import inverse, joint_velocity


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), off=st.floats(0, 0.15))
def test_joints_of_a_pose_lead_to_the_pose(arm, joints_within, manipulability, seed, off):
    model = arm("fr3")[1]
    q = joints_within(model, 1, seed, share=0.8)[0]
    assume(manipulability(model, q) > 0.04)
    pose = model.tcp(q)
    start = q + off * np.random.default_rng(seed).uniform(-1, 1, 7)
    found = inverse(model, pose, start)
    assert found is not None
    reached = model.tcp(found)
    assert np.abs(reached[:3, 3] - pose[:3, 3]).max() < 2e-5
    assert np.abs(turn_of(reached[:3, :3] @ pose[:3, :3].T)).max() < 1e-4
    assert (found >= model.low).all() and (found <= model.high).all()
    assert np.abs(found - start).max() < 1.0


@pytest.mark.parametrize("turn", [0.5, 1.6, 2.2, 3.0])
def test_a_hand_turned_far_finds_back(model, turn):
    start = model.home.copy()
    start[6] += turn if model.home[6] + turn < model.high[6] else -turn
    found = inverse(model, model.tcp(model.home), start)
    assert found is not None
    np.testing.assert_allclose(model.tcp(found), model.tcp(model.home), atol=2e-4)


def test_out_of_reach_is_none_and_not_an_exception(model):
    pose = model.tcp(model.home)
    for place in ([2.0, 0, 0.5], [0, 0, 3.0], [np.nan, 0, 0]):
        pose[:3, 3] = place
        assert inverse(model, pose, model.home) is None


def test_far_from_singular_poses_a_twist_is_exact(model, joints_within):
    random = np.random.default_rng(5)
    tried = 0
    for q in joints_within(model, 300, seed=5):
        if np.linalg.svd(model.jacobian(q), compute_uv=False)[-1] < 0.15:
            continue
        tried += 1
        twist = random.uniform(-0.05, 0.05, 6)
        velocity = joint_velocity(model, q, twist, drift_per_s=0.05)
        np.testing.assert_allclose(model.jacobian(q) @ velocity, twist, atol=1e-7)
    assert tried > 30


def test_what_is_redundant_leads_home_and_leaves_the_hand_where_it_is(fr3):
    q = fr3.home.copy()
    q[2] += 0.3
    q = inverse(fr3, fr3.tcp(fr3.home), q)
    before = np.linalg.norm(q - fr3.home)
    for _ in range(400):
        q = q + joint_velocity(fr3, q, np.zeros(6)) * 0.02
    np.testing.assert_allclose(fr3.tcp(q), fr3.tcp(fr3.home), atol=2e-3)
    assert np.linalg.norm(q - fr3.home) < 0.1 * before


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), speed=st.floats(0, 2))
def test_no_joint_is_ever_too_fast(arm, joints_within, seed, speed):
    model = arm("fr3")[1]
    q = joints_within(model, 1, seed)[0]
    if seed % 2:  # stretched out, and the wrist in line: singular
        q[3], q[5] = model.high[3], model.low[5]
    twist = speed * np.random.default_rng(seed).uniform(-1, 1, 6)
    velocity = joint_velocity(model, q, twist)
    assert np.isfinite(velocity).all()
    assert (np.abs(velocity) <= model.velocity * (1 + 1e-12)).all()


@pytest.mark.parametrize("direction", [[1, 0, 0], [0, 0, 1], [0, 1, 0], [1, 1, 1]])
def test_towards_a_singular_pose_it_slows_and_never_jumps(fr3, direction):
    twist = np.concatenate([0.2 * np.array(direction) / np.linalg.norm(direction), np.zeros(3)])
    q, step_s, least = fr3.home, 0.01, np.inf
    last = joint_velocity(fr3, q, twist)
    for _ in range(400):
        velocity = joint_velocity(fr3, q, twist)
        assert np.abs(velocity - last).max() < 10 * step_s  # the arm's acceleration limit, rad/s^2
        assert np.linalg.norm((fr3.jacobian(q) @ velocity)[:3]) < 0.2 * 1.05
        q, last = np.clip(q + velocity * step_s, fr3.low, fr3.high), velocity
        least = min(least, np.linalg.svd(fr3.jacobian(q), compute_uv=False)[-1])
    assert least < 0.1  # it has been where damping is at work
