# SPDX-License-Identifier: Apache-2.0
"""Laws of the policy node, with a real (tiny, untrained) checkpoint on a real graph."""

import os
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

pytest.importorskip("rclpy")
pytest.importorskip("uwm_ros.msg")

from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState

from uwm_core.policy import Policy
from uwm_ros.bridge.chunks import to_chunk
from uwm_ros.msg import ActionChunk, PolicyStatus
from uwm_ros.nodes.policy import PolicyNode

DRIVE = {"replan_s": 0.1, "sample_steps": 2, "seed": 5}


class Seat:
    """Watches a policy node."""

    def __init__(self, graph, robot):
        self.graph, self.robot = graph, robot
        self.chunks = graph.listen(ActionChunk, "policy/action_chunk")
        self.status = graph.listen(PolicyStatus, "policy/status")
        self.diagnostics = graph.listen(DiagnosticArray, "/diagnostics")

    def add(self, tiny, load=None, **parameters):
        settings = {"embodiment": tiny.spec, "checkpoint": tiny.checkpoint, **DRIVE, **parameters}
        arguments = () if load is None else (load,)
        return self.graph.add(PolicyNode, *arguments, parameters=settings)

    def change(self, transition):
        request = ChangeState.Request(transition=Transition(id=transition))
        return self.graph.call(ChangeState, "policy/change_state", request).success

    def state(self):
        return self.graph.call(GetState, "policy/get_state").current_state.label

    def more_chunks(self, count=1):
        wanted = len(self.chunks) + count
        self.graph.wait(lambda: len(self.chunks) >= wanted, "chunks")


@pytest.fixture
def robot(graph, still_robot, tiny):
    return still_robot(graph, tiny.embodiment)


@pytest.fixture
def seat(graph, robot):
    return Seat(graph, robot)


def test_chunk_is_the_checkpoints_answer_to_the_observation_of_its_stamp(seat, tiny):
    seat.add(tiny, autostart=True)
    seat.more_chunks(3)
    oracle = Policy.load(tiny.checkpoint, sample_steps=DRIVE["sample_steps"])
    for message in seat.chunks[:3]:
        chunk = to_chunk(message)
        seed = DRIVE["seed"] + message.sequence - 1
        answer = oracle.act(seat.robot.observation(chunk.stamp_ns), seed=seed)
        assert chunk.names == answer.names == tiny.embodiment.action_names
        assert chunk.period_ns == answer.period_ns
        np.testing.assert_allclose(chunk.actions, answer.actions, atol=1e-5)
        assert (message.checkpoint, message.embodiment) == ("tiny", "fr3_sim")
        assert message.inference_s > 0
    stamps = [to_chunk(message).stamp_ns for message in seat.chunks]
    assert stamps == sorted(set(stamps))


def test_nothing_is_planned_unless_active(seat, tiny):
    seat.add(tiny)
    assert seat.state() == "unconfigured"
    assert seat.change(Transition.TRANSITION_CONFIGURE)
    seat.graph.wait(lambda: seat.status and seat.status[-1].state == "inactive", "status")
    assert seat.chunks == []
    assert seat.change(Transition.TRANSITION_ACTIVATE)
    seat.more_chunks(2)
    assert seat.change(Transition.TRANSITION_DEACTIVATE)
    assert seat.state() == "inactive"
    seat.status.clear()
    before = len(seat.chunks)
    seat.graph.wait(lambda: len(seat.status) > 1, "status")
    assert len(seat.chunks) <= before + 1
    assert seat.change(Transition.TRANSITION_ACTIVATE)
    seat.more_chunks()
    assert seat.change(Transition.TRANSITION_DEACTIVATE)
    assert seat.change(Transition.TRANSITION_CLEANUP)
    assert seat.state() == "unconfigured"


def test_silent_camera_stops_the_chunks_and_is_named_until_it_comes_again(seat, tiny):
    seat.robot.silent.add("camera/wrist")
    seat.add(tiny, autostart=True)
    seat.graph.wait(
        lambda: seat.status and "wrist/color/image_raw" in seat.status[-1].reason, "the reason"
    )
    assert seat.chunks == []

    def said():
        return [status.message for array in seat.diagnostics for status in array.status]

    seat.graph.wait(lambda: any("wrist" in text for text in said()), "diagnostics")
    seat.robot.silent.clear()
    seat.more_chunks()
    seat.graph.wait(lambda: seat.status and seat.status[-1].reason == "", "no reason")
    seat.robot.silent.add("state/joint_pos")
    seat.graph.wait(
        lambda: seat.status and "franka/joint_states" in seat.status[-1].reason, "the reason"
    )
    before = len(seat.chunks)
    seat.status.clear()
    seat.graph.wait(lambda: len(seat.status) > 1, "status")
    assert len(seat.chunks) == before


def test_slow_inference_never_holds_up_the_callbacks(seat, tiny):
    begun, go = [], threading.Event()

    class SlowPolicy(Policy):
        def act(self, observation, *args, **options):
            if observation.stamp_ns:  # the warm-up is not slow
                begun.append(time.perf_counter())
                assert go.wait(60)
            return super().act(observation, *args, **options)

    def load(options):
        return SlowPolicy.load(options.checkpoint, sample_steps=options.sample_steps)

    seat.add(tiny, load, autostart=True)
    seat.graph.wait(lambda: begun, "inference")
    seat.status.clear()
    seat.graph.wait(lambda: len(seat.status) > 6, "status while inference runs")
    assert seat.chunks == []
    lasted_s = time.perf_counter() - begun[0]
    go.set()
    seat.more_chunks()
    assert seat.chunks[0].inference_s >= lasted_s


def test_failing_model_is_a_reason_and_no_end(seat, tiny):
    broken = threading.Event()

    class BrokenPolicy(Policy):
        def act(self, observation, *args, **options):
            if broken.is_set():
                raise RuntimeError("out of memory")
            return super().act(observation, *args, **options)

    def load(options):
        return BrokenPolicy.load(options.checkpoint, sample_steps=options.sample_steps)

    seat.add(tiny, load, autostart=True)
    seat.more_chunks()
    broken.set()
    seat.graph.wait(lambda: seat.status and "out of memory" in seat.status[-1].reason, "the reason")
    broken.clear()
    seat.more_chunks()


def test_checkpoint_of_another_embodiment_is_not_configured(seat, tiny):
    seat.add(tiny, embodiment="fr3_sim")
    assert not seat.change(Transition.TRANSITION_CONFIGURE)
    assert seat.state() == "unconfigured"
    seat.graph.wait(lambda: seat.status and seat.status[-1].reason, "the reason")
    assert "camera front: 24x24" in seat.status[-1].reason


@pytest.mark.parametrize("node", ["policy", "imagination"])
def test_process_with_a_foreign_checkpoint_ends_with_one_line(node, tiny):
    result = subprocess.run(
        [
            *(sys.executable, "-m", f"uwm_ros.nodes.{node}", "--ros-args"),
            *("-p", f"checkpoint:={tiny.checkpoint}", "-p", "autostart:=true"),
        ],
        capture_output=True,
        text=True,
        env=dict(os.environ),
        check=False,
    )
    assert result.returncode == 2, result.stderr
    assert "another embodiment: camera front" in result.stderr
    assert "Traceback" not in result.stderr
