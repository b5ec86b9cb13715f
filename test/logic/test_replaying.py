# SPDX-License-Identifier: Apache-2.0
"""Laws of replaying: each action at its own time, the last one held, and nothing invented."""

import numpy as np
import pytest

from uwm_core.embodiment import Embodiment
from uwm_core.errors import UwmError
from uwm_ros.logic.replaying import Replay

FR3 = Embodiment.load("fr3_sim")
STEPS = 30
HOME = np.array([*FR3.home_rad, 0.04])
ACTION = (HOME + 0.005 * np.arange(STEPS)[:, None]).astype(np.float32)
STATE = {"joint_pos": ACTION[:, :7], "gripper_width": ACTION[:, 7:]}
START_NS = 1_000_000_000


@pytest.mark.parametrize("at_ms", [-1000, -950, -1, 0, 1, 99, 100, 1450, 2999])
def test_every_action_is_due_where_it_was_recorded_and_both_ends_are_held(at_ms):
    chunk = Replay(FR3, ACTION, STATE).chunk(START_NS, START_NS + at_ms * 1_000_000)
    for k, row in enumerate(chunk.actions):
        step = (chunk.due_ns(k) - START_NS) // FR3.period_ns
        assert (row == ACTION[np.clip(step, 0, STEPS - 1)]).all()
    assert 0 <= START_NS + at_ms * 1_000_000 - chunk.stamp_ns < FR3.period_ns


def test_after_the_settling_there_is_no_chunk_and_before_it_the_plan_does_not_end():
    replay, now_ns = Replay(FR3, ACTION, STATE), START_NS
    while (chunk := replay.chunk(START_NS, now_ns)) is not None:
        assert chunk.due_ns(len(chunk.actions) - 1) > now_ns + 500_000_000
        now_ns += FR3.period_ns
    assert (now_ns - START_NS) // FR3.period_ns == STEPS + 5


def test_an_arm_on_the_recorded_path_has_no_error_and_one_beside_it_is_named():
    replay = Replay(FR3, ACTION, STATE)
    for at in (0.0, 3.5, 28.99):
        replay.compare(ACTION[0, :7] + 0.005 * at, round(at * FR3.period_ns))
    assert replay.tracking().worst_rad < 1e-6
    beside = ACTION[4, :7].astype(float)
    beside[2] -= 0.1
    replay.compare(beside, 4 * FR3.period_ns)
    assert replay.tracking().worst_joint == "fr3_joint3"
    assert replay.tracking().worst_rad == pytest.approx(0.1, abs=1e-6)
    replay.compare(beside, 500 * FR3.period_ns)  # after the end there is nothing to compare with
    assert replay.tracking().moments == 4


def test_far_from_the_start_is_named():
    replay, away = Replay(FR3, ACTION, STATE), ACTION[0, :7].copy()
    assert replay.far(away) == ""
    away[5] += 1.0
    assert "fr3_joint6 is 1 rad from the start" in replay.far(away)


def test_an_episode_without_actions_is_refused():
    absent = ACTION.copy()
    absent[3] = np.nan
    with pytest.raises(UwmError, match="no action at step 3"):
        Replay(FR3, absent, STATE)
