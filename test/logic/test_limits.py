# SPDX-License-Identifier: Apache-2.0
"""Laws of limited motion."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from uwm_core.embodiment import Embodiment
from uwm_ros.logic.limits import Limits, brake, follow
from uwm_ros.logic.trajectory import from_seconds

LIMITS = Limits.of(Embodiment.load("fr3_sim"))
J = len(LIMITS.names)
STEP_S = 0.02


def steps(reference, duration_s):
    """Rows of a reference as `follow` takes them: one per step, up to the end."""
    times_s = np.minimum(STEP_S * np.arange(1, round(duration_s / STEP_S) + 2), duration_s)
    return tuple(np.array(part) for part in zip(*(reference(t) for t in times_s), strict=True))


unit = st.lists(st.floats(0.0, 1.0), min_size=J, max_size=J).map(np.array)


def stoppable_state(place, speed):
    """A state within the limits from which the joints can stop in time."""
    q = LIMITS.low + place * (LIMITS.high - LIMITS.low)
    v = (2 * speed - 1) * LIMITS.velocity
    room = np.where(v > 0, LIMITS.high - q, q - LIMITS.low)
    a, h = LIMITS.acceleration, STEP_S
    fastest = 0.99 * np.maximum(-a * h / 2 + np.sqrt((a * h / 2) ** 2 + 2 * a * room), 0)
    return q, np.sign(v) * np.minimum(np.abs(v), fastest)


@settings(deadline=None, max_examples=60)
@given(unit, unit, unit, st.floats(-30, 30), st.floats(0, 2))
def test_motion_never_leaves_any_limit_on_the_whole_curve(place, speed, goal, slope, duration_s):
    start = stoppable_state(place, speed)
    target = LIMITS.low - 1 + goal * (LIMITS.high - LIMITS.low + 2)

    def reference(time_s):
        return target + slope * time_s, np.full(J, slope)

    motion = from_seconds(0, *follow(steps(reference, duration_s), start, LIMITS))
    assert motion.violations(LIMITS) == []
    assert not motion.velocities[-1].any()


@settings(deadline=None, max_examples=60)
@given(unit, unit)
def test_braking_keeps_every_limit_and_ends_at_rest(place, speed):
    motion = from_seconds(0, *brake(stoppable_state(place, speed), LIMITS))
    assert motion.violations(LIMITS) == []
    assert not motion.velocities[-1].any()


@settings(deadline=None, max_examples=30)
@given(unit, unit)
def test_reachable_goal_is_reached(place, goal):
    start = LIMITS.low + place * (LIMITS.high - LIMITS.low)
    target = LIMITS.low + goal * (LIMITS.high - LIMITS.low)
    goal = steps(lambda _: (target, np.zeros(J)), 0.1)
    _, positions, _ = follow(goal, (start, np.zeros(J)), LIMITS, settle_s=20.0)
    assert np.abs(positions[-1] - target).max() < 2e-3


def test_slow_reference_is_followed_closely():
    """An oracle: a sine far below all limits needs no limiting."""
    middle = (LIMITS.low + LIMITS.high) / 2

    def reference(time_s):
        return middle + 0.2 * np.sin(2 * time_s), np.full(J, 0.4 * np.cos(2 * time_s))

    start = reference(0.0)
    times, positions, _ = follow(steps(reference, 2.0), start, LIMITS)
    wanted = np.array([reference(min(t, 2.0))[0] for t in times])
    assert np.abs(positions - wanted)[times < 1.9].max() < 0.01


def test_start_beyond_a_limit_comes_back_and_goes_no_further():
    start = LIMITS.high + 0.1
    goal = steps(lambda _: (LIMITS.high + 1, np.zeros(J)), 0.5)
    _, positions, _ = follow(goal, (start, np.zeros(J)), LIMITS)
    far = follow(goal, (LIMITS.high + 1.0, np.zeros(J)), LIMITS)
    assert (np.abs(far[2]) <= LIMITS.velocity + 1e-9).all()
    assert (positions <= start + 1e-9).all()
    assert np.abs(positions[-1] - LIMITS.high).max() < 2e-3


@settings(deadline=None, max_examples=60)
@given(unit, unit)
def test_a_joint_brakes_in_the_shortest_way_there_is(place, speed):
    q, v = stoppable_state(place, speed)
    times_s, positions, _ = brake((q, v), LIMITS)
    shortest = v * np.abs(v) / (2 * LIMITS.acceleration)
    np.testing.assert_allclose(positions[-1] - q, shortest, atol=1e-4 * np.abs(v).max() + 1e-9)
    assert len(times_s) <= J + 1


def test_the_end_of_a_far_goal_is_a_stop_on_the_way():
    goal = steps(lambda _: (LIMITS.high, np.zeros(J)), 0.1)
    times_s, positions, velocities = follow(goal, (LIMITS.low, np.zeros(J)), LIMITS, settle_s=0.2)
    assert times_s[-1] < 1.0
    assert not velocities[-1].any()
    assert (positions[-1] < LIMITS.high - 0.1).all()
