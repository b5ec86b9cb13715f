# SPDX-License-Identifier: Apache-2.0
"""Laws of the simulated set-up: one seed is one world, and the arm goes where it is told."""

import numpy as np
import pytest

from uwm_core.errors import UnknownNameError, UwmError
from uwm_core.sim import fr3, kinematics, mjcf
from uwm_core.sim.scene import CUBE_HIGH, CUBE_LOW, STEP_NS, Scene
from uwm_core.sim.task import HOLD_NS, LIFT_M, LIMIT_NS, LiftTask


def wave(scene, steps=100):
    """Move a little, the same way every time."""
    start = scene.joint_pos
    for i in range(steps):
        scene.set_joint_target(start + 0.2 * i / steps, np.full(7, 0.2 / (steps * 0.002)))
        scene.set_gripper_target(0.03)
        scene.step()


def test_same_seed_gives_byte_equal_pictures_and_physics(scene):
    seen = []
    for _ in range(2):
        scene.reset(11)
        wave(scene)
        seen.append((scene.render("front"), scene.render("wrist"), scene.cube_pose))
    for one, two in zip(*seen, strict=True):
        assert one.tobytes() == two.tobytes()


def test_other_seed_gives_another_scene(scene):
    scene.reset(1)
    one, cube = scene.render("front"), scene.cube_pose
    scene.reset(2)
    assert np.abs(scene.cube_pose - cube).max() > 0.005
    assert (scene.render("front") != one).any()


def test_reset_puts_cube_and_arm_where_the_task_says(scene):
    for seed in range(200):
        scene.reset(seed)
        cube = scene.cube_pose
        yaw = 2 * np.arctan2(cube[6], cube[3])
        at = (cube[0], cube[1], yaw)
        assert all(low <= v <= high for low, v, high in zip(CUBE_LOW, at, CUBE_HIGH, strict=True))
        assert np.abs(scene.joint_pos - fr3.HOME_RAD).max() <= 0.0401
        assert scene.gripper_width == pytest.approx(0.08)


def red_pixels(picture):
    """How much of the cube is to be seen: nothing else is that red."""
    red, green, blue = np.moveaxis(picture.astype(int), -1, 0)
    return int(((red > 120) & (green < 100) & (blue < 90)).sum())


def test_front_camera_sees_the_cube_wherever_it_lies(scene):
    for seed in range(20):
        scene.reset(seed)
        assert red_pixels(scene.render("front")) >= 8, seed


def test_wrist_camera_sees_the_cube_below_the_hand(scene):
    for seed in range(5):
        scene.reset(seed)
        pose = np.eye(4)
        pose[:3, :3] = kinematics.downward(0.0)
        pose[:3, 3] = scene.cube_pose[:3] + np.array([0, 0, 0.1])
        goal = kinematics.inverse(pose, np.array(fr3.HOME_RAD))
        start = scene.joint_pos
        for i in range(600):
            scene.set_joint_target(start + (goal - start) * min(i / 400, 1), np.zeros(7))
            scene.step()
        assert red_pixels(scene.render("wrist")) >= 100, seed


def test_unknown_camera_is_refused_by_name(scene):
    with pytest.raises(UnknownNameError, match=r"fromt.*Did you mean 'front'"):
        scene.render("fromt")


def test_arm_follows_a_moving_set_point_closely(scene):
    scene.reset(0)
    start = scene.joint_pos
    for i in range(500):
        t = i * 0.002
        target = start + 0.3 * (1 - np.cos(np.pi * t)) / 2
        scene.set_joint_target(target, np.full(7, 0.3 * np.pi / 2 * np.sin(np.pi * t)))
        scene.step()
    assert np.abs(scene.joint_pos - (start + 0.3)).max() < 0.005


def test_arm_does_not_sag(scene):
    scene.reset(0)
    start = scene.joint_pos
    for _ in range(500):
        scene.step()
    assert np.abs(scene.joint_pos - start).max() < 1e-3


def test_gripper_moves_no_faster_than_the_franka_hand(scene):
    scene.reset(0)
    scene.set_gripper_target(0.0)
    widths = []
    for _ in range(250):
        scene.step()
        widths.append(scene.gripper_width)
    assert np.abs(np.diff(widths)).max() / 0.002 < fr3.GRIPPER_SPEED_M_S * 1.5
    assert widths[-1] < 0.002


def test_time_is_counted_in_steps(scene):
    scene.reset(0)
    for _ in range(10):
        scene.step()
    assert scene.time_ns == 10 * STEP_NS


def test_picture_shows_the_state_after_the_last_step(scene):
    scene.reset(0)
    wave(scene, 50)
    fresh = scene.render("wrist")
    assert fresh.tobytes() == scene.render("wrist").tobytes()
    np.testing.assert_allclose(scene.ee_pose, kinematics.tcp_pose(scene.joint_pos), atol=1e-9)


def judged(heights_m, step_ns=100_000_000):
    task = LiftTask()
    for i, height in enumerate(heights_m):
        task.update(i * step_ns, height + mjcf.CUBE_HALF_M)
    return task


def test_cube_held_for_a_second_is_a_success():
    assert judged([0.0] * 5 + [LIFT_M + 0.01] * 11).success
    assert not judged([0.0] * 5 + [LIFT_M + 0.01] * 10).success


def test_a_dip_begins_the_second_anew():
    task = judged([0.15] * 9 + [0.05] + [0.15] * 9)
    assert not task.success and task.held_ns < HOLD_NS


def test_success_stays_and_lateness_does_not_count():
    assert judged([0.15] * 11 + [0.0] * 5).success
    late = judged([0.0] * (LIMIT_NS // 100_000_000 - 5) + [0.15] * 20)
    assert late.over and not late.success


def test_further_cameras_have_a_view_each_and_there_is_an_end_to_them():
    names = [*mjcf.CAMERAS, *(f"extra_{i}" for i in range(len(mjcf.VIEWS)))]
    scene = Scene((48, 64), cameras=names)
    for name in names:
        assert red_pixels(scene.render(name)) > 0, name
    assert len({scene.render(name).tobytes() for name in names}) == len(names)
    scene.close()
    with pytest.raises(UwmError, match="and 5 more cameras, not 6 more"):
        mjcf.scene_xml([*names, "one_too_many"])


def test_a_blocked_arm_pushes_and_does_not_move_until_it_is_free(scene):
    scene.reset(0)
    start = scene.joint_pos
    scene.block(True)
    for i in range(300):
        scene.set_joint_target(start + 0.3 * min(1, i / 150), np.zeros(7))
        scene.step()
    assert np.abs(scene.joint_pos - start).max() < 1e-3
    assert np.abs(scene.joint_effort).max() > 50
    scene.block(False)
    for _ in range(500):
        scene.step()
    np.testing.assert_allclose(scene.joint_pos, start + 0.3, atol=1e-3)
