# SPDX-License-Identifier: Apache-2.0
"""Laws of the check that actions lead to states, on arms whose response is known."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from uwm_core.data.lags import find_lag
from uwm_core.data.tracking import check_tracking
from uwm_core.embodiment import Embodiment

EMBODIMENT = Embodiment.load("fr3_sim")
PERIOD_S = 1 / EMBODIMENT.rate_hz


def targets(seed=0, steps=120):
    """Times, and a function that gives (n, 8) smooth motions, all different: slow sines."""
    time_s = np.arange(steps) * PERIOD_S

    def motion(moments):
        state = np.random.default_rng(seed)
        total = np.zeros((len(moments), 8))
        for _ in range(4):
            speed, phase = state.uniform(0.3, 3.0, 8), state.uniform(0, 6.28, 8)
            total += 0.2 * np.sin(speed * moments[:, None] + phase)
        return total

    return time_s, motion


def tracked(wanted, reached):
    return {c.name: c for c in check_tracking(EMBODIMENT, np.float32(wanted), np.float32(reached))}


@settings(deadline=None, max_examples=25)
@given(st.floats(0.0, 0.4), st.integers(0, 1000))
def test_a_delay_is_found_between_the_steps_and_explains_the_error(delay_s, seed):
    time_s, motion = targets(seed)
    found = tracked(motion(time_s), motion(time_s - delay_s))
    assert len(found) == 8
    for column in found.values():
        assert column.lag_s == pytest.approx(delay_s, abs=0.012)
        assert column.error_rms < 0.02
        assert column.warning == ""


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda a: -a, "sign looks flipped"),
        (np.degrees, "check the unit"),
        (lambda a: a[:, [1, 0, *range(2, 8)]], "columns look swapped"),
        (lambda a: np.broadcast_to(a[:1], a.shape), "never changes"),
        (lambda a: a + 3.0, "check the offset"),
        (lambda a: targets(99)[1](np.arange(len(a)) * PERIOD_S), "does not follow"),
    ],
)
def test_labels_that_lead_elsewhere_are_named(spoil, says):
    time_s, motion = targets(steps=600)  # long enough that chance explains nothing
    wanted = motion(time_s)
    assert says in tracked(spoil(wanted), motion(time_s - 0.08))["fr3_joint1"].warning


def test_an_arm_that_rests_is_not_judged():
    still = np.zeros((50, 8))
    assert tracked(still, still) == {}


def test_a_lag_needs_motion_and_one_peak_to_be_sure():
    time_s = np.arange(0, 10, 0.01)
    noise = np.random.default_rng(1).normal(size=len(time_s))
    bump = np.exp(-(((time_s - 5) / 0.05) ** 2))
    options = {"low_s": -0.3, "high_s": 0.3, "step_s": 0.01}
    sure = find_lag((time_s, time_s), bump, np.interp(time_s - 0.123, time_s, bump), **options)
    assert sure.lag_s == pytest.approx(0.123, abs=0.002) and sure.confidence > 0.8
    sine = np.sin(2 * np.pi * 5 * time_s)  # every period is as good as another
    assert find_lag((time_s, time_s), sine, sine, **options).confidence < 0.2
    assert find_lag((time_s, time_s), bump, noise, **options).confidence < 0.3
    assert find_lag((time_s, time_s), bump, np.ones_like(bump), **options).confidence == 0.0
