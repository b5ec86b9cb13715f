# SPDX-License-Identifier: Apache-2.0
"""Stops that leave the path, before a wall that is a straight line between two joints."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from uwm_core.embodiment import Embodiment
from uwm_ros.logic.judge import Rules
from uwm_ros.logic.limits import Limits
from uwm_ros.logic.plan import Plan
from uwm_ros.logic.stops import deeper, halted, led
from uwm_ros.logic.trajectory import Trajectory

MS = 1_000_000
# Two joints go along the wall, q0 + q1 = 0 all the way. The first brakes at its limit of 1 rad/s^2
# already; the second stops far sooner. From a speed v the sum then grows by v^2 / 2 a less that.
LIMITS = Limits(
    names=("slow", "quick"),
    low=np.full(2, -9.0),
    high=np.full(2, 9.0),
    velocity=np.full(2, 9.0),
    acceleration=np.array([1.0, 20.0]),
)
SPEED = 0.4
WINDOW = 100 * MS
BRAKE, SOON = LIMITS.for_curve(WINDOW / 1e9).acceleration


class Wall:
    """Room before q0 + q1 = room."""

    what = "the wall"

    def __init__(self, room):
        self.room = room
        self.asked = 0

    def clearance(self, joints_rad):
        self.asked += 1
        return dataclasses.replace(Found(), distance_m=self.room - joints_rad.sum(axis=1))


@dataclasses.dataclass
class Found:
    distance_m: np.ndarray = None
    what: str = "the wall"


def rules(room):
    made = Rules(Embodiment.load("fr3_sim"))
    made.limits, made.guard = LIMITS, None if room is None else Wall(room)
    return made


def along():
    """At `SPEED` for 0.1 s, then braking."""
    times_s = np.array([0.0, 0.1, 0.1 + SPEED / BRAKE])
    way = np.array([0.0, 0.1 * SPEED, 0.1 * SPEED + SPEED**2 / (2 * BRAKE)])
    speeds = np.array([SPEED, SPEED, 0.0])
    sign = np.array([1.0, -1.0])
    curve = Trajectory(
        (times_s * 1e9).astype(np.int64), way[:, None] * sign, speeds[:, None] * sign
    )
    return Plan(curve, WINDOW)


def grown(plan, now_ns):
    return plan.points(now_ns, MS).positions.sum(axis=1).max()


def swing(moment_s):
    """How far q0 + q1 grows where the second joint stops at a moment and the first brakes on."""
    return (SPEED - BRAKE * (moment_s - 0.1)) ** 2 / 2 * (1 / BRAKE - 1 / SOON)


NOW = 100 * MS
SPLICE_S = (NOW + WINDOW // 2) / 1e9  # the first moment that can be changed


def test_a_stop_that_swings_into_a_wall_comes_later_and_not_later_than_needed():
    at_once = along().stopped(NOW, LIMITS)
    assert grown(at_once, NOW) == pytest.approx(swing(SPLICE_S), rel=0.05)
    room = 0.025
    stopped = halted(along(), NOW, rules(room))
    assert grown(stopped, NOW) <= room
    assert swing(SPLICE_S + 0.12) > room  # looked for every 40 ms
    assert grown(stopped, NOW) == pytest.approx(swing(SPLICE_S + 0.16), rel=0.05)
    assert stopped.sample(10**9)[0][1] > along().sample(10**9)[0][1] + 0.01  # it did stop
    kept_ns = np.arange(0, NOW, MS)
    np.testing.assert_allclose(stopped.samples(kept_ns)[0], along().samples(kept_ns)[0], atol=1e-9)


@pytest.mark.parametrize("room", [None, 1.0, 0.001])
def test_it_stops_at_once_where_nothing_is_near_and_where_waiting_would_not_help(room):
    stopped, at_once = halted(along(), NOW, rules(room)), along().stopped(NOW, LIMITS)
    np.testing.assert_array_equal(stopped.raw.positions, at_once.raw.positions)
    assert stopped.end_ns == at_once.end_ns


def test_an_arm_at_rest_is_not_looked_at():
    mine = rules(-1.0)
    halted(along(), 10**9, mine)
    assert mine.guard.asked == 0


@pytest.mark.parametrize("room", [None, 1.0, 0.025])
def test_it_is_led_where_it_was_measured_unless_a_wall_is_in_the_way(room):
    measured = along().sample(NOW)[0] + [0.05, 0.0]
    plan = led(along(), measured, NOW, rules(room))
    there = np.abs(plan.sample(plan.end_ns)[0] - measured).max() < 0.01
    assert there == (room != 0.025)
    if room == 0.025:
        assert grown(plan, NOW) <= room


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=12), st.integers(1, 12))
def test_deeper_is_what_a_walk_along_the_points_finds(distance, decided):
    decided = min(decided, len(distance))
    best, found = distance[decided - 1], [False] * decided
    for room in distance[decided:]:
        found.append(room < min(best, 0.0) - 1e-9)
        best = max(best, room)
    assert deeper(np.array(distance), decided).tolist() == found


def test_a_place_that_is_not_known_is_deeper():
    assert deeper(np.array([1.0, np.nan, 1.0]), 1).tolist() == [False, True, True]
