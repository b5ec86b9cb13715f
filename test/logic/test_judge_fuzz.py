# SPDX-License-Identifier: Apache-2.0
"""Long sequences of chunks, joins and stops: no command and no curve ever breaks a limit."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from uwm_core.cli.main import main
from uwm_core.embodiment import Embodiment
from uwm_ros.cli.judge_fuzz import Bounds, Run
from uwm_ros.cli.judge_places import Places
from uwm_ros.logic.judge import Rules
from uwm_ros.logic.plan import Plan

FR3 = Embodiment.load("fr3_sim")
HOME = np.array(FR3.home_rad)


@settings(deadline=None, max_examples=12)
@given(st.integers(0, 2**32))
def test_no_life_of_a_robot_breaks_a_limit(seed):
    life = Run(seed)
    life.go(20)
    assert life.broken == []
    assert life.counts["exceptions"] == life.counts["unkept"] == 0


@pytest.mark.parametrize("seed", [2, 3, 11])
def test_arms_that_walls_stop_far_ahead_keep_their_past(seed):
    """Plans that were to brake more than a second ahead once forgot the way there."""
    life = Run(seed)
    life.go(20)
    assert life.broken == []


@pytest.mark.parametrize("seed", [1010, 1183, 1483, 4294967295])
def test_stops_do_not_swing_into_walls_and_what_left_a_wall_stays_out(seed):
    """Here joints that brake each for itself once left the path by 12 to 54 mm."""
    life = Run(seed)
    life.go(12)
    assert life.broken == []


@pytest.mark.parametrize("name", ["fr3_sim", "fr3_servo", "droid"])
def test_the_guard_never_says_more_room_than_the_checker(name):
    """Spheres lie within the capsules: the checker's room is the guard's, or a little more."""
    robot = Embodiment.load(name)
    joints = np.array(robot.home_rad) + np.random.default_rng(0).normal(0, 0.5, (300, 7))
    guard = Rules(robot).guard.clearance(joints).distance_m
    more = Places(robot).room_m(joints) - guard
    assert more.min() > -1e-8
    assert np.median(more) < 0.03


def test_the_checker_sees_what_it_is_for():
    """A step, too fast a ramp, a kink and a place outside are each found, by their names."""
    bounds = Bounds.of(FR3, HOME)
    ticks = np.arange(40)[:, None] * 0.01
    still = HOME + 0 * ticks
    cases = {
        "position": still + 10,
        "velocity": HOME + 5.0 * ticks,
        "acceleration": HOME + 0.3 * np.abs(ticks - 0.2),
        "jerk": HOME + 0.4 * np.maximum(ticks - 0.2, 0) ** 2 / 0.04,
    }
    assert list(bounds.broken_by_commands(still)) == []
    for word, commands in cases.items():
        assert any(word in text for text in bounds.broken_by_commands(commands)), word
    points = Plan.at_rest(HOME, 0, 2_000_000).points(0)
    assert list(bounds.broken_by_curve(points)) == []
    away = dataclasses.replace(points, positions=points.positions * [[1.0], [1.1]])
    assert "curve acceleration" in " ".join(bounds.broken_by_curve(away))


def test_the_command_fuzzes_and_measures(capsys):
    assert main(["bench", "judge", "--chunks", "100", "--rounds", "20", "--json"]) == 0
    out = capsys.readouterr().out
    assert '"metric": "violations", "value": 0' in out
    assert '"metric": "clip_p99"' in out
