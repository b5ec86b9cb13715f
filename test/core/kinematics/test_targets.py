# SPDX-License-Identifier: Apache-2.0
"""Laws of the joints that a chunk asks for, of each kind of action."""

import dataclasses

import numpy as np
import pytest

from uwm_core.data.rotations import matrix_of_turn, rotation_6d, turn_of
from uwm_core.errors import UwmError
from uwm_core.kinematics.targets import ReachError, Targets

PERIOD_NS = 100_000_000
STAMP_NS = 1_700_000_000_000_000_000


def with_arm_channel(embodiment, **changes):
    """The embodiment with another channel that moves its arm."""
    action = {
        key: dataclasses.replace(channel, **changes) if embodiment.moves_arm(channel) else channel
        for key, channel in embodiment.action.items()
    }
    return dataclasses.replace(embodiment, action=action)


def chunk_of(targets, actions, start_rad, start_ns=STAMP_NS - 1):
    return targets(np.asarray(actions, float), STAMP_NS, PERIOD_NS, start_ns, start_rad)


@pytest.fixture(params=[None, 0, 1])
def shuffled(request, arm):
    """FR3 with its joints in some order; and that order."""
    embodiment = arm("fr3")[0]
    names = list(embodiment.arm_joints)
    if request.param is not None:
        np.random.default_rng(request.param).shuffle(names)
    return embodiment, tuple(names)


def test_joints_are_taken_by_name(shuffled):
    embodiment, names = shuffled
    targets = Targets(with_arm_channel(embodiment, names=names), None)
    assert targets.columns == names
    actions = np.random.default_rng(0).normal(size=(5, 7))
    dues, joints = chunk_of(targets, actions, np.zeros(7))
    assert dues.tolist() == [STAMP_NS + k * PERIOD_NS for k in range(5)]
    for i, name in enumerate(embodiment.arm_joints):
        np.testing.assert_array_equal(joints[:, i], actions[:, names.index(name)])


def test_only_what_is_due_after_the_start_counts(arm):
    targets = Targets(arm("fr3")[0], None)
    actions = np.arange(35.0).reshape(5, 7)
    start_ns = STAMP_NS + 2 * PERIOD_NS
    dues, joints = chunk_of(targets, actions, np.zeros(7), start_ns)
    assert (dues > start_ns).all() and len(dues) == 2
    np.testing.assert_array_equal(joints, actions[3:])
    dues, joints = chunk_of(targets, actions, np.zeros(7), STAMP_NS + 99 * PERIOD_NS)
    assert dues.shape == (0,) and joints.shape == (0, 7)


@pytest.mark.parametrize("late", [-0.5, 0.0, 0.25, 2.5])
def test_joint_velocities_add_up_from_where_the_arm_is(shuffled, late):
    embodiment, names = shuffled
    changed = with_arm_channel(embodiment, names=names, field="velocity", unit="rad/s")
    targets = Targets(changed, None)
    velocity = np.random.default_rng(1).normal(size=(6, 7))
    start, start_ns = np.arange(7.0), STAMP_NS + int(late * PERIOD_NS)
    dues, joints = chunk_of(targets, velocity, start, start_ns)
    order = [names.index(name) for name in embodiment.arm_joints]

    def reached(moment):  # periods since the stamp: what each action was in force for
        force = np.clip(moment - np.arange(6), 0, 1) - np.clip(late - np.arange(6), 0, 1)
        return start + (force[:, None] * velocity[:, order]).sum(axis=0) * PERIOD_NS / 1e9

    moments = (dues - STAMP_NS) / PERIOD_NS
    assert moments.tolist() == [k for k in range(1, 7) if k > late]
    np.testing.assert_allclose(joints, [reached(m) for m in moments], atol=1e-9)


def test_a_twist_leads_the_hand_along_a_straight_line(arm):
    embodiment, model = arm("fr3_servo")
    twist = np.array([0.1, -0.05, -0.08, 0.0, 0.0, 0.0])
    dues, joints = chunk_of(Targets(embodiment, model), np.tile(twist, (12, 1)), model.home)
    begin = model.tcp(model.home)
    for k, pose in enumerate(model.tcp_path(joints), start=1):
        np.testing.assert_allclose(pose[:3, 3], begin[:3, 3] + twist[:3] * 0.1 * k, atol=1e-4)
        np.testing.assert_allclose(pose[:3, :3], begin[:3, :3], atol=1e-3)
    assert dues[-1] == STAMP_NS + 12 * PERIOD_NS


def test_a_twist_turns_the_hand_about_the_axes_of_the_base(arm):
    embodiment, model = arm("fr3_servo")
    turn = np.array([0.1, -0.2, 0.3])
    actions = np.tile(np.concatenate([np.zeros(3), turn]), (8, 1))
    joints = chunk_of(Targets(embodiment, model), actions, model.home)[1]
    pose, begin = model.tcp(joints[-1]), model.tcp(model.home)
    np.testing.assert_allclose(pose[:3, 3], begin[:3, 3], atol=1e-4)
    np.testing.assert_allclose(pose[:3, :3], matrix_of_turn(turn * 0.8) @ begin[:3, :3], atol=1e-3)


def test_no_twist_leaves_the_hand_where_it_is(arm):
    embodiment, model = arm("fr3_servo")
    joints = chunk_of(Targets(embodiment, model), np.zeros((8, 6)), model.home)[1]
    np.testing.assert_allclose(joints, np.tile(model.home, (8, 1)), atol=1e-12)


def droid_action(linear, euler=(0, 0, 0)):
    x, y, z = (matrix_of_turn(axis * angle) for axis, angle in zip(np.eye(3), euler, strict=True))
    return np.concatenate([linear, rotation_6d(x @ y @ z)])


def test_droid_moves_75_mm_and_015_rad_a_step_of_15_hz_at_full(arm):
    embodiment, model = arm("droid")
    period_ns, targets = 66_666_667, Targets(embodiment, model)
    begin = model.tcp(model.home)

    def moved(action):
        joints = targets(action[None], STAMP_NS, period_ns, STAMP_NS - 1, model.home)[1]
        pose = model.tcp(joints[0])
        return pose[:3, 3] - begin[:3, 3], turn_of(pose[:3, :3] @ begin[:3, :3].T)

    place, turn = moved(droid_action([0, 0.5, -0.4]))
    np.testing.assert_allclose(place, [0, 0.5 * 0.075, -0.4 * 0.075], atol=5e-4)
    np.testing.assert_allclose(turn, 0, atol=5e-3)
    place, turn = moved(droid_action([0, 0, 0], [0, 0, 1.0]))
    np.testing.assert_allclose(place, 0, atol=1e-3)
    np.testing.assert_allclose(turn, [0, 0, 0.15], atol=2e-3)
    # A diagonal is no faster than an axis: its length is cut to 1, its direction is kept.
    diagonal = moved(droid_action([0, 1.0, 1.0], [0, 0.8, 1.6]))
    cut = moved(droid_action([0, *np.sqrt([0.5, 0.5])], [0, *np.array([0.8, 1.6]) / np.sqrt(3.2)]))
    np.testing.assert_allclose(diagonal, cut, atol=1e-9)


def test_poses_are_reached_along_a_line(arm):
    base, model = arm("fr3_vr")
    embodiment = with_arm_channel(base, relative_to="")
    begin = model.tcp(model.home)
    poses = []
    for k in range(12):
        place = begin[:3, 3] + np.array([0.01, 0.015, -0.01]) * (k + 1)
        turn = matrix_of_turn(np.array([0, 0, 0.03 * (k + 1)])) @ begin[:3, :3]
        poses.append(np.concatenate([place, rotation_6d(turn)]))
    dues, joints = chunk_of(Targets(embodiment, model), poses, model.home)
    assert len(dues) == 12
    for row, pose in zip(poses, model.tcp_path(joints), strict=True):
        np.testing.assert_allclose(pose[:3, 3], row[:3], atol=3e-5)
        np.testing.assert_allclose(rotation_6d(pose[:3, :3]), row[3:], atol=2e-4)
    steps = np.diff(np.vstack([model.home, joints]), axis=0)
    assert np.abs(steps).max() < 0.15  # none jumps to another way to stand
    assert np.abs(np.diff(steps[1:], axis=0)).max() < 0.02


def test_a_pose_out_of_reach_is_named(arm):
    base, model = arm("fr3_vr")
    targets = Targets(with_arm_channel(base, relative_to=""), model)
    pose = np.concatenate(
        [model.tcp(model.home)[:3, 3], rotation_6d(model.tcp(model.home)[:3, :3])]
    )
    far = pose.copy()
    far[0] = 1.5
    with pytest.raises(ReachError, match=r"pose 1 at 1\.500 .* m is out of the arm's reach"):
        chunk_of(targets, [pose, far, pose], model.home)


@pytest.mark.parametrize("name", ["fr3_servo", "fr3_spacemouse", "droid"])
def test_wild_twists_stay_finite_slow_and_within_the_limits(arm, name):
    embodiment, model = arm(name)
    targets, random = Targets(embodiment, model), np.random.default_rng(3)
    for size in (0.5, 5.0, 1e6):
        actions = random.normal(size=(30, len(targets.columns))) * size
        joints = chunk_of(targets, actions, model.home)[1]
        steps = np.diff(np.vstack([model.home, joints]), axis=0)
        assert (np.abs(steps) <= model.velocity * PERIOD_NS / 1e9 * (1 + 1e-9)).all()
        assert (joints >= model.low).all() and (joints <= model.high).all()


def test_an_arm_beyond_a_limit_comes_back_without_a_jump_and_goes_no_further(arm):
    embodiment, model = arm("fr3_servo")
    start = model.home.copy()
    start[3] = model.low[3] - 0.05
    for z in (0.1, -0.1, 0.0):
        actions = np.tile([z, 0, z, 0, 0, 0.0], (8, 1))
        joints = chunk_of(Targets(embodiment, model), actions, start)[1]
        steps = np.diff(np.vstack([start, joints]), axis=0)
        assert (np.abs(steps) <= model.velocity * PERIOD_NS / 1e9 * (1 + 1e-9)).all()
        assert (joints[:, 3] >= start[3] - 1e-12).all()


def test_half_a_chunk_is_the_second_half_of_the_whole(arm):
    embodiment, model = arm("fr3_servo")
    targets = Targets(embodiment, model)
    actions = np.random.default_rng(4).uniform(-0.1, 0.1, (10, 6))
    dues, whole = chunk_of(targets, actions, model.home)
    rest_dues, rest = chunk_of(targets, actions, whole[3], start_ns=int(dues[3]))
    np.testing.assert_array_equal(rest_dues, dues[4:])
    np.testing.assert_allclose(rest, whole[4:], atol=1e-12)


def test_what_cannot_be_turned_into_joints_is_refused_by_name(arm):
    fr3, droid = arm("fr3")[0], arm("droid")[0]
    with pytest.raises(UwmError, match="fr3_servo need its kinematics"):
        Targets(arm("fr3_servo")[0], None)
    with pytest.raises(UwmError, match="droid is unitless: give max_linear_m_s"):
        Targets(with_arm_channel(droid, max_linear_m_s=0.0), arm("droid")[1])
    fewer = with_arm_channel(fr3, names=fr3.arm_joints[:-1])
    with pytest.raises(UwmError, match="do not move fr3_joint7"):
        Targets(fewer, None)
    still = {k: c for k, c in fr3.action.items() if not fr3.moves_arm(c)}
    with pytest.raises(UwmError, match="fr3 has no action that moves the arm"):
        Targets(dataclasses.replace(fr3, action=still), None)
    channel = next(c for c in fr3.action.values() if fr3.moves_arm(c))
    two = {
        "one": dataclasses.replace(channel, names=fr3.arm_joints[:4]),
        "other": dataclasses.replace(
            channel, names=fr3.arm_joints[4:], field="velocity", unit="rad/s"
        ),
    }
    with pytest.raises(UwmError, match="actions one, other of embodiment fr3 all move the arm"):
        Targets(dataclasses.replace(fr3, action=two), None)
