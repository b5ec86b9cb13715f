# SPDX-License-Identifier: Apache-2.0
"""Laws of replay, on a real graph: what was recorded in simulation happens again in simulation."""

import dataclasses
import json
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("rclpy")
pytest.importorskip("uwm_ros.msg")

from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import JointState
from std_msgs.msg import String
from std_srvs.srv import Trigger
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from uwm_core.data.messages import header_ns, vector
from uwm_core.data.store import EpisodeRecord, StoreWriter
from uwm_core.embodiment import Embodiment
from uwm_core.records import Step
from uwm_ros.bridge.clock import to_duration, to_stamp
from uwm_ros.bringup import Bringup
from uwm_ros.description import ReplayOptions, SimOptions, replay_stack, sim_stack
from uwm_ros.msg import ExecutorStatus
from uwm_ros.srv import ResetSim

FR3 = Embodiment.load("fr3_sim")
HOME = np.array(FR3.home_rad)
JOINTS, ARM = FR3.state["joint_pos"], FR3.action["joint_target"]
SECONDS = 3.0
# A controller lags behind its plan, and by another time when it is fed otherwise.
TOLERANCE_RAD = 0.03


def wanted(moments_s):
    """A motion that begins and ends at rest: (n, J) rad."""
    share = (1 - np.cos(np.pi * np.clip(moments_s / SECONDS, 0, 1))) / 2
    return HOME + np.outer(share, [0.3, 0.2, -0.2, 0.25, 0.2, 0.15, -0.4])


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """A simulated arm, patient about ages: a loaded machine is slow."""
    state = {key: dataclasses.replace(spec, max_age_s=2.0) for key, spec in FR3.state.items()}
    safety = dataclasses.replace(FR3.safety, max_observation_age_s=2.0, max_chunk_age_s=4.0)
    embodiment = dataclasses.replace(FR3, state=state, safety=safety)
    folder = tmp_path_factory.mktemp("replay")
    spec = folder / "patient.yaml"
    spec.write_text(embodiment.to_yaml())
    options = SimOptions(embodiment=str(spec), image_height=32, image_width=32)
    with Bringup(sim_stack(options), folder / "log"):
        yield SimpleNamespace(folder=folder, spec=str(spec), embodiment=embodiment)


def reset(graph, joints):
    graph.wait(lambda: joints, "the simulated arm")
    assert graph.call(ResetSim, "sim/reset", ResetSim.Request(seed=2)).success
    graph.wait(lambda: np.abs(vector(joints[-1], JOINTS) - HOME).max() < 0.05, "home")


def recorded(graph, lab, joints):
    """Drive the simulated arm as a leader arm would, and keep what happened as an episode."""
    reset(graph, joints)
    sender = graph.node.create_publisher(JointTrajectory, ARM.command_topic, 10)
    graph.connected(sender)
    start_ns = graph.node.get_clock().now().nanoseconds + 300_000_000
    times_s = np.arange(0, SECONDS + 0.05, 0.1)
    message = JointTrajectory(joint_names=list(ARM.names))
    message.header.stamp = to_stamp(start_ns)
    speed = np.gradient(wanted(times_s), times_s, axis=0)
    speed[[0, -1]] = 0
    message.points = [
        JointTrajectoryPoint(
            positions=p.tolist(), velocities=v.tolist(), time_from_start=to_duration(int(t * 1e9))
        )
        for t, p, v in zip(times_s, wanted(times_s), speed, strict=True)
    ]
    sender.publish(message)
    end_ns = start_ns + int(SECONDS * 1e9)
    graph.wait(lambda: header_ns(joints[-1]) > end_ns, "the motion")
    kept = list(joints)
    graph.node.destroy_publisher(sender)
    stamps_s = np.array([(header_ns(m) - start_ns) / 1e9 for m in kept])
    values = np.array([vector(m, JOINTS) for m in kept])
    path = np.column_stack([np.interp(times_s, stamps_s, column) for column in values.T])
    store = lab.folder / "store.zarr"
    with StoreWriter(store, lab.embodiment, mode="overwrite") as writer:
        for t, reached, target in zip(times_s, path, wanted(times_s), strict=True):
            writer.add(
                Step(
                    stamp_ns=start_ns + round(t * 1e9),
                    images={n: np.zeros((*c.size, 3), np.uint8) for n, c in FR3.cameras.items()},
                    state={
                        "joint_pos": reached.astype(np.float32),
                        "gripper_width": np.full(1, 0.08, np.float32),
                    },
                    action={
                        "joint_target": target.astype(np.float32),
                        "gripper_width": np.full(1, 0.08, np.float32),
                    },
                )
            )
        writer.end_episode(EpisodeRecord(task="swing"))
    return store


def watch_reports(graph):
    reports, profile = [], QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    graph.node.create_subscription(
        String, "replay/report", lambda m: reports.append(json.loads(m.data)), profile
    )
    return reports


def test_an_episode_recorded_in_simulation_happens_again_and_elsewhere_it_is_refused(graph, lab):
    joints = graph.listen(JointState, JOINTS.topic)
    status = graph.listen(ExecutorStatus, "executor/status")
    reports = watch_reports(graph)
    store = recorded(graph, lab, joints)
    options = ReplayOptions(embodiment=lab.spec, store=str(store))

    with Bringup(replay_stack(options), lab.folder / "log") as stack:
        stack.wait_until_alive()
        # The arm stands where the episode ended: too far from its start.
        graph.wait(lambda: graph.call(Trigger, "executor/run").success, "the run")
        graph.wait(lambda: reports, "a report")
        assert reports[-1]["outcome"] == "refused"
        assert "from the start of the episode" in reports[-1]["reason"]
        assert np.abs(vector(joints[-1], JOINTS) - wanted(np.array([SECONDS]))[0]).max() < 0.05

        graph.wait(lambda: status[-1].state == "holding", "the hold after the refusal")
        reset(graph, joints)
        graph.wait(lambda: graph.call(Trigger, "executor/run").success, "the run")
        graph.wait(lambda: len(reports) > 1, "the second report")
        report = reports[-1]
        assert report["outcome"] == "played", report
        assert report["moments"] > 50
        assert report["worst_rad"] < TOLERANCE_RAD, report
        graph.wait(lambda: status[-1].state == "holding", "the hold at the end")
        assert np.abs(vector(joints[-1], JOINTS) - wanted(np.array([SECONDS]))[0]).max() < 0.02
