# SPDX-License-Identifier: Apache-2.0
"""Laws of joins: what is left of a jump, and when nothing is left of the old plan."""

import numpy as np
import pytest

from uwm_core.errors import UwmError
from uwm_ros.logic.joins import Join, joined
from uwm_ros.logic.plan import Plan

OLD = np.array([0.1, -0.2])
PLAN = Plan.at_rest(OLD, 0, 40_000_000)
MOMENTS = np.array([0, 50, 100, 150, 200, 300], dtype=np.int64) * 1_000_000
TARGETS = OLD + np.array([0.02, -0.04]) * np.ones((5, 1))


def test_replacing_takes_the_targets_as_they_are_and_says_how_far_they_jump():
    done = joined(Join("replace"), PLAN, MOMENTS, TARGETS)
    np.testing.assert_array_equal(done.targets, TARGETS)
    assert done.jump_rad == done.commanded_jump_rad == pytest.approx(0.04)


@pytest.mark.parametrize(("kind", "passing_s"), [("blend", 0.2), ("inpaint", 0.1)])
def test_blending_passes_from_the_plan_to_the_targets_in_time(kind, passing_s):
    done = joined(Join(kind, 0.2), PLAN, MOMENTS, TARGETS)
    share = (done.targets - OLD) / (TARGETS - OLD)
    assert (np.diff(share, axis=0) >= 0).all()
    half = MOMENTS[1:] == round(passing_s * 0.5e9)
    np.testing.assert_allclose(share[half], 0.5)
    np.testing.assert_allclose(share[MOMENTS[1:] >= round(passing_s * 1e9)], 1.0)
    assert done.jump_rad == pytest.approx(0.04)
    assert done.commanded_jump_rad == pytest.approx(0.04 * share[0, 0])


def test_no_time_to_blend_is_replacing():
    np.testing.assert_array_equal(joined(Join("blend", 0.0), PLAN, MOMENTS, TARGETS)[0], TARGETS)


@pytest.mark.parametrize("wrong", [("blent", 0.1), ("blend", -0.1), ("blend", 9.0)])
def test_unknown_joins_and_impossible_times_are_refused(wrong):
    with pytest.raises(UwmError, match=r"join|blend_s"):
        Join(*wrong)
