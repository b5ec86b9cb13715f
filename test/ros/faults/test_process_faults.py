# SPDX-License-Identifier: Apache-2.0
"""Laws of driving when a process is wrong, with the real policy and the shipped checkpoint."""

import signal

import numpy as np
import pytest

from uwm_core.resources import bundled

if "sim_lift" not in bundled("checkpoints"):
    pytest.skip("config/checkpoints/sim_lift is not there", allow_module_level=True)


@pytest.fixture(scope="module")
def real(stage):
    """The graph with the real policy up."""
    stage.fake.stop()
    stage.operator.watch("policy/status", policy_status())
    stage.nodes["policy"].start()
    yield stage
    stage.nodes["policy"].stop()


def policy_status():
    from uwm_ros.msg import PolicyStatus

    return PolicyStatus


def chunks_come(stage):
    """Wait until the policy has answered an observation."""
    stage.operator.forget("policy/status")
    stage.wait(
        lambda: getattr(stage.operator.newest.get("policy/status"), "sequence", 0) > 0,
        "the policy's chunks",
        90.0,
    )


@pytest.fixture
def lifting(real):
    """The graph while the policy lifts a cube."""
    if not real.nodes["policy"].alive:
        real.nodes["policy"].start()
    real.wish.unlink(missing_ok=True)
    # With the model beside it, a busy machine may be too slow for the simulated arm to follow, and
    # the executor then rightly waits for an operator.
    for _ in range(3):
        real.go_home(seed=1_000_003)
        chunks_come(real)
        real.retry("run")
        real.operator.wait(lambda: real.moves() or real.witness.state == "holding", 15.0)
        if real.moves():
            return real
    return pytest.fail(f"the arm did not come to move; {real.witness.statuses[-1:]}")


@pytest.mark.parametrize(
    ("fault", "word"), [("camera_stops", "silent"), ("camera_freezes", "same picture")]
)
def test_a_camera_that_shows_nothing_new_holds_and_heals(lifting, fault, word):
    since_ns = lifting.fault(fault)
    lifting.expect_hold(since_ns, word, name=fault)
    lifting.fault("")
    lifting.goes_on_by_itself()


def broken(lifting, wish):
    """Break the model; the moment at which it met that."""
    met = lifting.wish.with_suffix(".at")
    met.unlink(missing_ok=True)
    lifting.wish.write_text(wish)
    lifting.wait(lambda: met.is_file() and met.read_text(), "an inference")
    return int(met.read_text())


def test_a_model_that_raises_holds_and_heals(lifting):
    since_ns = broken(lifting, "raise")
    lifting.expect_hold(since_ns, "broke on request", name="model raises")
    lifting.wish.unlink()
    lifting.goes_on_by_itself()


def test_a_model_that_hangs_holds_and_heals(lifting):
    since_ns = broken(lifting, "hang")
    # Until it takes longer than ever, an answer is only late: the arm goes on with what it has.
    lifting.wait(lambda: lifting.witness.first(("holding",), since_ns), "a hold")
    if late := lifting.was_late(since_ns):
        pytest.skip(late)
    reason = lifting.witness.first(("holding",), since_ns).reason
    assert "inference has been running" in reason or "no new chunk" in reason
    lifting.wait(lifting.is_still, "an arm at rest")
    lifting.no_limit_is_broken()
    lifting.wish.unlink()
    lifting.goes_on_by_itself()


def test_a_policy_that_stands_still_holds_and_heals(lifting):
    since_ns = lifting.witness.now_ns()
    lifting.nodes["policy"].send(signal.SIGSTOP)
    try:
        lifting.expect_hold(since_ns, "silent", name="policy SIGSTOP")
    finally:
        lifting.nodes["policy"].send(signal.SIGCONT)
    lifting.goes_on_by_itself()


def test_a_killed_policy_holds_and_a_new_one_goes_on(lifting):
    since_ns = lifting.witness.now_ns()
    lifting.nodes["policy"].send(signal.SIGKILL)
    lifting.expect_hold(since_ns, "silent", name="policy SIGKILL")
    lifting.nodes["policy"].stop()
    lifting.nodes["policy"].start()
    lifting.wait(lambda: lifting.witness.state == "running", "running again", 90.0)
    lifting.no_limit_is_broken()


def test_a_killed_executor_leaves_the_arm_at_rest_and_a_new_one_waits(driving):
    driving.nodes["executor"].send(signal.SIGKILL)
    killed_ns = driving.witness.now_ns()
    driving.nodes["executor"].stop()

    def rests():
        newest = list(driving.witness.measured)[-1]
        return newest.stamp_ns > killed_ns and np.abs(newest.velocity).max() < 0.005

    driving.wait(rests, "an arm at rest")
    driving.witness.statuses.clear()
    sent = len(driving.witness.log.pieces)
    driving.nodes["executor"].start()
    driving.wait(lambda: driving.witness.state == "idle", "a new executor")
    driving.pass_s(0.5)
    assert len(driving.witness.log.pieces) == sent
    driving.retry("run")
    driving.goes_on_by_itself()
