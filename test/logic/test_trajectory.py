# SPDX-License-Identifier: Apache-2.0
"""Laws of trajectories: against scipy's cubic, and against dense sampling."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.interpolate import CubicHermiteSpline

from uwm_core.embodiment import Embodiment
from uwm_ros.logic.limits import Limits
from uwm_ros.logic.trajectory import Trajectory, ease_end, stop, through

LIMITS = Limits.of(Embodiment.load("fr3_sim"))
J = len(LIMITS.names)
HOME = np.array(Embodiment.load("fr3_sim").home_rad)


def random_trajectory(seed, points=6):
    rng = np.random.default_rng(seed)
    times_ns = np.cumsum(rng.integers(5_000_000, 200_000_000, points)).astype(np.int64)
    velocities = rng.normal(size=(points, J))
    velocities[-1] = 0
    return Trajectory(times_ns, rng.normal(size=(points, J)), velocities)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32))
def test_curve_is_the_cubic_through_positions_and_velocities(seed):
    ours = random_trajectory(seed)
    times_s = ours.times_ns / 1e9
    theirs = CubicHermiteSpline(times_s, ours.positions, ours.velocities)
    for moment_ns in np.linspace(ours.start_ns, ours.end_ns, 37).astype(np.int64):
        q, v = ours.sample(int(moment_ns))
        np.testing.assert_allclose(q, theirs(moment_ns / 1e9), atol=1e-6)
        if moment_ns < ours.end_ns:
            np.testing.assert_allclose(v, theirs(moment_ns / 1e9, 1), atol=1e-4)


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 2**32))
def test_the_integral_is_that_of_the_curve_and_of_the_rest_around_it(seed):
    ours = random_trajectory(seed)
    moments_ns = np.arange(ours.start_ns - 10**8, ours.end_ns + 10**8, 100_000)
    positions, _, areas = ours.samples(moments_ns)
    height = positions - ours.positions[-1]
    summed = np.cumsum((height[1:] + height[:-1]) * 5e-5, axis=0)
    np.testing.assert_allclose(areas[1:] - areas[0], summed, atol=2e-5)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32))
def test_peaks_are_those_of_the_whole_curve(seed):
    ours = random_trajectory(seed)
    times_s = ours.times_ns / 1e9
    curve = CubicHermiteSpline(times_s, ours.positions, ours.velocities)
    dense = np.linspace(times_s[0], times_s[-1], 20_001)[:-1]
    low, high, speed, acceleration = ours.peaks
    np.testing.assert_allclose(low, curve(dense).min(0), atol=1e-3)
    np.testing.assert_allclose(high, curve(dense).max(0), atol=1e-3)
    # The samples lie inside the curve, so they can only be lower, and hardly so.
    assert (speed >= np.abs(curve(dense, 1)).max(0) - 1e-9).all()
    np.testing.assert_allclose(speed, np.abs(curve(dense, 1)).max(0), rtol=0.02)
    assert (acceleration >= np.abs(curve(dense, 2)).max(0) - 1e-6).all()


def test_not_a_number_counts_as_a_violation():
    positions = np.tile(HOME, (3, 1))
    positions[1, 2] = np.nan
    times_ns = np.array([0, 100_000_000, 200_000_000])
    assert through(times_ns, positions, np.zeros(J)).violations(LIMITS)


def test_velocities_are_central_differences_and_end_at_rest():
    times_ns = np.arange(5, dtype=np.int64) * 100_000_000
    positions = HOME + np.outer(np.arange(5) * 0.01, np.ones(J))
    ours = through(times_ns, positions, np.full(J, 0.1))
    np.testing.assert_allclose(ours.velocities[:-1], 0.1)
    assert not ours.velocities[-1].any()


def test_end_is_delayed_until_stopping_keeps_the_limits():
    times_ns = np.arange(6, dtype=np.int64) * 100_000_000
    positions = HOME + np.outer(np.arange(6) * 0.06, np.ones(J))
    steep = through(times_ns, positions, np.full(J, 0.6))
    assert steep.violations(LIMITS)
    eased = ease_end(steep, LIMITS)
    assert eased.violations(LIMITS) == []
    assert eased.end_ns > steep.end_ns
    np.testing.assert_array_equal(eased.positions, steep.positions)


def test_stop_starts_where_the_plan_is_and_rests():
    v = np.linspace(-1, 1, J)
    ours = stop((HOME, v), 5_000, LIMITS)
    np.testing.assert_allclose(ours.positions[0], HOME)
    np.testing.assert_allclose(ours.velocities[0], v)
    assert ours.start_ns == 5_000
    assert ours.violations(LIMITS) == []
    assert len(stop((HOME, np.zeros(J)), 0, LIMITS).times_ns) == 1


def test_times_that_do_not_increase_are_refused():
    with pytest.raises(ValueError, match="increase"):
        Trajectory(np.array([1, 1]), np.zeros((2, J)), np.zeros((2, J)))
