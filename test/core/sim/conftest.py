# SPDX-License-Identifier: Apache-2.0
"""One scene for all tests of this folder, and a way to play a scripted motion on it."""

import importlib.util

import numpy as np
import pytest

from uwm_core.sim import fr3
from uwm_core.sim.controller import JointTrajectoryController, Point, Trajectory
from uwm_core.sim.motion import Sense
from uwm_core.sim.scene import Scene
from uwm_core.sim.task import LiftTask

TICK_NS = 20_000_000
LEAD_NS = 60_000_000


class Stage:
    """A scene on which scripted motions are played as the teleoperation node plays them."""

    def __init__(self, scene):
        self.scene = scene

    def play(self, seed, motion, until, noise=None, watch=lambda scene: None):
        """Play a motion until `until(task)`; returns the task's judge."""
        scene, task = self.scene, LiftTask()
        scene.reset(seed)
        arm = JointTrajectoryController(fr3.ARM_JOINTS, scene.joint_pos)
        while not until(task):
            now = scene.time_ns
            if now % TICK_NS == 0:
                sense = Sense(now / 1e9, scene.joint_pos, scene.gripper_width, scene.cube_pose)
                command = motion.act(sense)
                sent = noise.disturb(sense, command) if noise else command
                point = Point(LEAD_NS, tuple(sent.joint_rad))
                arm.accept(Trajectory(0, fr3.ARM_JOINTS, (point,)), now)
                scene.set_gripper_target(command.gripper_m)
                watch(scene)
            scene.set_joint_target(*arm.sample(now))
            scene.step()
            task.update(scene.time_ns, scene.cube_height_m)
        assert np.isfinite(scene.joint_pos).all()
        return task


@pytest.fixture(scope="session")
def scene():
    """The scene; tests reset it."""
    # Looked for, not imported: the scene chooses the OpenGL back end before MuJoCo is imported.
    if importlib.util.find_spec("mujoco") is None:
        pytest.skip("needs mujoco")
    scene = Scene((96, 96))
    yield scene
    scene.close()


@pytest.fixture
def stage(scene):
    """A scene to play on."""
    return Stage(scene)
