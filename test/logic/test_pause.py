# SPDX-License-Identifier: Apache-2.0
"""Chunks of slow models after a rest, against an arm that is driven as the chunk says."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from uwm_core.embodiment import Embodiment
from uwm_core.records import ActionChunk
from uwm_ros.logic.judge import Rules, Situation, judge
from uwm_ros.logic.pause import LONG_AGO, Pause

MS = 1_000_000
NOW = 10_000 * MS
FR3 = Embodiment.load("fr3_sim")
HOME = np.array(FR3.home_rad)
PERIOD = FR3.period_ns
moments = st.integers(1, 20_000)


@given(moments, moments, moments, moments)
def test_a_stamp_is_later_by_the_pause_that_came_after_it(stamp, began, lasted, now):
    """Against counting every moment of the pause one by one."""
    pause = Pause(began, began + lasted)
    missed = sum(1 for moment in range(began, began + lasted) if moment >= stamp)
    assert pause.counted_ns(stamp, now) == stamp + missed


@given(moments, moments, moments)
def test_a_pause_that_goes_on_ends_with_the_chunk_that_ends_it(stamp, began, now):
    going_on, over = Pause(began), Pause(began).over(now)
    assert going_on.counted_ns(stamp, now) == over.counted_ns(stamp, now + 1000)
    assert over.over(now + 5) is over
    assert Pause().counted_ns(stamp, now) == max(stamp, now)


def world(seen_ns):
    """A slow swing of two joints, begun at 0: what a policy that sees it wants next."""
    times_s = (np.arange(12) * PERIOD + seen_ns) / 1e9
    actions = np.tile(np.concatenate([HOME, [0.08]]), (12, 1))
    actions[:, :2] += 0.15 * times_s[:, None]
    return actions.astype(np.float32)


def chunk(seen_ns, stamp_ns):
    return ActionChunk(stamp_ns, PERIOD, world(seen_ns), FR3.action_names)


def rules():
    made = Rules(dataclasses.replace(FR3, safety=dataclasses.replace(FR3.safety, table_m=None)))
    made.guard = None
    return made


def situation(now_ns, plan, pause, lag_ns=0):
    measured = HOME if plan is None else plan.sample(now_ns - lag_ns)[0]
    return Situation(
        now_ns=now_ns, measured_rad=measured, measured_age_s=0.0, plan=plan, pause=pause
    )


@pytest.mark.parametrize("late_ms", [0, 120, 450])
def test_a_slow_policy_moves_an_arm_from_rest_as_a_quick_one_does(late_ms):
    """The chunk is about an arm at rest; the arm was at rest until it began."""
    quick = judge(chunk(0, NOW), situation(NOW, None, Pause()), rules())
    slow = judge(chunk(0, NOW - late_ms * MS), situation(NOW, None, Pause()), rules())
    assert slow.kind == quick.kind
    assert slow.dropped == quick.dropped
    moments = np.arange(NOW, NOW + 1_200 * MS, 10 * MS)
    np.testing.assert_array_equal(slow.plan.samples(moments)[0], quick.plan.samples(moments)[0])
    assert slow.counted_ns == quick.counted_ns == slow.begun_ns


def test_the_next_chunk_of_a_slow_policy_goes_on_where_the_first_one_is():
    """Its observation was made 0.4 s before it is there, 0.1 s after the arm began to move."""
    first = judge(chunk(0, NOW - 400 * MS), situation(NOW, None, Pause()), rules())
    pause = Pause().over(first.begun_ns)
    seen_ns = 100 * MS
    later_ns = first.begun_ns + seen_ns + 400 * MS
    answer = chunk(seen_ns, first.begun_ns + seen_ns)
    second = judge(answer, situation(later_ns, first.plan, pause), rules())
    assert second.counted_ns == answer.stamp_ns
    assert second.jump_rad < 1e-3
    # By the stamps alone the first chunk would be 0.4 s further along than the arm has gone.
    rushed = judge(chunk(0, NOW - 400 * MS), situation(NOW, None, LONG_AGO), rules())
    torn = judge(answer, situation(later_ns, rushed.plan, LONG_AGO), rules())
    assert torn.jump_rad > 0.05


def test_two_answers_about_the_same_rest_agree():
    """The second was asked for before the arm moved: it too begins when the arm did."""
    first = judge(chunk(0, NOW - 400 * MS), situation(NOW, None, Pause()), rules())
    pause = Pause().over(first.begun_ns)
    later_ns = NOW + 200 * MS
    second = judge(chunk(0, NOW - 200 * MS), situation(later_ns, first.plan, pause), rules())
    assert second.counted_ns == first.counted_ns
    assert second.jump_rad < 1e-3
