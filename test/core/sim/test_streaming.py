# SPDX-License-Identifier: Apache-2.0
"""Laws of streaming controllers and of the hand; closed forms and the jacobian are the oracle."""

import dataclasses

import numpy as np
import pytest

from uwm_core.embodiment import Embodiment
from uwm_core.sim import fr3, hand, kinematics
from uwm_core.sim.controller import Rejected
from uwm_core.sim.streaming import PoseStream, PositionStream, TwistStream, VelocityStream

MS = 1_000_000
NOW = 1_700_000_000_000 * MS
HOME = np.array(fr3.HOME_RAD)
STEP = 2 * MS


def steps(start_ns, length_ns):
    return range(start_ns, start_ns + length_ns, STEP)


def test_streamed_targets_are_followed_one_period_later_without_a_jump():
    arm = PositionStream(HOME)
    path = [HOME + 0.2 * (1 - np.cos(0.02 * k)) for k in range(200)]
    before = HOME
    for k, target in enumerate(path):
        arm.aim(target, NOW + k * 10 * MS)
        for now in steps(NOW + k * 10 * MS, 10 * MS):
            position, _ = arm.sample(now)
            assert (np.abs(position - before) <= np.array(fr3.VELOCITY_LIMITS_RAD_S) * 0.0021).all()
            before = position
        if k > 20:
            np.testing.assert_allclose(position, target, atol=0.005)
    assert not arm.ended(NOW + 199 * 10 * MS + 400 * MS)
    assert arm.ended(NOW + 199 * 10 * MS + 600 * MS)
    still, velocity = arm.sample(NOW + 10_000 * MS)
    assert still.tolist() == path[-1].tolist() and not velocity.any()


def test_a_far_target_is_reached_no_faster_than_the_arm_can():
    arm = PositionStream(HOME)
    arm.aim(HOME + np.eye(7)[0], NOW)
    arrival_ns = round(1e9 / fr3.VELOCITY_LIMITS_RAD_S[0])
    assert arm.sample(NOW + arrival_ns // 2)[0][0] == pytest.approx(HOME[0] + 0.5, abs=1e-3)
    assert arm.sample(NOW + arrival_ns + MS)[0][0] == HOME[0] + 1


def test_velocity_is_kept_until_it_is_too_old_and_never_beyond_the_limits():
    arm = VelocityStream(HOME)
    wanted = np.linspace(-0.3, 0.3, 7)
    arm.sample(NOW)
    arm.drive(wanted, NOW)
    for now in steps(NOW + STEP, 90 * MS):
        _, velocity = arm.sample(now)
    np.testing.assert_allclose(velocity, wanted)
    for now in steps(NOW + 90 * MS, 200 * MS):
        _, velocity = arm.sample(now)
    assert not velocity.any() and arm.ended(NOW + 290 * MS)
    arm.hold(HOME)
    for now in steps(NOW, 8000 * MS):
        if now % (10 * MS) == 0:
            arm.drive(np.full(7, 100.0), now)
        position, velocity = arm.sample(now)
        assert (np.abs(velocity) <= np.array(fr3.VELOCITY_LIMITS_RAD_S) + 1e-9).all()
    assert (position <= fr3.position_limits_rad()[:, 1]).all()


def test_twist_moves_the_hand_along_it():
    arm, twist = TwistStream(HOME, HOME), np.array([0.1, 0.05, -0.02, 0.0, 0.1, 0.2])
    start = kinematics.tcp_pose(HOME)
    arm.sample(NOW)
    for now in steps(NOW + STEP, 1000 * MS):
        if now % (10 * MS) == 0:
            arm.move(twist, now)
        position, velocity = arm.sample(now)
    tcp, jacobian = kinematics.jacobian(position)
    np.testing.assert_allclose(jacobian @ velocity, twist, atol=0.005)
    np.testing.assert_allclose(tcp[:3, 3] - start[:3, 3], twist[:3], atol=0.005)
    turn = kinematics.rotation_error(tcp[:3, :3], start[:3, :3])
    np.testing.assert_allclose(turn, twist[3:], atol=0.01)


def test_pose_is_reached_or_refused():
    arm, pose = PoseStream(HOME), kinematics.tcp_pose(HOME)
    pose[:3, 3] += 0.03, -0.02, 0.01
    arm.reach(pose, NOW)
    position, _ = arm.sample(NOW + 1000 * MS)
    np.testing.assert_allclose(kinematics.tcp_pose(position), pose, atol=1e-3)
    pose[:3, 3] = 3.0, 0.0, 0.0
    with pytest.raises(Rejected, match=r"no joint angles reach the pose at 3\.000"):
        arm.reach(pose, NOW + 1000 * MS)
    assert arm.sample(NOW + 2000 * MS)[0].tolist() == position.tolist()


@pytest.mark.parametrize("frame", ["fr3_hand_tcp", "fr3_hand", "panda_link8", "panda_robotiq_tcp"])
def test_tool_frames_lie_on_the_axis_of_the_hand(frame):
    tip = kinematics.tip_in(frame)
    np.testing.assert_allclose(tip[:3, :3].T @ tip[:3, :3], np.eye(3), atol=1e-12)
    assert not tip[:2, 3].any()


def gripper(**changes):
    spec = Embodiment.load("droid").action["gripper_target"]
    return dataclasses.replace(spec, **changes)


@pytest.mark.parametrize("width_m", [0.0, 0.02, 0.08])
def test_width_survives_the_way_through_every_unit(width_m):
    for spec in (gripper(), gripper(unit="m")):
        assert hand.width_of(hand.value_of(width_m, spec), spec) == pytest.approx(width_m)
    assert hand.value_of(0.0, gripper()) == 1.0 and hand.value_of(0.08, gripper()) == 0.0
    switch = gripper(open_above=0.5)
    assert hand.width_of(1.0, switch) == 0.08 and hand.width_of(0.0, switch) == 0.0


def ends(motion, widths):
    return next((end for end in map(motion.look, widths) if end is not None), None)


def test_a_move_ends_at_its_width_and_a_grasp_at_what_it_holds():
    closing = [0.08 - 0.001 * k for k in range(81)]
    blocked = [*closing[:40], *[0.04] * 60]
    assert ends(hand.HandMotion(0.0), closing) is True
    assert ends(hand.HandMotion(0.0), blocked) is False
    assert ends(hand.HandMotion(0.035, (0.01, 0.01)), blocked) is True
    assert ends(hand.HandMotion(0.0, (0.01, 0.01)), blocked) is False
    assert ends(hand.HandMotion(0.0), closing[:30]) is None
