# SPDX-License-Identifier: Apache-2.0
"""Laws of the guard: the arm goes as far as a stop still keeps it, and may always come back."""

import dataclasses

import numpy as np
import pytest

from uwm_core.embodiment import Embodiment
from uwm_core.records import ActionChunk
from uwm_ros.logic.judge import Cause, Rules, Situation, judge

EMBODIMENT = Embodiment.load("fr3_sim")
SAFETY = dataclasses.replace(EMBODIMENT.safety, workspace_m=(), table_m=None, self_collision_m=None)
FREE = dataclasses.replace(EMBODIMENT, safety=SAFETY)
HOME = np.array(EMBODIMENT.home_rad)
NOW = 1_700_000_000_000_000_000
PERIOD_S = EMBODIMENT.period_ns / 1e9
WALL = 0.2


@dataclasses.dataclass(frozen=True, eq=False)
class Room:
    """What a guard answers."""

    distance_m: np.ndarray
    what: str


class Wall:
    """The first joint may not turn beyond an angle, as if something stood there."""

    def __init__(self, what="fr3_hand and the workspace's high y side"):
        self.what = what

    def clearance(self, joints_rad):
        return Room(WALL - joints_rad[:, 0], self.what)


def guarded(guard=None):
    rules = Rules(EMBODIMENT)
    rules.guard = guard or Wall()
    return rules


def chunk(first_joint, now_ns=NOW):
    arm = np.tile(HOME, (12, 1))
    arm[:, 0] = first_joint
    actions = np.column_stack([arm, np.full(12, 0.04)]).astype(np.float32)
    return ActionChunk(now_ns, EMBODIMENT.period_ns, actions, EMBODIMENT.action_names)


def at(first_joint, **changes):
    measured = HOME.copy()
    measured[0] = first_joint
    case = Situation(now_ns=NOW, measured_rad=measured, measured_age_s=0.0, plan=None)
    return dataclasses.replace(case, **changes)


def path(verdict):
    moments = NOW + np.arange(0, 3000, 5) * 1_000_000
    return verdict.plan.samples(moments)[0][:, 0]


OUTWARD = 0.4 * PERIOD_S * np.arange(12)


@pytest.mark.parametrize(
    ("what", "cause"),
    [("hand and the workspace's low x side", Cause.WORKSPACE), ("hand and link1", Cause.COLLISION)],
)
def test_it_stops_before_the_wall_and_says_which(what, cause):
    verdict = judge(chunk(OUTWARD), at(0.0), guarded(Wall(what)))
    assert (verdict.kind, verdict.cause) == ("clip", cause), verdict.reason
    assert what in verdict.reason
    moved = path(verdict)
    assert moved.max() <= WALL
    # As far as a stop still keeps it: within a step of the speed, and the way of braking.
    assert moved.max() >= WALL - 0.4 * 0.02 - 0.01
    assert verdict.clearance_m == pytest.approx(WALL - moved.max(), abs=1e-4)
    assert verdict.plan.points(NOW).violations(guarded().limits) == []


def test_far_from_the_wall_nothing_is_changed():
    free, watched = Rules(FREE), guarded()
    ours, theirs = (judge(chunk(OUTWARD * 0.3), at(0.0), rules) for rules in (watched, free))
    np.testing.assert_array_equal(path(ours), path(theirs))
    assert ours.cause is theirs.cause
    assert ours.clearance_m == pytest.approx(WALL - path(ours).max(), abs=1e-3)


def test_at_the_wall_it_rests_until_it_is_led_back():
    rules, verdict, now_ns = guarded(), None, NOW
    for _ in range(8):
        measured = HOME if verdict is None else verdict.plan.sample(now_ns)[0]
        ahead = measured[0] + OUTWARD
        case = at(0.0, now_ns=now_ns, measured_rad=measured, plan=verdict and verdict.plan)
        verdict = judge(chunk(ahead, now_ns), case, rules)
        assert verdict.plan is not None, verdict.reason
        now_ns += 300_000_000
    rest = verdict.plan.sample(now_ns)[0]
    assert WALL - 0.02 <= rest[0] <= WALL
    case = at(0.0, now_ns=now_ns, measured_rad=rest, plan=verdict.plan)
    back = judge(chunk(rest[0] - 0.5 * OUTWARD, now_ns), case, rules)
    assert back.cause not in (Cause.WORKSPACE, Cause.COLLISION)
    assert back.plan.sample(back.plan.end_ns)[0][0] < rest[0] - 0.1


@pytest.mark.parametrize("way", [-1, 1])
def test_beyond_the_wall_it_may_come_back_and_goes_no_further(way):
    beyond = WALL + 0.05
    verdict = judge(chunk(beyond + way * 0.3 * OUTWARD), at(beyond), guarded())
    assert verdict.plan is not None, verdict.reason
    assert path(verdict).max() <= beyond + 1e-6
    assert (path(verdict)[-1] < beyond - 0.1) == (way < 0)


def test_what_cannot_be_stopped_in_time_is_held():
    fast = judge(chunk(OUTWARD), at(0.0), Rules(FREE)).plan
    late_ns = int(next(t for t in NOW + np.arange(2000) * 10**6 if fast.sample(t)[0][0] > 0.19))
    case = at(0.0, now_ns=late_ns, measured_rad=fast.sample(late_ns)[0], plan=fast)
    verdict = judge(chunk(0.19 + OUTWARD, late_ns), case, guarded())
    assert (verdict.kind, verdict.cause) == ("hold", Cause.WORKSPACE)
    assert "too late" in verdict.reason
