# SPDX-License-Identifier: Apache-2.0
"""Laws of the leader arm behind a Twist: it goes where it is wished, and never over a limit."""

import numpy as np
import pytest

from uwm_core.embodiment import Embodiment
from uwm_core.errors import UwmError
from uwm_core.records import ActionChunk
from uwm_core.sim.kinematics import tcp_pose
from uwm_ros.logic.hand_drive import DriveConfig, Leader, Wishes, parse_axes
from uwm_ros.logic.judge import Rules, Situation, judge
from uwm_ros.logic.limits import Limits

FR3 = Embodiment.load("fr3_sim")
LIMITS = Limits.of(FR3)
PERIOD_S = FR3.period_ns / 1e9
TICK_NS = 50_000_000
SECOND_NS = 1_000_000_000


@pytest.mark.parametrize("axis", range(6))
@pytest.mark.parametrize("sign", [-1, 1])
def test_the_hand_goes_the_way_that_is_wished_and_turns_no_other_way(axis, sign):
    leader = Leader(FR3)
    before = tcp_pose(leader.position)
    twist = np.zeros(6)
    twist[axis] = sign * (0.1 if axis < 3 else 0.4)
    for _ in range(20):
        leader.move(twist, 0.05)
    after = tcp_pose(leader.position)
    moved = after[:3, 3] - before[:3, 3]
    turn = after[:3, :3] @ before[:3, :3].T
    vector = np.array([turn[2, 1] - turn[1, 2], turn[0, 2] - turn[2, 0], turn[1, 0] - turn[0, 1]])
    wished, other = (moved, vector / 2) if axis < 3 else (vector / 2, moved)
    assert sign * wished[axis % 3] > 0.6 * abs(twist[axis])
    assert np.abs(np.delete(wished, axis % 3)).max() < 0.02
    assert np.abs(other).max() < 0.02


def test_in_the_frame_of_the_hand_ahead_is_where_the_fingers_point():
    leader = Leader(FR3, "hand")
    before = tcp_pose(leader.position)[:3, 3]
    for _ in range(10):
        leader.move(np.array([0, 0, 0.1, 0, 0, 0]), 0.05)
    assert tcp_pose(leader.position)[2, 3] < before[2] - 0.02


@pytest.mark.parametrize("seed", range(6))
def test_streamed_chunks_pass_the_judge_and_the_leader_keeps_every_limit(seed):
    """20 chunks a second, wishes that jump, devices that fall silent; an arm that follows."""
    rng = np.random.default_rng(seed)
    rules, plan = Rules(FR3), None
    leader = Leader(FR3, guard=rules.guard)
    config = DriveConfig(speed_m_s=0.3, turn_rad_s=1.0)
    wishes, now_ns, clipped = Wishes(config), SECOND_NS, 0
    for tick in range(400):
        if tick % 12 == 0:
            wish = rng.uniform(-1, 1, 6) * (rng.random(6) < 0.5)
        if rng.random() < 0.7:
            wishes.take_twist(wish, now_ns)
        before = leader.velocity
        leader.move(wishes.velocity(now_ns), TICK_NS / 1e9)
        assert (leader.position >= LIMITS.low).all() and (leader.position <= LIMITS.high).all()
        assert (np.abs(leader.velocity) <= LIMITS.velocity).all()
        assert np.isfinite(before).all()
        assert rules.guard.clearance(leader.position[None]).distance_m[0] > 0.01
        arm = leader.ahead(PERIOD_S)
        actions = np.column_stack([arm, np.full(len(arm), 0.04)]).astype(np.float32)
        chunk = ActionChunk(now_ns, FR3.period_ns, actions, FR3.action_names)
        measured = leader.position if plan is None else plan.sample(now_ns)[0]
        situation = Situation(now_ns=now_ns, measured_rad=measured, measured_age_s=0.0, plan=plan)
        verdict = judge(chunk, situation, rules)
        assert verdict.kind != "hold", (tick, verdict.reason)
        assert verdict.plan.points(now_ns).violations(LIMITS) == []
        clipped += verdict.kind == "clip"
        plan = verdict.plan
        now_ns += TICK_NS
    assert clipped < 60  # a wish may be clipped where it meets the end of a joint, seldom elsewhere


def test_nobody_says_more_and_the_chunk_ends_at_rest():
    leader = Leader(FR3)
    for _ in range(10):
        leader.move(np.array([0.15, 0, 0, 0, 0, 0]), 0.05)
    assert leader.velocity.any()
    rows = leader.ahead(PERIOD_S)
    assert (rows[0] == leader.position).all()
    assert (rows[-1] == rows[-2]).all()
    assert len(rows) * PERIOD_S < FR3.safety.max_chunk_age_s


def test_a_silent_device_wants_nothing():
    wishes = Wishes(DriveConfig(timeout_s=0.25))
    wishes.take_twist(np.array([1, 0, 0, 0, 0, 0]), SECOND_NS)
    assert wishes.velocity(SECOND_NS + 250_000_000).any()
    assert not wishes.velocity(SECOND_NS + 250_000_001).any()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_wish_that_is_not_finite_wants_nothing(bad):
    wishes = Wishes(DriveConfig())
    wishes.take_twist(np.array([bad, 0, 0, 0, 0, 0]), SECOND_NS)
    assert not wishes.velocity(SECOND_NS).any()


def test_full_deflection_is_full_speed_in_every_direction_and_the_dead_zone_is_still():
    config = DriveConfig(speed_m_s=0.2, dead_zone=0.1)
    wishes = Wishes(config)
    for deflection, speed in ((1.0, 0.2), (5.0, 0.2), (0.1, 0.0), (0.55, 0.1)):
        way = np.array([1.0, -2.0, 2.0]) / 3
        wishes.take_twist(np.concatenate([deflection * way, np.zeros(3)]), SECOND_NS)
        assert np.linalg.norm(wishes.velocity(SECOND_NS)) == pytest.approx(speed)


def test_without_the_deadman_nothing_is_wanted_and_a_joy_not_heard_of_is_released():
    wishes = Wishes(DriveConfig(deadman_button=1))
    wishes.take_twist(np.ones(6), SECOND_NS)
    assert not wishes.velocity(SECOND_NS).any()
    wishes.take_joy([], [0, 1], SECOND_NS)
    assert wishes.velocity(SECOND_NS).any()
    wishes.take_joy([], [0, 0], SECOND_NS)
    assert not wishes.velocity(SECOND_NS).any()
    wishes.take_joy([], [0, 1], SECOND_NS)
    later_ns = SECOND_NS + 300_000_000
    wishes.take_twist(np.ones(6), later_ns)
    assert not wishes.velocity(later_ns).any()


def test_the_gripper_changes_once_per_press():
    wishes = Wishes(DriveConfig(gripper_button=0))
    presses = [wishes.take_joy([], [state], SECOND_NS) for state in (1, 0, 1, 1, 1, 0, 0, 1)]
    # The first word may be a button that was held all along.
    assert presses == [False, False, True, False, False, False, False, True]


def test_joy_axes_are_a_wish_too():
    wishes = Wishes(DriveConfig(joy_axes=parse_axes("1 0 - - - 2"), dead_zone=0.0))
    wishes.take_joy([0.0, 1.0, -1.0], [], SECOND_NS)
    assert np.allclose(wishes.velocity(SECOND_NS), [0.15, 0, 0, 0, 0, -0.6])


@pytest.mark.parametrize("text", ["1 0", "a 0 - - - -", "-2 0 0 0 0 0"])
def test_axes_of_another_form_are_refused(text):
    with pytest.raises(UwmError, match="joy_axes"):
        DriveConfig(joy_axes=parse_axes(text))
