# SPDX-License-Identifier: Apache-2.0
"""Laws of the judge: whatever comes in, no command breaks a limit and nothing is raised."""

import dataclasses

import numpy as np
import pytest

from uwm_core.embodiment import Embodiment
from uwm_core.errors import UwmError
from uwm_core.records import ActionChunk
from uwm_ros.logic.joins import Join
from uwm_ros.logic.judge import Cause, Rules, Situation, judge
from uwm_ros.logic.plan import Plan

FR3 = Embodiment.load("fr3_sim")
# Laws about joints: with room all around.
SAFETY = dataclasses.replace(FR3.safety, workspace_m=(), table_m=None, self_collision_m=None)
EMBODIMENT = dataclasses.replace(FR3, safety=SAFETY)
RULES = Rules(EMBODIMENT)
WATCHED = Rules(FR3)
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


def test_still_chunk_passes_and_goes_on_from_the_measured_state():
    verdict = judge(chunk(), situation(), RULES)
    assert (verdict.kind, verdict.reason) == ("pass", "")
    for moment in (NOW, verdict.plan.end_ns):
        np.testing.assert_allclose(verdict.plan.sample(moment)[0], HOME, atol=1e-6)
    assert verdict.jump_rad < 0 and np.isnan(verdict.clearance_m)
    assert judge(chunk(), situation(), WATCHED).clearance_m > 0


def test_replacing_chunk_changes_nothing_that_is_decided():
    first = judge(chunk(ramp(0.3)), situation(), RULES)
    later = NOW + 430_000_000
    q, _, _ = first.plan.sample(later)
    case = situation(now_ns=later, measured_rad=q, plan=first.plan, lead_ns=10_000_000)
    second = judge(chunk(ramp(0.2)[4:], stamp_ns=later), case, RULES)
    decided = later + np.arange(-100, 11) * 1_000_000
    for mine, theirs in zip(second.plan.samples(decided), first.plan.samples(decided), strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-8)
    at = NOW + 530_000_000
    wanted = np.abs(ramp(0.2)[5] - first.plan.raw.sample(at)[0]).max()
    assert second.jump_rad == pytest.approx(wanted, abs=1e-6)


def test_past_actions_are_dropped_and_due_ones_played_at_their_time():
    stamp_ns = NOW - 240_000_000
    on_the_way = situation(measured_rad=ramp(0.05)[2] + 0.002)
    verdict = judge(chunk(ramp(0.05), stamp_ns=stamp_ns), on_the_way, RULES)
    raw, dues = verdict.plan.raw, stamp_ns + PERIOD * np.arange(12)
    played = [t for t in dues[:-1] if t > NOW + 7e7]
    assert raw.times_ns[2:-1].tolist() == played
    np.testing.assert_allclose(raw.positions[2:], ramp(0.05)[-len(played) - 1 :], atol=1e-6)
    assert verdict.dropped == 11 - len(played)


def test_at_half_speed_the_same_way_takes_twice_the_time():
    for speed in (1.0, 0.5):
        verdict = judge(chunk(ramp(0.05)), situation(speed_scale=speed), RULES)
        for k in (4, 8):
            q, v, _ = verdict.plan.sample(NOW + round(k * PERIOD / speed))
            np.testing.assert_allclose(q, ramp(0.05)[k], atol=1e-4)
            np.testing.assert_allclose(v, 0.05 * speed, atol=1e-3)
        assert verdict.period_ns == round(PERIOD / speed)


def test_the_faster_chunk_is_clipped_to_the_scaled_speed():
    verdict = judge(chunk(ramp(1.5)), situation(speed_scale=0.2), RULES)
    assert verdict.plan.points(NOW).peaks[2].max() <= 0.2 * LIMITS.velocity.max() + 1e-9


@pytest.mark.parametrize("kind", ["replace", "blend", "inpaint"])
def test_jumps_are_reported_before_and_after_blending(kind):
    plan = Plan.at_rest(HOME, NOW - 10**9, RULES.smoothing_ns)
    case = situation(plan=plan, join=Join(kind, 0.2))
    verdict = judge(chunk(np.tile(HOME + 0.01, (12, 1))), case, RULES)
    assert verdict.jump_rad == pytest.approx(0.01, abs=1e-6)
    if kind == "replace":
        assert verdict.commanded_jump_rad == verdict.jump_rad
    else:
        assert verdict.commanded_jump_rad < verdict.jump_rad
    np.testing.assert_allclose(verdict.plan.sample(verdict.plan.end_ns)[0], HOME + 0.01, atol=1e-6)


def test_an_arm_that_does_not_follow_its_plan_is_not_moved_on():
    plan = Plan.at_rest(HOME, NOW - 10**9, RULES.smoothing_ns)
    tolerance = EMBODIMENT.safety.tracking_tolerance_rad
    near, far = (situation(plan=plan, measured_rad=HOME + d) for d in (-0.9 * tolerance, 0.3))
    assert judge(chunk(), near, RULES).kind == "pass"
    assert judge(chunk(), far, RULES).cause is Cause.TRACKING


@pytest.mark.parametrize("way", [-1.0, 1.0])
def test_an_arm_outside_its_margin_comes_back_and_goes_no_further(way):
    outside = HOME.copy()
    outside[1] = LIMITS.high[1] + 0.01
    rows = np.tile(outside, (12, 1))
    rows[:, 1] += way * np.linspace(0, 0.3, 12)
    verdict = judge(chunk(rows), situation(measured_rad=outside), RULES)
    assert verdict.plan is not None, verdict.reason
    positions = verdict.plan.points(NOW).positions[:, 1]
    assert positions.max() <= outside[1] + 1e-9
    assert positions[-1] <= (LIMITS.high[1] if way < 0 else outside[1]) + 1e-9


def test_columns_follow_names_not_order():
    order = np.random.default_rng(0).permutation(len(NAMES))
    straight = chunk(ramp(0.2))
    shuffled = dataclasses.replace(
        straight,
        actions=np.ascontiguousarray(straight.actions[:, order]),
        names=tuple(NAMES[i] for i in order),
    )
    a, b = (judge(c, situation(), RULES) for c in (straight, shuffled))
    np.testing.assert_array_equal(a.plan.raw.positions, b.plan.raw.positions)
    np.testing.assert_array_equal(a.values["gripper_width"], b.values["gripper_width"])


def test_fast_chunk_is_clipped_not_dropped():
    verdict = judge(chunk(ramp(2.5, length=3)), situation(), RULES)
    assert (verdict.kind, verdict.cause) == ("clip", Cause.LIMIT)
    assert "velocity" in verdict.reason or "acceleration" in verdict.reason
    assert verdict.plan.points(NOW).violations(LIMITS) == []


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
    assert verdict.plan is None
    assert word in verdict.reason
    assert "\n" not in verdict.reason


def test_another_period_holds():
    other = dataclasses.replace(chunk(), period_ns=PERIOD // 2)
    assert judge(other, situation(), RULES).cause is Cause.NAMES


def test_nonsense_holds_and_never_raises():
    assert judge(None, situation(), RULES).cause is Cause.DEFECT
    assert judge(chunk(), None, RULES).cause is Cause.DEFECT


def test_open_and_closed_are_all_that_a_gripper_without_a_width_is_told():
    gripper = dataclasses.replace(
        EMBODIMENT.action["gripper_width"], unit="unitless", scale=1.0, open_above=0.5
    )
    action = {**EMBODIMENT.action, "gripper_width": gripper}
    rules = Rules(dataclasses.replace(EMBODIMENT, action=action))
    for asked, told in ((0.2, 0.0), (0.7, 1.0), (9.0, 1.0)):
        verdict = judge(chunk(gripper=asked), situation(), rules)
        assert (verdict.values["gripper_width"] == told).all()


def test_a_jerk_limit_widens_the_window():
    slow = dataclasses.replace(EMBODIMENT.limits, jerk_rad_s3=(200.0,) * J)
    assert Rules(EMBODIMENT).smoothing_ns == 40_000_000
    assert Rules(dataclasses.replace(EMBODIMENT, limits=slow)).smoothing_ns == 100_000_000


def test_a_command_relative_to_the_state_is_refused_and_a_state_reached_is_not():
    """An arm that lags by three periods leads by three: added up, the command is thrice as fast."""
    channel = dataclasses.replace(EMBODIMENT.action["joint_target"], relative_to="joint_pos")
    reached = dataclasses.replace(channel, at="next_tick")
    others = {"gripper_width": EMBODIMENT.action["gripper_width"]}
    Rules(dataclasses.replace(EMBODIMENT, action={"joint_target": reached, **others}))
    with pytest.raises(UwmError, match=r"joint_target .* relative to joint_pos"):
        Rules(dataclasses.replace(EMBODIMENT, action={"joint_target": channel, **others}))
