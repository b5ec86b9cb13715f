# SPDX-License-Identifier: Apache-2.0
"""Laws of the scripted motions, played on the simulated arm.

A grasp near the arm's base once stalled for ever: the drift towards the resting posture leaked into
the hand's motion through the damping. `test_kinematics` pins that it does not; seed 1022 lifts.
"""

import numpy as np
import pytest

from uwm_core.sim import fr3, kinematics
from uwm_core.sim.expert import LiftExpert
from uwm_core.sim.motion import Command, Sense, grasp_yaw, yaw_of
from uwm_core.sim.noise import NoiseConfig, SmoothNoise
from uwm_core.sim.play import PlayMotion

HOME = np.array(fr3.HOME_RAD)
CUBE = np.array([0.5, 0.1, 0.02, 1.0, 0, 0, 0])


@pytest.mark.parametrize("seed", [0, 1, 2, 1022])
def test_expert_lifts_the_cube(stage, seed):
    task = stage.play(seed, LiftExpert(seed), until=lambda task: task.over)
    assert task.success and task.success_ns < 5e9


@pytest.mark.parametrize("seed", [0, 1, 2, 1022])
def test_expert_lifts_the_cube_against_noise(stage, seed):
    noise = SmoothNoise(seed)
    task = stage.play(seed, LiftExpert(seed), until=lambda task: task.over, noise=noise)
    assert task.success and task.success_ns < 8e9


@pytest.mark.slow
def test_expert_lifts_the_cube_from_every_one_of_a_hundred_seeds(stage):
    for seed in range(3000, 3100):
        noise = SmoothNoise(seed)
        task = stage.play(seed, LiftExpert(seed), until=lambda task: task.over, noise=noise)
        assert task.success, seed


@pytest.mark.parametrize("seed", range(3))
def test_play_stays_within_limits_and_above_the_table(stage, seed):
    low, high = fr3.position_limits_rad().T
    fastest = np.array(fr3.VELOCITY_LIMITS_RAD_S)
    motion = PlayMotion(seed)

    def watch(scene):
        assert (scene.joint_pos > low).all() and (scene.joint_pos < high).all()
        assert (np.abs(scene.joint_vel) < fastest).all()
        assert scene.ee_pose[2, 3] > 0.005  # finger tips end 9 mm below it, and may touch

    task = stage.play(seed, motion, until=lambda task: motion.finished, watch=watch)
    assert 6e9 <= task.elapsed_ns <= 10.1e9


def test_play_moves_the_cube_in_most_episodes(stage, scene):
    moved = 0
    for seed in range(4):
        motion = PlayMotion(seed)
        scene.reset(seed)
        before = scene.cube_pose[:3]
        stage.play(seed, motion, until=lambda task, motion=motion: motion.finished)
        moved += np.linalg.norm(scene.cube_pose[:3] - before) > 0.01
    assert moved >= 3


@pytest.mark.parametrize("kind", [LiftExpert, PlayMotion])
def test_motion_repeats_itself_for_the_same_seed(kind):
    one, two = kind(4), kind(4)
    for i in range(50):
        sense = Sense(i * 0.02, HOME, 0.08, CUBE)
        np.testing.assert_array_equal(one.act(sense).joint_rad, two.act(sense).joint_rad)


def test_noise_carries_the_hand_off_by_about_its_size():
    config = NoiseConfig(size_m=0.015)
    offsets = []
    for seed in range(11):
        noise, q = SmoothNoise(seed, config), HOME.copy()
        for i in range(100):  # nobody corrects: what is left after 2 s is the sum of the gusts
            sense = Sense(i * 0.02, q, 0.08, CUBE)
            sent = noise.disturb(sense, Command(q, 0.08))
            q = q + (sent.joint_rad - q) * 0.02 / config.lead_s
        moved = kinematics.tcp_pose(q)[:3, 3] - kinematics.tcp_pose(HOME)[:3, 3]
        offsets.append(np.linalg.norm(moved))
    assert 0.005 < np.median(offsets) < 0.05


def test_noise_does_not_touch_the_label():
    command = Command(HOME.copy(), 0.08)
    noise = SmoothNoise(0)
    for i in range(100):
        noise.disturb(Sense(i * 0.02, HOME, 0.08, CUBE), command)
    np.testing.assert_array_equal(command.joint_rad, HOME)


@pytest.mark.parametrize("yaw", [-0.5, 0.0, 0.5, 1.2, 3.0])
def test_grasp_yaw_fits_the_cube_with_the_smallest_turn(yaw):
    turn = grasp_yaw(yaw)
    assert abs(turn) <= np.pi / 4 + 1e-9
    assert np.sin(2 * (turn - yaw)) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("yaw", [-3.0, -0.5, 0.0, 0.5, 3.0])
def test_yaw_of_a_turn_about_the_vertical_is_that_turn(yaw):
    quaternion = np.array([np.cos(yaw / 2), 0, 0, np.sin(yaw / 2)])
    assert yaw_of(quaternion) == pytest.approx(yaw)
