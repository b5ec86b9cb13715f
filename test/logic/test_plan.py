# SPDX-License-Identifier: Apache-2.0
"""Laws of plans: an average in closed form against dense sums, smooth through every splice."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from uwm_core.embodiment import Embodiment
from uwm_ros.logic.limits import Limits
from uwm_ros.logic.plan import Plan
from uwm_ros.logic.trajectory import Trajectory

EMBODIMENT = Embodiment.load("fr3_sim")
LIMITS = Limits.of(EMBODIMENT)
HOME = np.array(EMBODIMENT.home_rad)
J = len(HOME)
NOW = 1_700_000_000_000_000_000
MS = 1_000_000
WINDOW = 40 * MS
seeds = st.integers(0, 2**32)


def curve(rng, start_ns=NOW, start=None, points=7):
    q, v = start or (HOME, np.zeros(J))
    times_ns = start_ns + np.append(0, np.cumsum(rng.integers(20, 150, points - 1))) * MS
    positions = np.vstack([q, q + np.cumsum(rng.normal(0, 0.05, (points - 1, J)), axis=0)])
    velocities = np.vstack([v, rng.normal(0, 0.5, (points - 1, J))])
    velocities[-1] = 0
    return Trajectory(times_ns.astype(np.int64), positions, velocities)


@settings(deadline=None, max_examples=25)
@given(seeds)
def test_the_command_is_the_mean_of_the_curve_over_the_window(seed):
    rng = np.random.default_rng(seed)
    plan = Plan(curve(rng), WINDOW)
    for moment_ns in rng.integers(NOW - 50 * MS, plan.end_ns + 50 * MS, 10):
        # Midpoints, so that the sum's error is of second order.
        inside = moment_ns - WINDOW // 2 + np.arange(5_000, WINDOW, 10_000)
        mean = plan.raw.samples(inside)[0].mean(axis=0)
        np.testing.assert_allclose(plan.sample(int(moment_ns))[0], mean, atol=1e-7)


@settings(deadline=None, max_examples=25)
@given(seeds)
def test_velocity_and_acceleration_are_the_derivatives_of_the_position(seed):
    plan = Plan(curve(np.random.default_rng(seed)), WINDOW)
    h = 50_000
    moments = np.arange(NOW - 30 * MS, plan.end_ns + 30 * MS, 3_333_333)
    before, at, after = (plan.samples(moments + shift) for shift in (-h, 0, h))
    jerk = 2 * plan.raw.peaks[3].max() / (WINDOW / 1e9)
    slack = jerk * h / 1e9
    for order in (0, 1):
        slope = (after[order] - before[order]) / (2 * h / 1e9)
        np.testing.assert_allclose(at[order + 1], slope, atol=slack if order else 1e-4 + slack)


def test_it_rests_before_and_after():
    plan = Plan(curve(np.random.default_rng(0)), WINDOW)
    for moment_ns, where in ((NOW - WINDOW, 0), (plan.end_ns, -1), (plan.end_ns + 10**15, -1)):
        q, v, a = plan.sample(moment_ns)
        np.testing.assert_allclose(q, plan.raw.positions[where], atol=1e-12)
        assert not v.any() and not a.any()
    rest = Plan.at_rest(HOME, NOW, WINDOW)
    for part, wanted in zip(rest.sample(NOW + 123), (HOME, 0, 0), strict=True):
        np.testing.assert_array_equal(part, np.broadcast_to(wanted, J))


@settings(deadline=None, max_examples=25)
@given(seeds, st.integers(0, 900))
def test_a_splice_changes_nothing_that_is_decided_and_joins_smoothly(seed, after_ms):
    rng = np.random.default_rng(seed)
    old, now = Plan(curve(rng), WINDOW), NOW + after_ms * MS
    at_ns = old.splice_ns(now)
    new = old.spliced(curve(rng, at_ns, old.raw.sample(at_ns)))
    decided = np.arange(now - 300 * MS, now + 1, MS)
    for mine, theirs in zip(new.samples(decided), old.samples(decided), strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-9)
    moments = np.arange(now - 20 * MS, new.end_ns + 20 * MS, MS)
    _, _, acceleration = new.samples(moments)
    jerk = np.abs(np.diff(acceleration, axis=0)).max() / 1e-3
    assert jerk <= 2 * new.raw.peaks[3].max() / (WINDOW / 1e9) * (1 + 1e-6)


def test_a_splice_that_does_not_begin_on_the_plan_is_refused():
    plan = Plan.at_rest(HOME, NOW, WINDOW)
    for start in ((HOME + 0.01, np.zeros(J)), (HOME, np.full(J, 0.1))):
        away = curve(np.random.default_rng(0), NOW + WINDOW, start)
        with pytest.raises(ValueError, match="begin where the plan is"):
            plan.spliced(away)


@settings(deadline=None, max_examples=25)
@given(seeds, st.integers(0, 600))
def test_a_stop_is_at_rest_soon_and_the_past_is_kept(seed, after_ms):
    plan = Plan(curve(np.random.default_rng(seed)), WINDOW)
    now = NOW + after_ms * MS
    velocity = plan.raw.sample(plan.splice_ns(now))[1]
    stopped = plan.stopped(now, LIMITS)
    mine = LIMITS.for_curve(WINDOW / 1e9)
    longest_s = (np.abs(velocity) / mine.acceleration).max() + WINDOW / 1e9 + 1e-3
    assert (stopped.end_ns - now) / 1e9 <= longest_s
    np.testing.assert_allclose(stopped.sample(now)[0], plan.sample(now)[0], atol=1e-9)


def test_it_is_led_to_rest_somewhere():
    plan = Plan(curve(np.random.default_rng(1)), WINDOW).led_to(HOME, NOW + 100 * MS, LIMITS)
    np.testing.assert_allclose(plan.sample(plan.end_ns)[0], HOME, atol=2e-3)


def test_points_are_the_command_and_end_at_rest():
    plan = Plan(curve(np.random.default_rng(2)), WINDOW)
    points = plan.points(NOW - 5 * MS)
    np.testing.assert_array_equal(points.positions, plan.samples(points.times_ns)[0])
    assert (np.diff(points.times_ns) == 20 * MS).all()
    assert not points.velocities[-1].any()
    late = plan.points(plan.end_ns + 10**9)
    np.testing.assert_array_equal(late.positions, np.tile(plan.raw.positions[-1], (2, 1)))


@pytest.mark.parametrize("window", [0, -2, 41])
def test_a_window_must_be_even_and_above_0(window):
    with pytest.raises(ValueError, match="smoothing_ns"):
        Plan.at_rest(HOME, NOW, window)


def test_a_stop_far_ahead_changes_nothing_before_it():
    plan = Plan.at_rest(np.zeros(2), 0, 40_000_000)
    times_ns = (np.array([1.0, 2.0, 3.0, 4.0]) * 1e9).astype(np.int64)
    way = np.array([[0.0, 0.0], [0.5, 0.2], [1.0, 0.4], [1.5, 0.6]])
    speeds = np.array([[0.0, 0.0], [0.5, 0.2], [0.5, 0.2], [0.0, 0.0]])
    plan = plan.spliced(Trajectory(times_ns, way, speeds))
    limits = Limits(
        names=("a", "b"),
        low=np.full(2, -3.0),
        high=np.full(2, 3.0),
        velocity=np.full(2, 2.0),
        acceleration=np.full(2, 5.0),
    )
    stopping = plan.stopped(3_500_000_000, limits)
    moments_ns = np.arange(0, 3_500_000_000, 10_000_000)
    for mine, theirs in zip(stopping.samples(moments_ns), plan.samples(moments_ns), strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-9)
