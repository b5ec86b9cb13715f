# SPDX-License-Identifier: Apache-2.0
"""Laws of the executor on a real graph: what reaches the controller, and what never does."""

import itertools
import os
import signal
import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("rclpy")
pytest.importorskip("uwm_ros.msg")

from trajectory_msgs.msg import JointTrajectory

from uwm_ros.bridge.clock import to_ns


def test_nothing_is_commanded_before_run(bench):
    for _ in range(3):
        bench.chunk(bench.ramp(0.1))
    bench.graph.wait(lambda: len(bench.status) > 5, "status")
    assert bench.status[-1].state == "idle"
    assert bench.trajectories == []
    assert bench.gripper == []


def test_chunk_becomes_stamped_trajectories_with_velocities_that_end_where_it_ends(bench):
    bench.running()
    first = bench.curve(bench.trajectories[0])
    np.testing.assert_allclose(first.positions[0], bench.home, atol=1e-6)
    assert to_ns(bench.trajectories[0].header.stamp) > 0
    bench.graph.wait(lambda: bench.status[-1].state == "holding", "the end of the chunk")
    assert max(np.abs(bench.curve(m).velocities).max() for m in bench.trajectories) > 0.05
    last = bench.curve(bench.trajectories[-1])
    np.testing.assert_allclose(last.positions[-1], bench.ramp(0.1)[-1], atol=5e-3)
    bench.all_commands_keep_the_limits()


def test_each_trajectory_ends_soon_and_at_rest_should_no_other_come(bench):
    bench.running()
    bench.graph.wait(lambda: len(bench.trajectories) > 4, "trajectories")
    for message in bench.trajectories:
        sent = bench.curve(message)
        assert (sent.end_ns - sent.start_ns) / 1e9 < 0.5
        assert not sent.velocities[-1].any()


def test_every_trajectory_starts_on_the_plan_being_executed(bench):
    bench.running()
    bench.graph.wait(lambda: bench.status and bench.status[-1].chunk_age_s > 0.3, "time to pass")
    bench.chunk(bench.ramp(0.1, 15)[3:])
    bench.graph.wait(lambda: bench.status[-1].chunk_sequence == 2, "the second chunk")
    sent = [bench.curve(message) for message in bench.trajectories]
    assert len(sent) > 3
    for before, after in itertools.pairwise(sent):
        q, v = before.sample(after.start_ns)
        np.testing.assert_allclose(after.positions[0], q, atol=1e-4)
        np.testing.assert_allclose(after.velocities[0], v, atol=5e-3)


def test_joints_follow_names_in_states_and_chunks(bench):
    bench.run()
    arm = bench.home + np.outer(np.arange(12), np.linspace(-0.004, 0.004, 7))
    bench.chunk(arm, order=np.random.default_rng(1).permutation(8))
    bench.reaches("running")
    bench.graph.wait(lambda: bench.trajectories, "a trajectory")
    bench.graph.wait(lambda: bench.status[-1].state == "holding", "the end of the chunk")
    np.testing.assert_allclose(
        bench.curve(bench.trajectories[-1]).positions[-1], arm[-1], atol=5e-3
    )


def test_gripper_value_goes_out_at_its_due_time_as_it_was_recorded(bench):
    bench.run()
    widths = np.where(np.arange(12) < 4, 0.08, 0.02)
    bench.chunk(gripper=widths)
    begin_ns = bench.now_ns()
    # An unchanged value is said again before it is too old to be recorded as the label.
    bench.graph.wait(
        lambda: len({round(m.data, 3) for m in bench.gripper}) == 2, "two gripper commands"
    )
    took_s = (bench.now_ns() - begin_ns) / 1e9
    said = [width for width, _ in itertools.groupby(round(m.data, 3) for m in bench.gripper)]
    assert said == [1.0, 0.25]
    assert took_s > 0.3


def test_not_a_number_holds_until_the_operator_runs_again(bench):
    bench.running()
    bad = bench.ramp(0.1)
    bad[5, 2] = np.nan
    bench.chunk(bad)
    status = bench.reaches("holding")
    assert "nan" in status.reason
    assert status.holds == 1
    bench.rests()
    bench.chunk(bench.ramp(0.0))
    bench.rests()
    assert bench.status[-1].state == "holding"
    bench.all_commands_keep_the_limits()
    said = [s.message for array in bench.diagnostics for s in array.status]
    assert any("nan" in message for message in said)
    bench.run()


def test_hold_stops_on_the_plan(bench):
    bench.run()
    bench.chunk(bench.ramp(0.4))
    bench.reaches("running")
    assert bench.call("hold").success
    bench.reaches("holding")
    before, stop = (bench.curve(message) for message in bench.trajectories[-2:])
    q, v = before.sample(stop.start_ns)
    np.testing.assert_allclose(stop.positions[0], q, atol=1e-4)
    np.testing.assert_allclose(stop.velocities[0], v, atol=5e-3)
    assert (stop.end_ns - stop.start_ns) / 1e9 < 0.25
    bench.all_commands_keep_the_limits()


@pytest.mark.parametrize(
    ("fault", "word"),
    [
        (lambda bench: bench.chunk(age_s=5.0), "old"),
        (lambda bench: bench.chunk(age_s=-3600.0), "future"),
        (lambda bench: None, "no new chunk"),
        (lambda bench: setattr(bench, "measuring", False), "joint state"),
    ],
    ids=["observation 5 s old", "stamp an hour ahead", "policy silent", "joint states stop"],
)
def test_passing_trouble_holds_and_heals_by_itself(bench, fault, word):
    bench.running()
    bench.status.clear()
    fault(bench)
    bench.graph.wait(lambda: any(s.state == "holding" for s in bench.status), "a hold")
    held = next(s for s in bench.status if s.state == "holding")
    assert word in held.reason
    bench.measuring = True

    timer = bench.node.create_timer(0.1, bench.chunk)
    bench.reaches("running")
    bench.node.destroy_timer(timer)
    assert bench.status[-1].holds >= 1
    bench.all_commands_keep_the_limits()


@pytest.mark.parametrize(
    ("fault", "word"),
    [
        (lambda bench: bench.chunk(embodiment="other"), "other"),
        (lambda bench: bench.chunk(names=[f"x{i}" for i in range(8)]), "names"),
        (lambda bench: bench.chunk(length=3), "numbers"),
        (lambda bench: bench.chunk(bench.home + np.full((12, 7), 1.0)), "rad from the next"),
        (lambda bench: bench.chunk(np.where(np.arange(12)[:, None] > 5, 1e6, bench.home)), "limit"),
    ],
    ids=["another embodiment", "other names", "malformed", "far away", "1e6"],
)
def test_lasting_trouble_holds_for_the_operator(bench, fault, word):
    bench.running()
    fault(bench)
    assert word in bench.reaches("holding").reason
    bench.rests()
    bench.chunk()
    bench.chunk()
    bench.rests()
    assert bench.status[-1].state == "holding"
    bench.all_commands_keep_the_limits()


def test_stop_is_latched_until_reset(bench):
    bench.running()
    assert bench.call("stop").success
    bench.reaches("stopped")
    answer = bench.call("run")
    assert not answer.success
    assert "reset" in answer.message
    bench.rests()
    bench.chunk()
    bench.rests()
    assert bench.call("reset").success
    assert bench.reaches("idle")
    bench.run()


def test_second_publisher_on_the_command_topic_is_refused_by_name(bench, stranger):
    other = stranger.node.create_publisher(JointTrajectory, bench.arm_topic, 1)
    bench.graph.wait(
        lambda: bench.node.count_publishers(bench.arm_topic) == 2, "the second publisher"
    )
    # Discovery tells of a publisher first and of its name a moment later.
    bench.graph.wait(lambda: "/tester" in bench.call("run").message, "a refusal with the name")
    assert bench.status[-1].state == "idle"
    stranger.node.destroy_publisher(other)
    bench.graph.wait(lambda: bench.node.count_publishers(bench.arm_topic) == 1, "one publisher")
    bench.run()


def test_far_first_command_is_not_started(bench):
    bench.chunk(bench.home + np.full((12, 7), 0.6))
    bench.graph.wait(lambda: len(bench.status) > 3, "status")
    answer = bench.call("run")
    assert not answer.success
    assert "rad from the first command" in answer.message
    assert bench.trajectories == []


def test_termination_brings_the_arm_to_rest_and_exits_cleanly(idle_bench):
    process = subprocess.Popen(
        [sys.executable, "-m", "uwm_ros.nodes.executor"],
        env=dict(os.environ),
    )
    try:
        bench = idle_bench
        bench.connected()
        bench.run()
        bench.chunk(bench.ramp(0.3))
        bench.reaches("running")
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
        bench.all_commands_keep_the_limits()
        assert not bench.curve(bench.trajectories[-1]).velocities[-1].any()
    finally:
        if process.poll() is None:
            process.kill()


def test_executor_starts_without_torch():
    code = (
        "import sys, uwm_ros.nodes.executor, uwm_ros.nodes.recorder; print('torch' in sys.modules)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "False"


def test_unknown_embodiment_is_one_line_and_a_failing_exit_code():
    result = subprocess.run(
        [sys.executable, "-m", "uwm_ros.nodes.executor", "--ros-args", "-p", "embodiment:=fr4"],
        capture_output=True,
        text=True,
        env=dict(os.environ),
        check=False,
    )
    assert result.returncode == 2
    assert "fr4" in result.stderr
    assert "Traceback" not in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
