# SPDX-License-Identifier: Apache-2.0
"""Laws of what the executor watches and of who may drive, on a real graph."""

import dataclasses
import itertools

import numpy as np
import pytest

pytest.importorskip("rclpy")
pytest.importorskip("uwm_ros.msg")

from rclpy.parameter import Parameter
from sensor_msgs.msg import JointState, Joy
from std_msgs.msg import Empty
from std_srvs.srv import SetBool

from uwm_core.streams import JOINT_STATE
from uwm_ros.bridge.clock import to_ns
from uwm_ros.msg import ActionChunk as ActionChunkMessage
from uwm_ros.msg import ChunkTiming, PolicyStatus


def keep_running(bench, rate_rad_s=0.0):
    """A policy: chunks ten times a second, each from where the arm is."""

    def say():
        steps = np.arange(12)[:, None] * bench.embodiment.period_ns / 1e9
        bench.chunk(bench.measured + steps * rate_rad_s)

    return bench.node.create_timer(0.1, say)


def test_a_message_on_the_stop_topic_stops_and_latches(bench):
    bench.running()
    stop = bench.node.create_publisher(Empty, "executor/stop_now", 10)
    bench.graph.connected(stop)
    stop.publish(Empty())
    bench.reaches("stopped")
    assert not bench.call("run").success
    bench.all_commands_keep_the_limits()


def test_a_released_deadman_holds_and_a_held_one_goes_on(idle_bench):
    bench = idle_bench
    bench.add(deadman_button=1)
    joy = bench.node.create_publisher(Joy, "joy", 10)
    bench.graph.connected(joy)
    held = [True]
    bench.node.create_timer(0.05, lambda: joy.publish(Joy(buttons=[0, int(held[0])])))
    bench.graph.wait(lambda: bench.safety and bench.safety[-1].deadman, "the button")
    keep_running(bench)
    bench.run()
    bench.reaches("running")
    held[0] = False
    assert "deadman" in bench.reaches("holding").reason
    held[0] = True
    bench.reaches("running")


def test_what_the_policy_says_of_its_streams_holds_at_once_and_its_silence_too(bench):
    status = bench.node.create_publisher(PolicyStatus, "policy/status", 10)
    bench.graph.connected(status)
    reason, speaking = [""], [True]

    def say():
        if speaking[0]:
            status.publish(PolicyStatus(state="active", reason=reason[0]))

    bench.node.create_timer(0.05, say)
    keep_running(bench)
    bench.run()
    bench.reaches("running")
    reason[0] = "front/color/image_raw is silent for 0.2 s"
    assert bench.reaches("holding").reason == reason[0]
    reason[0] = ""
    bench.reaches("running")
    speaking[0] = False
    assert "silent" in bench.reaches("holding").reason
    speaking[0] = True
    bench.reaches("running")
    bench.all_commands_keep_the_limits()


def test_an_arm_that_is_held_back_is_not_pushed_on(bench):
    bench.run()
    bench.chunk(bench.ramp(0.5))
    bench.reaches("running")
    bench.following = False
    stuck = bench.measured.copy()
    status = bench.reaches("holding")
    assert "from its plan" in status.reason or "from the plan" in status.reason
    bench.rests()
    np.testing.assert_allclose(bench.curve(bench.trajectories[-1]).positions[-1], stuck, atol=2e-3)
    bench.all_commands_keep_the_limits()
    bench.chunk()
    bench.rests()
    assert bench.status[-1].state == "holding"


def test_a_human_takes_over_and_gives_back_without_a_jump(bench):
    human = bench.node.create_publisher(ActionChunkMessage, "teleop/action_chunk", 10)
    bench.graph.connected(human)
    policy, bench.chunks = bench.chunks, human
    bench.run()
    bench.chunk(bench.ramp(0.2))
    bench.chunks = policy
    bench.chunk(bench.ramp(0.2))
    bench.reaches("running")
    keep_running(bench, 0.2)
    assert bench.graph.call(SetBool, "executor/take_over", SetBool.Request(data=True)).success
    bench.chunks = human
    bench.graph.wait(lambda: bench.safety[-1].driver == "human", "the human")
    count = bench.status[-1].chunk_sequence
    bench.graph.wait(lambda: bench.status[-1].chunk_sequence > count + 2, "the human's chunks")
    assert bench.graph.call(SetBool, "executor/take_over", SetBool.Request(data=False)).success
    bench.chunks = policy
    count = bench.status[-1].chunk_sequence
    bench.graph.wait(lambda: bench.status[-1].chunk_sequence > count + 2, "the policy's chunks")
    assert bench.status[-1].state == "running"
    assert bench.status[-1].holds == 0
    bench.all_commands_keep_the_limits()
    sent = [bench.curve(message) for message in bench.trajectories]
    for before, after in itertools.pairwise(sent):
        q, v = before.sample(after.start_ns)
        np.testing.assert_allclose(after.positions[0], q, atol=2e-4)
        np.testing.assert_allclose(after.velocities[0], v, atol=1e-2)


@pytest.mark.parametrize("scale", [0.5, 1.0])
def test_slow_mode_plays_the_same_way_slower(idle_bench, scale):
    bench = idle_bench
    bench.add()
    bench.executor.set_parameters([Parameter("speed_scale", value=scale)])
    bench.run()
    bench.chunk(bench.ramp(0.1))
    bench.reaches("running")
    bench.graph.wait(lambda: bench.status[-1].chunk_age_s > 0.6, "the middle of the chunk")
    # The first points catch up with what was due, the last ones of each message stop.
    stamps = np.array([to_ns(m.header.stamp) for m in bench.trajectories])
    middle = (stamps > stamps[0] + 3 * 10**8) & (stamps < stamps[0] + 7 * 10**8)
    curves = [
        bench.curve(m) for m, inside in zip(bench.trajectories, middle, strict=True) if inside
    ]
    speeds = [curve.sample(curve.start_ns + 10**8)[1] for curve in curves]
    assert np.median(speeds) == pytest.approx(0.1 * scale, rel=0.1)
    assert bench.safety[-1].speed_scale == pytest.approx(scale)


def test_a_streaming_controller_hears_the_plan_all_the_time_also_at_rest(idle_bench, tmp_path):
    bench = idle_bench
    arm = dataclasses.replace(
        bench.embodiment.action["joint_target"],
        command_topic="target_joint",
        command_type=JOINT_STATE,
    )
    action = {**bench.embodiment.action, "joint_target": arm}
    spec = tmp_path / "streaming.yaml"
    spec.write_text(dataclasses.replace(bench.embodiment, action=action).to_yaml())
    heard = bench.graph.listen(JointState, "target_joint", 1000)
    bench.arm_topic, bench.following = "target_joint", False
    bench.add(embodiment=str(spec))
    assert not heard
    bench.run()
    bench.chunk(bench.ramp(0.1))
    bench.reaches("running")
    bench.reaches("holding")
    count = len(heard)
    bench.graph.wait(lambda: len(heard) > count + 50, "commands at rest")
    stamps_s = np.array([to_ns(message.header.stamp) for message in heard]) / 1e9
    assert np.median(np.diff(stamps_s)) == pytest.approx(0.01, abs=0.002)
    positions = np.array([message.position for message in heard])
    np.testing.assert_allclose(positions[-1], bench.ramp(0.1)[-1], atol=5e-3)
    steps = np.diff(positions, axis=0) / np.diff(stamps_s)[:, None]
    assert np.abs(steps).max() <= bench.limits.velocity.max()
    assert bench.call("reset").success
    bench.graph.wait(lambda: bench.status[-1].state == "idle", "idle")


def test_the_way_of_each_chunk_is_timed_in_order(bench):
    timings = bench.graph.listen(ChunkTiming, "executor/chunk_timing")
    bench.running()
    bench.graph.wait(lambda: timings, "a timing")
    timing = timings[0]
    stages = [timing.captured, timing.arrived, timing.judged, timing.commanded]
    moments = [to_ns(stage) for stage in stages]
    assert moments == sorted(moments)
    assert timing.sequence == 1
    assert timing.verdict == "pass"
