# SPDX-License-Identifier: Apache-2.0
"""A checkpoint of the published DROID layout drives the simulated arm: every node is the real one.

Its weights are random, its pictures small and its network narrow, but views, window, sampler,
encoder and action are the published ones; its statistics make of any answer a slow way up with a
closing gripper.
"""

import contextlib
import dataclasses
import importlib.util
import os
import signal
import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("rclpy")
pytest.importorskip("uwm_ros.msg")
pytest.importorskip("pinocchio")
# Looked for, not imported: the scene chooses the OpenGL back end before MuJoCo is imported.
if importlib.util.find_spec("mujoco") is None:
    pytest.skip("needs mujoco", allow_module_level=True)

import torch
from geometry_msgs.msg import TwistStamped
from sensor_msgs.msg import JointState
from std_msgs.msg import Float32
from std_srvs.srv import Trigger

from uwm_core.checkpoint import Checkpoint, save_checkpoint
from uwm_core.data.normalize import Affine, Normalizer
from uwm_core.embodiment import Embodiment
from uwm_core.sim.kinematics import tcp_pose
from uwm_core.training.config import fit_preset
from uwm_core.world_model import WorldModel
from uwm_ros.msg import ActionChunk, ExecutorStatus

# vx vy vz (shares of the highest speed), rotation in 6D, gripper: 0 (open) to 1 (closed).
MEAN = np.array([0.0, 0.0, 0.06, 1, 0, 0, 0, 1, 0, 0.9])
SPREAD = np.array([0.01, 0.01, 0.01, *[0.01] * 6, 0.1])


def slow_machine(droid):
    """DROID's embodiment; ages and camera rates are those of a machine that is busy."""
    cameras = {
        name: dataclasses.replace(camera, rate_hz=8.0, max_age_s=2.0)
        for name, camera in droid.cameras.items()
    }
    state = {key: dataclasses.replace(spec, max_age_s=2.0) for key, spec in droid.state.items()}
    safety = dataclasses.replace(
        droid.safety, max_observation_age_s=3.0, max_chunk_age_s=5.0, tracking_tolerance_rad=0.5
    )
    return dataclasses.replace(droid, cameras=cameras, state=state, safety=safety)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Paths of the embodiment and of the checkpoint."""
    folder = tmp_path_factory.mktemp("droid")
    embodiment = slow_machine(Embodiment.load("droid"))
    config = fit_preset("published_droid", embodiment)
    small = dataclasses.replace(config.images, resize=(36, 48), crop=(32, 32))
    config = dataclasses.replace(config, images=small, width=48, depth=2, heads=4, time_width=32)
    assert (config.window.history, config.window.chunk, config.action_size) == (2, 16, 10)
    with torch.random.fork_rng():
        torch.manual_seed(3)
        model = WorldModel(config)
    normalizer = Normalizer(
        Affine(embodiment.action_names, low=MEAN - SPREAD, high=MEAN + SPREAD), None
    )
    checkpoint = Checkpoint(
        config=config, embodiment=embodiment, normalizer=normalizer, weights=model.state_dict()
    )
    (folder / "droid.yaml").write_text(embodiment.to_yaml())
    return folder / "droid.yaml", save_checkpoint(folder / "published", checkpoint)


@contextlib.contextmanager
def running(*nodes):
    """Nodes as processes: (name, parameters) each; all must leave well."""
    processes = []
    for node, parameters in nodes:
        command = [sys.executable, "-m", f"uwm_ros.nodes.{node}", "--ros-args"]
        for name, value in parameters.items():
            command += ["-p", f"{name}:={value}"]
        processes.append(subprocess.Popen(command, env=dict(os.environ)))
    try:
        yield
    finally:
        for process in processes:
            process.send_signal(signal.SIGINT)
        codes = [process.wait(60) for process in processes]
    assert codes == [0] * len(processes)


def test_published_layout_drives_the_arm_through_policy_and_executor(graph, files):
    spec, checkpoint = files
    droid = Embodiment.load(spec)
    joints = graph.listen(JointState, droid.state["joint_pos"].topic)
    gripper = graph.listen(Float32, droid.state["gripper_position"].topic)
    twists = graph.listen(TwistStamped, droid.action["cartesian_velocity"].command_topic)
    chunks = graph.listen(ActionChunk, "policy/action_chunk")
    said = graph.listen(ExecutorStatus, "executor/status")

    def hand():
        message = joints[-1]
        return tcp_pose(
            np.array([message.position[message.name.index(name)] for name in droid.arm_joints])
        )

    with running(
        ("sim_robot", {"embodiment": spec, "image_height": 90, "image_width": 160}),
        ("executor", {"embodiment": spec}),
        ("policy", {"embodiment": spec, "checkpoint": checkpoint, "sample_steps": 2,
                    "autostart": True, "niceness": 0}),
    ):  # fmt: skip
        graph.wait(lambda: chunks and said and joints, "chunks and an arm", timeout_s=120)
        start = hand()
        assert tuple(chunks[-1].names) == droid.action_names
        assert graph.call(Trigger, "executor/run").success
        risen = lambda: goes_on(graph, said) and hand()[2, 3] - start[2, 3] > 0.04  # noqa: E731
        graph.wait(risen, "the way up", timeout_s=150)
        graph.wait(lambda: gripper[-1].data > 0.6, "the gripper to close")
    end = hand()
    assert np.abs(end[:2, 3] - start[:2, 3]).max() < 0.05
    np.testing.assert_allclose(end[:3, :3], start[:3, :3], atol=0.35)
    sizes = [abs(value) for t in twists for value in (t.twist.linear.x, t.twist.linear.z)]
    assert sizes and max(sizes) <= 0.15  # shares of the highest speed, never metres


def goes_on(graph, said):
    """Asks to run again where a busy machine had the executor hold; never after a stop."""
    assert said[-1].state != "stopped", said[-1].reason
    if said[-1].state == "holding":
        graph.call(Trigger, "executor/run")
        said.clear()
        graph.wait(lambda: said, "the executor's status")
    return True
