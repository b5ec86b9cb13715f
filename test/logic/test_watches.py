# SPDX-License-Identifier: Apache-2.0
"""Laws of what the executor watches between two chunks."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from uwm_ros.logic.plan import Plan
from uwm_ros.logic.trajectory import Trajectory
from uwm_ros.logic.watches import Deadman, Heartbeat, Periods, tracking_error

NS = 1_000_000_000
SMOOTHING_NS = 40_000_000


def sweep(speed_rad_s=0.5, length_s=2.0):
    """A plan of constant speed, at rest before and after."""
    times_s = np.array([0.0, 0.2, length_s - 0.2, length_s])
    positions = speed_rad_s * np.array([0.0, 0.1, length_s - 0.3, length_s - 0.2])
    velocities = speed_rad_s * np.array([0.0, 1.0, 1.0, 0.0])
    start = Plan.at_rest(np.zeros(7), 0, SMOOTHING_NS)
    curve = Trajectory(
        (NS + times_s * NS).astype(np.int64),
        np.repeat(positions[:, None], 7, axis=1),
        np.repeat(velocities[:, None], 7, axis=1),
    )
    return start.spliced(curve)


@pytest.mark.parametrize("lag_ns", [0, 40_000_000, 140_000_000])
def test_an_arm_that_follows_late_is_on_course(lag_ns):
    plan = sweep()
    for moment_ns in range(NS, 3 * NS, NS // 20):
        measured, _, _ = plan.sample(moment_ns - lag_ns)
        assert tracking_error(plan, measured, moment_ns) < 0.01


def test_an_arm_that_stands_is_as_far_away_as_the_plan_went_before_the_longest_lag():
    plan, moment_ns = sweep(speed_rad_s=0.5), NS + round(1.2 * NS)
    expected = 0.5 * (1.2 - 0.15 - 0.1)
    assert tracking_error(plan, np.zeros(7), moment_ns) == pytest.approx(expected, abs=1e-3)


def test_a_joint_that_is_pushed_aside_is_seen_whatever_the_others_do():
    plan = sweep()
    measured, _, _ = plan.sample(2 * NS)
    measured[3] += 0.3
    assert 0.2 < tracking_error(plan, measured, 2 * NS) <= 0.3


def test_periods_know_the_worst_percent_and_the_rate():
    periods = Periods(0.01)
    moment_s = 5.0
    assert periods.tick(moment_s) == 0.0
    for k in range(400):
        late_s = 0.004 if k % 50 == 49 else 0.0
        moment_s += 0.01 + late_s
        assert periods.tick(moment_s) == pytest.approx(0.01 + late_s)
    assert periods.error_p99_s == pytest.approx(0.004)
    assert periods.rate_hz == pytest.approx(400 / (400 * 0.01 + 8 * 0.004))
    periods.forget()
    assert periods.tick(moment_s + 60.0) == 0.0


@given(st.lists(st.tuples(st.booleans(), st.integers(0, NS)), min_size=1, max_size=30))
def test_deadman_is_held_only_while_it_was_heard_to_be_held_just_now(events):
    deadman, now, held_at = Deadman(2), 0, None
    assert not deadman.held(0)
    for pressed, wait_ns in events:
        deadman.take([0, 0, int(pressed)], now)
        held_at = now if pressed else None
        now += wait_ns
        assert deadman.held(now) == (held_at is not None and now - held_at <= NS // 4)


def test_no_deadman_asked_for_is_always_held_and_a_joy_without_it_never_holds():
    assert Deadman(-1).held(10**18)
    short = Deadman(5)
    short.take([1, 1], 0)
    assert not short.held(0)


def test_heartbeat_expects_nothing_before_the_first_and_then_does():
    beat = Heartbeat(0.2)
    assert beat.trouble(10**18) == ""
    beat.beat(NS)
    assert beat.trouble(NS + NS // 10) == ""
    assert "silent for 0.30 s" in beat.trouble(NS + 3 * NS // 10)
    beat.beat(2 * NS, "front is silent")
    assert beat.trouble(2 * NS) == "front is silent"
    beat.beat(3 * NS)
    assert beat.trouble(3 * NS) == ""
    beat.forget()
    assert beat.trouble(10**18) == ""
