# SPDX-License-Identifier: Apache-2.0
"""Laws of the judge: whatever comes in, no command breaks a limit and nothing is raised."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from uwm_core.embodiment import Embodiment
from uwm_core.errors import UwmError
from uwm_core.records import ActionChunk
from uwm_ros.logic.judge import Cause, Rules, Situation, judge

EMBODIMENT = Embodiment.load("fr3_sim")
RULES = Rules(EMBODIMENT)
LIMITS = RULES.limits
HOME = np.array(EMBODIMENT.home_rad)
NAMES = EMBODIMENT.action_names
PERIOD = EMBODIMENT.period_ns
NOW = 1_700_000_000_000_000_000
J = len(HOME)


def situation(**changes):
    return dataclasses.replace(
        Situation(now_ns=NOW, measured_rad=HOME, measured_age_s=0.01, plan=None), **changes
    )


def chunk(arm=None, gripper=0.04, *, stamp_ns=NOW, names=NAMES, length=12):
    arm = np.tile(HOME, (length, 1)) if arm is None else arm
    actions = np.column_stack([arm, np.full(len(arm), gripper)]).astype(np.float32)
    return ActionChunk(stamp_ns=stamp_ns, period_ns=PERIOD, actions=actions, names=names)


def ramp(rate_rad_s, length=12):
    return HOME + np.outer(np.arange(length) * PERIOD / 1e9, np.full(J, rate_rad_s))


def test_still_chunk_passes_and_starts_on_the_measured_state():
    verdict = judge(chunk(), situation(), RULES)
    assert (verdict.kind, verdict.reason) == ("pass", "")
    np.testing.assert_allclose(verdict.trajectory.positions[0], HOME)
    assert verdict.trajectory.start_ns == NOW


def test_replacing_chunk_starts_on_the_plan_being_executed():
    first = judge(chunk(ramp(0.3)), situation(), RULES)
    later = NOW + 430_000_000
    q, v = first.trajectory.sample(later)
    second = judge(
        chunk(ramp(0.3)[4:], stamp_ns=later),
        situation(now_ns=later, measured_rad=q, plan=first.trajectory),
        RULES,
    )
    np.testing.assert_allclose(second.trajectory.positions[0], q)
    np.testing.assert_allclose(second.trajectory.velocities[0], v)
    assert second.trajectory.start_ns == later


def test_past_actions_are_dropped_and_due_ones_played_at_their_time():
    stamp_ns = NOW - 240_000_000
    on_the_way = situation(measured_rad=ramp(0.05)[2] + 0.002)
    verdict = judge(chunk(ramp(0.05), stamp_ns=stamp_ns), on_the_way, RULES)
    dues = stamp_ns + PERIOD * np.arange(12)
    assert verdict.trajectory.times_ns[1:-1].tolist() == [t for t in dues[:-1] if t > NOW + 5e7]
    np.testing.assert_allclose(verdict.trajectory.positions[1:], ramp(0.05)[3:], atol=1e-6)


def test_columns_follow_names_not_order():
    order = np.random.default_rng(0).permutation(len(NAMES))
    straight = chunk(ramp(0.2))
    shuffled = dataclasses.replace(
        straight,
        actions=np.ascontiguousarray(straight.actions[:, order]),
        names=tuple(NAMES[i] for i in order),
    )
    a, b = (judge(c, situation(), RULES) for c in (straight, shuffled))
    np.testing.assert_array_equal(a.trajectory.positions, b.trajectory.positions)
    np.testing.assert_array_equal(a.values["gripper_width"], b.values["gripper_width"])


def test_fast_chunk_is_clipped_not_dropped():
    verdict = judge(chunk(ramp(2.5, length=3)), situation(), RULES)
    assert (verdict.kind, verdict.cause) == ("clip", Cause.LIMIT)
    assert "velocity" in verdict.reason or "acceleration" in verdict.reason
    assert verdict.trajectory.violations(LIMITS) == []


def test_start_is_judged_by_the_first_command_not_by_where_the_chunk_leads():
    """A quick chunk that starts at the arm was once refused, since its third action is far."""
    quick = judge(chunk(ramp(1.8, length=6), stamp_ns=NOW - 150_000_000), situation(), RULES)
    assert quick.kind == "clip", quick.reason
    far = judge(chunk(ramp(1.8, length=6) + 0.4), situation(), RULES)
    assert (far.cause, "first command" in far.reason) == (Cause.JUMP, True)


def test_gripper_stays_between_closed_and_open():
    for asked, given_m in ((-1.0, 0.0), (0.03, 0.03), (5.0, EMBODIMENT.gripper.max_width_m)):
        verdict = judge(chunk(gripper=asked), situation(), RULES)
        np.testing.assert_allclose(verdict.values["gripper_width"], given_m, rtol=1e-6)


BAD = np.tile(HOME, (12, 1))
BAD[7, 3] = np.nan
HUGE = np.tile(HOME, (12, 1))
HUGE[7, 3] = 1e6
FAR = np.tile(HOME + 0.5, (12, 1))


@pytest.mark.parametrize(
    ("case", "given_situation", "cause", "word"),
    [
        (chunk(BAD), situation(), Cause.NOT_FINITE, "fr3_joint4"),
        (chunk(gripper=np.inf), situation(), Cause.NOT_FINITE, "gripper_width"),
        (chunk(HUGE), situation(), Cause.LIMIT, "fr3_joint4"),
        (chunk(FAR), situation(), Cause.JUMP, "fr3_joint"),
        (chunk(stamp_ns=NOW - 5 * 10**9), situation(), Cause.STALE_OBSERVATION, "5.00 s"),
        (chunk(stamp_ns=NOW + 3600 * 10**9), situation(), Cause.CLOCK, "future"),
        (chunk(length=2, stamp_ns=NOW - 3 * 10**8), situation(), Cause.LATE_CHUNK, "past"),
        (chunk(), situation(measured_rad=None), Cause.STALE_STATE, "no joint state"),
        (chunk(), situation(measured_age_s=2.0), Cause.STALE_STATE, "2.00 s"),
        (chunk(), situation(measured_rad=HOME * np.nan), Cause.NOT_FINITE, "measured"),
        (chunk(names=(*NAMES[:-1], "tail")), situation(), Cause.NAMES, "gripper_width"),
    ],
)
def test_bad_input_holds_with_a_reason_that_names_it(case, given_situation, cause, word):
    verdict = judge(case, given_situation, RULES)
    assert (verdict.kind, verdict.cause) == ("hold", cause)
    assert verdict.trajectory is None
    assert word in verdict.reason
    assert "\n" not in verdict.reason


def test_another_period_holds():
    other = dataclasses.replace(chunk(), period_ns=PERIOD // 2)
    assert judge(other, situation(), RULES).cause is Cause.NAMES


def test_nonsense_holds_and_never_raises():
    assert judge(None, situation(), RULES).cause is Cause.DEFECT
    assert judge(chunk(), None, RULES).cause is Cause.DEFECT


values = st.one_of(
    st.floats(width=32), st.sampled_from([np.nan, np.inf, 1e6, -1e6]), st.floats(-4, 4, width=32)
)


@settings(deadline=None, max_examples=150)
@given(
    seed=st.integers(0, 2**32),
    spread=st.sampled_from([0.005, 0.05, 0.2, 1.0, 10.0]),
    wild=st.lists(st.tuples(st.integers(0, 11), st.integers(0, J - 1), values), max_size=2),
    age_s=st.floats(-0.1, 1.5),
    joined=st.booleans(),
)
def test_no_output_ever_violates_a_limit(seed, spread, wild, age_s, joined):
    rng = np.random.default_rng(seed)
    margin = 0.1 * (LIMITS.high - LIMITS.low)
    measured = rng.uniform(LIMITS.low + margin, LIMITS.high - margin)
    plan = None
    if joined:
        calm = measured + np.cumsum(rng.normal(0, 0.02, (12, J)), axis=0)
        before = situation(now_ns=NOW - 300_000_000, measured_rad=measured)
        plan = judge(chunk(calm, stamp_ns=NOW - 300_000_000), before, RULES).trajectory
    arm = measured + np.cumsum(rng.normal(0, spread, (12, J)), axis=0)
    for k, j, value in wild:
        arm[k, j] = value
    case = chunk(arm, stamp_ns=NOW - round(age_s * 1e9))
    verdict = judge(case, situation(measured_rad=measured, plan=plan), RULES)
    assert verdict.cause is not Cause.DEFECT, verdict.reason
    if verdict.kind == "hold":
        assert verdict.trajectory is None
        assert verdict.reason
    else:
        low, high, speed, acceleration = verdict.trajectory.peaks()
        assert (low >= LIMITS.low - 1e-6).all() and (high <= LIMITS.high + 1e-6).all()
        assert (speed <= LIMITS.velocity + 1e-6).all()
        assert (acceleration <= LIMITS.acceleration + 1e-6).all()
        assert not verdict.trajectory.velocities[-1].any()


@pytest.mark.parametrize("name", ["fr3_servo", "fr3_vr", "droid"])
def test_what_is_only_recorded_is_refused_by_name(name):
    with pytest.raises(UwmError, match=rf"of embodiment {name} is sent as .*; driven: "):
        Rules(Embodiment.load(name))


def test_a_command_relative_to_the_state_is_refused_and_a_state_reached_is_not():
    """An arm that lags by three periods leads by three: added up, the command is thrice as fast."""
    channel = dataclasses.replace(EMBODIMENT.action["joint_target"], relative_to="joint_pos")
    reached = dataclasses.replace(channel, at="next_tick")
    others = {"gripper_width": EMBODIMENT.action["gripper_width"]}
    Rules(dataclasses.replace(EMBODIMENT, action={"joint_target": reached, **others}))
    with pytest.raises(UwmError, match=r"joint_target .* relative to joint_pos"):
        Rules(dataclasses.replace(EMBODIMENT, action={"joint_target": channel, **others}))
