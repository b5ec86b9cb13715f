# SPDX-License-Identifier: Apache-2.0
"""The last word on every chunk: what the arm is sent, or why it holds.

`judge` is pure and never raises: whatever comes in, a verdict comes out. `pass` is the chunk's own
actions as a plan that goes on from the one being executed; `clip` is motion within the limits that
follows them as closely as it can; `hold` sends none of it, and the executor brakes. Past actions
are dropped, since a chunk is indexed by time. Columns are found by name, never by place.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Literal

import numpy as np
import numpy.typing as npt

from uwm_core.errors import UwmError
from uwm_core.records import ActionChunk
from uwm_ros.logic.causes import Cause
from uwm_ros.logic.joins import REPLACE, Join, joined
from uwm_ros.logic.limits import Floats
from uwm_ros.logic.pause import LONG_AGO, Pause
from uwm_ros.logic.plan import Plan
from uwm_ros.logic.rules import Rules, measured_by
from uwm_ros.logic.shaping import HeldError, Shaped, shaped
from uwm_ros.logic.trajectory import Moments

__all__ = [
    "Cause",
    "Join",
    "Rules",
    "Situation",
    "Verdict",
    "judge",
    "measured_by",
]

_NS = 1e9
# A clock may run this far ahead before its stamps are refused.
_FUTURE_S = 0.2
# An action due sooner than this share of a period cannot be reached in time: the next one is.
_SOONEST = 0.5
# How long a controller may take to follow its plan.
_LAG_NS = 150_000_000
# How many times the velocity limit between two actions still counts as a limit to be clipped.
_WILD = 4.0
_PERIOD_TOLERANCE = 0.01


@dataclasses.dataclass(frozen=True, eq=False)
class Verdict:
    """What becomes of a chunk.

    Attributes:
        kind: Whether it is played as it is, within the limits, or not at all.
        cause: Of a hold or a clip.
        reason: One sentence; empty when passed.
        plan: What the arm is sent; None when held or without arm columns.
        values: Per scalar channel, the (A,) values in force from each action's due time on.
        counted_ns: Due of action 0: the observation's stamp, or later after a pause.
        period_ns: Between the dues of the values, at the speed that is played.
        begun_ns: When the plan leaves the one before it.
        jump_rad: Largest distance of a joint between the chunk's first target and the plan at its
            due moment; negative where nothing was being executed.
        commanded_jump_rad: What is left of it after blending.
        dropped: Actions that were past.
        limit_share: Largest share of a velocity or acceleration limit that the plan uses.
        clearance_m: Least room along the plan; NaN where no guard watches.
    """

    kind: Literal["pass", "clip", "hold"]
    cause: Cause = Cause.NONE
    reason: str = ""
    plan: Plan | None = None
    values: Mapping[str, npt.NDArray[np.float64]] = dataclasses.field(default_factory=dict)
    counted_ns: int = 0
    period_ns: int = 0
    begun_ns: int = 0
    jump_rad: float = -1.0
    commanded_jump_rad: float = -1.0
    dropped: int = 0
    limit_share: float = 0.0
    clearance_m: float = float("nan")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Situation:
    """What is known at the moment of judging.

    Attributes:
        now_ns: The moment.
        measured_rad: Newest measured joint positions (J,); None before the first.
        measured_age_s: Their age.
        plan: What is being executed; None when nothing was sent yet.
        join: How the chunk takes over.
        speed_scale: Share of the policy's own speed, above 0 and at most 1: action k is due at
            ``stamp + k * period / speed_scale``, the stamp counted as `pause` says.
        lead_ns: The chunk takes over so much later than it could; time for judging it.
        pause: When the arm was last not driven; by default so long ago that it does not matter.
    """

    now_ns: int
    measured_rad: Floats | None
    measured_age_s: float
    plan: Plan | None
    join: Join = REPLACE
    speed_scale: float = 1.0
    lead_ns: int = 0
    pause: Pause = LONG_AGO


def judge(chunk: ActionChunk, situation: Situation, rules: Rules) -> Verdict:
    """Decide what a chunk becomes; never raises.

    Args:
        chunk: What the policy wants, columns in any order.
        situation: What is measured and executed.
        rules: What the embodiment allows.

    Returns:
        The verdict; a plan in it keeps every limit on the whole curve.
    """
    try:
        with np.errstate(all="ignore"):
            return _judge(chunk, situation, rules)
    except HeldError as held:
        return Verdict("hold", held.cause, str(held))
    except Exception as error:  # a robot is never left without an answer
        return Verdict("hold", Cause.DEFECT, f"judging failed: {error!r}")


def _judge(chunk: ActionChunk, situation: Situation, rules: Rules) -> Verdict:
    if not 0 < situation.speed_scale <= 1:
        raise ValueError(f"speed_scale must be in (0, 1], got {situation.speed_scale:g}")
    _check_meaning(chunk, rules)
    _check_ages(chunk, situation, rules)
    actions = chunk.actions.astype(np.float64)
    if not np.isfinite(actions).all():
        k, column = np.argwhere(~np.isfinite(actions))[0]
        raise HeldError(
            Cause.NOT_FINITE, f"action {k} of {chunk.names[column]} is {actions[k, column]}"
        )
    columns = {name: i for i, name in enumerate(chunk.names)}
    values = {
        key: _value(actions[:, columns[name]], key, rules) for key, name in rules.scalars.items()
    }
    begun_ns = situation.now_ns + situation.lead_ns + rules.smoothing_ns // 2
    counted = situation.pause.counted(chunk, begun_ns)
    verdict = Verdict("pass")
    if rules.arm:
        arm = actions[:, [columns[name] for name in rules.targets.columns]]
        verdict = _arm(counted, arm, situation, rules)
    return dataclasses.replace(
        verdict,
        values=values,
        counted_ns=counted.stamp_ns,
        period_ns=round(chunk.period_ns / situation.speed_scale),
        begun_ns=begun_ns,
    )


def _value(asked: npt.NDArray[np.float64], key: str, rules: Rules) -> npt.NDArray[np.float64]:
    """What a single value may be: a width that the gripper has, open or closed and nothing else."""
    channel = rules.embodiment.action[key]
    if channel.open_above is not None:
        return (asked > 0.5).astype(np.float64)
    if channel.unit == "m":
        return np.clip(asked, 0.0, rules.embodiment.gripper.max_width_m)
    return asked


def _check_meaning(chunk: ActionChunk, rules: Rules) -> None:
    wanted, found = set(rules.embodiment.action_names), set(chunk.names)
    if len(chunk.names) != len(found) or wanted != found:
        lacking, foreign = sorted(wanted - found), sorted(found - wanted)
        raise HeldError(
            Cause.NAMES,
            f"chunk's names do not fit {rules.embodiment.name}: lacks {lacking}, has {foreign}",
        )
    if len(chunk.actions) == 0:
        raise HeldError(Cause.LATE_CHUNK, "chunk is empty")
    period_ns = rules.embodiment.period_ns
    if abs(chunk.period_ns - period_ns) > _PERIOD_TOLERANCE * period_ns:
        raise HeldError(
            Cause.NAMES,
            f"chunk's period is {chunk.period_ns / _NS:.3f} s, {rules.embodiment.name}"
            f" has {period_ns / _NS:.3f} s",
        )


def _check_ages(chunk: ActionChunk, situation: Situation, rules: Rules) -> None:
    age_s = (situation.now_ns - chunk.stamp_ns) / _NS
    if age_s < -_FUTURE_S:
        raise HeldError(Cause.CLOCK, f"observation is stamped {-age_s:.2f} s in the future")
    limit_s = rules.safety.max_observation_age_s
    if age_s > limit_s:
        raise HeldError(
            Cause.STALE_OBSERVATION, f"observation is {age_s:.2f} s old, allowed are {limit_s:g} s"
        )
    if situation.measured_rad is None:
        raise HeldError(Cause.STALE_STATE, "no joint state yet")
    if not situation.measured_age_s <= rules.max_state_age_s:
        raise HeldError(
            Cause.STALE_STATE,
            f"joint state is {situation.measured_age_s:.2f} s old,"
            f" allowed are {rules.max_state_age_s:g} s",
        )
    if not np.isfinite(situation.measured_rad).all():
        raise HeldError(Cause.NOT_FINITE, "measured joint state is not finite")


def _arm(chunk: ActionChunk, arm: Floats, situation: Situation, rules: Rules) -> Verdict:
    """What the arm is sent, from the chunk's arm columns (A, n)."""
    measured, plan = situation.measured_rad, situation.plan
    assert measured is not None
    _check_tracking(situation, rules)
    if plan is None:
        plan = Plan.at_rest(measured, situation.now_ns, rules.smoothing_ns)
        _check_first(chunk, arm, measured, rules)
    splice_ns = plan.splice_ns(situation.now_ns + situation.lead_ns)
    start, _ = plan.raw.sample(splice_ns)
    dues_ns, targets = _due(chunk, arm, (splice_ns, start), situation, rules)
    _check_wild(targets, dues_ns, rules)
    if situation.plan is not None:
        ahead_s = float(dues_ns[0] - splice_ns) / _NS
        _check_near("next action", targets[0] - start, ahead_s * rules.limits.velocity, rules)
    times_ns = np.concatenate([[splice_ns], dues_ns])
    passing = joined(situation.join, plan, times_ns, targets)
    shape = shaped(
        plan, (times_ns, passing.targets), situation.now_ns, situation.speed_scale, rules
    )
    return dataclasses.replace(
        _verdict(shape),
        jump_rad=-1.0 if situation.plan is None else passing.jump_rad,
        commanded_jump_rad=-1.0 if situation.plan is None else passing.commanded_jump_rad,
        dropped=max(len(arm) - len(dues_ns), 0),
    )


def _verdict(shape: Shaped) -> Verdict:
    return Verdict(
        "pass" if shape.cause is Cause.NONE else "clip",
        shape.cause,
        shape.reason,
        shape.plan,
        limit_share=shape.limit_share,
        clearance_m=shape.clearance_m,
    )


def _due(
    chunk: ActionChunk,
    arm: Floats,
    start: tuple[int, Floats],
    situation: Situation,
    rules: Rules,
) -> tuple[Moments, Floats]:
    """Moments (K,) and joint targets (K, J) of what can still be reached in time."""
    speed, (splice_ns, start_rad) = situation.speed_scale, start
    # A policy that is played at a share of its speed lives in a slower time.
    policy_ns = chunk.stamp_ns + round((splice_ns - chunk.stamp_ns) * speed)
    try:
        own_ns, targets = rules.targets(arm, chunk.stamp_ns, chunk.period_ns, policy_ns, start_rad)
    except UwmError as error:
        raise HeldError(Cause.REACH, str(error)) from error
    dues_ns = chunk.stamp_ns + np.round((own_ns - chunk.stamp_ns) / speed).astype(np.int64)
    ahead = dues_ns > splice_ns + round(_SOONEST * chunk.period_ns / speed)
    if not ahead.any():
        last_ns = chunk.stamp_ns + round((len(arm) - 1) * chunk.period_ns / speed)
        late_s = (situation.now_ns - last_ns) / _NS
        raise HeldError(Cause.LATE_CHUNK, f"all actions are past, the last by {late_s:.2f} s")
    if not np.isfinite(targets).all():
        raise HeldError(Cause.NOT_FINITE, "a joint target is not finite")
    return dues_ns[ahead], targets[ahead]


def _check_tracking(situation: Situation, rules: Rules) -> None:
    """Refuse to go on from a plan that the arm does not follow."""
    plan, measured = situation.plan, situation.measured_rad
    if plan is None:
        return
    seen_ns = situation.now_ns - round(situation.measured_age_s * _NS)
    # An arm that lags is where its plan was a moment ago.
    moments_ns = np.linspace(seen_ns - _LAG_NS, situation.now_ns, 6).astype(np.int64)
    recent, _, _ = plan.samples(moments_ns)
    distance = np.maximum(recent.min(axis=0) - measured, measured - recent.max(axis=0))
    j, allowed = int(np.argmax(distance)), rules.safety.tracking_tolerance_rad
    if not distance[j] <= allowed:
        raise HeldError(
            Cause.TRACKING,
            f"{rules.limits.names[j]} is {distance[j]:.3g} rad from the plan,"
            f" allowed are {allowed:g} rad",
        )


def _check_first(chunk: ActionChunk, arm: Floats, measured: Floats, rules: Rules) -> None:
    """What the policy wanted at the moment it saw: later actions may be on their way already."""
    try:
        _, targets = rules.targets(
            arm, chunk.stamp_ns, chunk.period_ns, chunk.stamp_ns - 1, measured
        )
    except UwmError as error:
        raise HeldError(Cause.REACH, str(error)) from error
    _check_near("first command", targets[0] - measured, np.zeros_like(measured), rules)


def _check_near(what: str, distance: Floats, extra: Floats, rules: Rules) -> None:
    """Refuse a jump that no clipping should hide; `extra` (J,) rad is what motion explains."""
    allowed = rules.safety.start_tolerance_rad + extra
    j = int(np.argmax(np.abs(distance) - allowed))
    if not abs(distance[j]) <= allowed[j]:
        raise HeldError(
            Cause.JUMP,
            f"{rules.limits.names[j]} is {abs(distance[j]):.3g} rad from the {what},"
            f" allowed are {allowed[j]:.3g} rad",
        )


def _check_wild(targets: Floats, dues_ns: Moments, rules: Rules) -> None:
    """Refuse targets far beyond a limit, and steps that no arm can make."""
    tolerance, names = rules.safety.start_tolerance_rad, rules.limits.names
    outside = np.maximum(rules.limits.low - targets, targets - rules.limits.high).max(axis=0)
    j = int(np.argmax(outside))
    if not outside[j] <= tolerance:
        raise HeldError(Cause.LIMIT, f"{names[j]} is asked {outside[j]:.3g} rad beyond its limit")
    if len(targets) > 1:
        steps_s = np.diff(dues_ns).astype(np.float64)[:, None] / _NS
        speed = np.abs(np.diff(targets, axis=0) / steps_s).max(axis=0)
        j = int(np.argmax(speed / rules.limits.velocity))
        if not speed[j] <= _WILD * rules.limits.velocity[j]:
            raise HeldError(Cause.LIMIT, f"{names[j]} is asked to move at {speed[j]:.3g} rad/s")
