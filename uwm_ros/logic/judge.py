# SPDX-License-Identifier: Apache-2.0
"""The last word on every chunk: what the arm is sent, or why it holds.

`judge` is pure and never raises: whatever comes in, a verdict comes out. `pass` is the chunk's own
actions as a trajectory that starts on the plan being executed; `clip` is motion within the limits
that follows them as closely as it can; `hold` sends none of it. Past actions are dropped, since a
chunk is indexed by time. Columns are found by name, never by place.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from enum import Enum
from typing import Literal

import numpy as np
import numpy.typing as npt

from uwm_core.embodiment import Embodiment, Vector
from uwm_core.errors import UwmError
from uwm_core.records import ActionChunk
from uwm_core.streams import FLOAT32, JOINT_STATE, JOINT_TRAJECTORY
from uwm_ros.logic.limits import Floats, Limits, follow
from uwm_ros.logic.trajectory import Trajectory, ease_end, from_seconds, through

_NS = 1e9
DRIVEN_TYPES = (JOINT_TRAJECTORY, FLOAT32)
# A clock may run this far ahead before its stamps are refused.
_FUTURE_S = 0.2
# An action due sooner than this share of a period cannot be reached in time: the next one is.
_SOONEST = 0.5
# How long a controller may take to follow its plan.
_LAG_S = 0.15
# How many times the velocity limit between two actions still counts as a limit to be clipped.
_WILD = 4.0
_PERIOD_TOLERANCE = 0.01


class Cause(Enum):
    """Why the arm holds; a transient cause heals by itself when good chunks come again."""

    NONE = "none"
    OPERATOR = "operator"
    STALE_STATE = "stale_state"
    STALE_OBSERVATION = "stale_observation"
    LATE_CHUNK = "late_chunk"
    CLOCK = "clock"
    NOT_FINITE = "not_finite"
    JUMP = "jump"
    LIMIT = "limit"
    NAMES = "names"
    SECOND_PUBLISHER = "second_publisher"
    DEFECT = "defect"

    @property
    def transient(self) -> bool:
        """Whether motion may go on without an operator."""
        return self in _TRANSIENT


_TRANSIENT = frozenset({Cause.STALE_STATE, Cause.STALE_OBSERVATION, Cause.LATE_CHUNK, Cause.CLOCK})


@dataclasses.dataclass(frozen=True, eq=False)
class Verdict:
    """What becomes of a chunk.

    Attributes:
        kind: Whether it is played as it is, within the limits, or not at all.
        cause: Of a hold or a clip.
        reason: One sentence; empty when passed.
        trajectory: What the arm is sent; None when held or without arm columns.
        values: Per scalar channel, the (A,) values in force from each action's due time on.
    """

    kind: Literal["pass", "clip", "hold"]
    cause: Cause = Cause.NONE
    reason: str = ""
    trajectory: Trajectory | None = None
    values: Mapping[str, npt.NDArray[np.float64]] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Situation:
    """What is known at the moment of judging.

    Attributes:
        now_ns: The moment.
        measured_rad: Newest measured joint positions (J,); None before the first.
        measured_age_s: Their age.
        plan: What is being executed; None when nothing was sent yet.
    """

    now_ns: int
    measured_rad: Floats | None
    measured_age_s: float
    plan: Trajectory | None


class Rules:
    """What an embodiment allows, read once.

    Attributes:
        limits: Of the arm's joints.
        scalars: Name of the column by key of each channel that takes one value.
        arm: Whether the arm is commanded at all.
        max_state_age_s: Older joint states are no ground for a motion.
    """

    def __init__(self, embodiment: Embodiment) -> None:
        """Read limits, ages and columns.

        Raises:
            UwmError: If no state stream measures all joints of the arm, or an action is recorded
                only: for its type, or since nobody can know its targets ahead.
        """
        for key, channel in embodiment.action.items():
            if channel.command_type not in DRIVEN_TYPES:
                raise UwmError(
                    f"action {key} of embodiment {embodiment.name} is sent as "
                    f"{channel.command_type}, which is recorded but not driven yet; driven: "
                    f"{', '.join(DRIVEN_TYPES)}"
                )
            # A command's lead over the state is the arm's lag times its speed, not one period's
            # way: added up along a chunk it makes another speed (twice, if the arm lags by two).
            if channel.relative_to and channel.at == "tick":
                raise UwmError(
                    f"action {key} of embodiment {embodiment.name} is a command relative to "
                    f"{channel.relative_to}, whose targets depend on the arm's lag and cannot be "
                    "driven; driven: absolute commands, and at: next_tick"
                )
        self.embodiment = embodiment
        self.limits = Limits.of(embodiment)
        self.safety = embodiment.safety
        self.scalars = {
            key: key if channel.combine == "sum" else channel.names[0]
            for key, channel in embodiment.action.items()
            if channel.command_type != JOINT_TRAJECTORY
        }
        # Twice, since a chunk may be looked at right after a pause of the process.
        self.max_state_age_s = min(
            embodiment.safety.max_observation_age_s, 2 * measured_by(embodiment).max_age_s
        )
        self.arm = any(c.command_type == JOINT_TRAJECTORY for c in embodiment.action.values())


def measured_by(embodiment: Embodiment) -> Vector:
    """The state stream that measures every joint of the arm.

    Raises:
        UwmError: If there is none: an arm that is not measured is not moved.
    """
    for spec in embodiment.state.values():
        measures = spec.type == JOINT_STATE and spec.field == "position" and spec.combine == "none"
        if measures and set(embodiment.arm_joints) <= set(spec.names):
            return spec
    raise UwmError(
        f"embodiment {embodiment.name} has no state with the positions of all arm_joints"
    )


class _Held(Exception):
    """Leaves the judgement with a hold."""

    def __init__(self, cause: Cause, reason: str) -> None:
        super().__init__(reason)
        self.cause = cause


def judge(chunk: ActionChunk, situation: Situation, rules: Rules) -> Verdict:
    """Decide what a chunk becomes; never raises.

    Args:
        chunk: What the policy wants, columns in any order.
        situation: What is measured and executed.
        rules: What the embodiment allows.

    Returns:
        The verdict; a trajectory in it keeps every limit on the whole curve.
    """
    try:
        with np.errstate(all="ignore"):
            return _judge(chunk, situation, rules)
    except _Held as held:
        return Verdict("hold", held.cause, str(held))
    except Exception as error:  # a robot is never left without an answer
        return Verdict("hold", Cause.DEFECT, f"judging failed: {error!r}")


def _judge(chunk: ActionChunk, situation: Situation, rules: Rules) -> Verdict:
    _check_meaning(chunk, rules)
    _check_ages(chunk, situation, rules)
    columns = {name: i for i, name in enumerate(chunk.names)}
    actions = chunk.actions.astype(np.float64)
    if not np.isfinite(actions).all():
        k, column = np.argwhere(~np.isfinite(actions))[0]
        raise _Held(
            Cause.NOT_FINITE, f"action {k} of {chunk.names[column]} is {actions[k, column]}"
        )
    widest = rules.embodiment.gripper.max_width_m
    values = {
        key: np.clip(actions[:, columns[name]], 0.0, widest)
        if rules.embodiment.action[key].unit == "m"
        else actions[:, columns[name]]
        for key, name in rules.scalars.items()
    }
    if not rules.arm:
        return Verdict("pass", values=values)
    arm = actions[:, [columns[name] for name in rules.limits.names]]
    trajectory, clipped = _arm(chunk, arm, situation, rules)
    if clipped:
        return Verdict("clip", Cause.LIMIT, clipped, trajectory, values)
    return Verdict("pass", trajectory=trajectory, values=values)


def _check_meaning(chunk: ActionChunk, rules: Rules) -> None:
    wanted, found = set(rules.embodiment.action_names), set(chunk.names)
    if len(chunk.names) != len(found) or wanted != found:
        lacking, foreign = sorted(wanted - found), sorted(found - wanted)
        raise _Held(
            Cause.NAMES,
            f"chunk's names do not fit {rules.embodiment.name}: lacks {lacking}, has {foreign}",
        )
    if len(chunk.actions) == 0:
        raise _Held(Cause.LATE_CHUNK, "chunk is empty")
    period_ns = rules.embodiment.period_ns
    if abs(chunk.period_ns - period_ns) > _PERIOD_TOLERANCE * period_ns:
        raise _Held(
            Cause.NAMES,
            f"chunk's period is {chunk.period_ns / _NS:.3f} s, {rules.embodiment.name}"
            f" has {period_ns / _NS:.3f} s",
        )


def _check_ages(chunk: ActionChunk, situation: Situation, rules: Rules) -> None:
    age_s = (situation.now_ns - chunk.stamp_ns) / _NS
    if age_s < -_FUTURE_S:
        raise _Held(Cause.CLOCK, f"observation is stamped {-age_s:.2f} s in the future")
    limit_s = rules.safety.max_observation_age_s
    if age_s > limit_s:
        raise _Held(
            Cause.STALE_OBSERVATION, f"observation is {age_s:.2f} s old, allowed are {limit_s:g} s"
        )
    if situation.measured_rad is None:
        raise _Held(Cause.STALE_STATE, "no joint state yet")
    if not situation.measured_age_s <= rules.max_state_age_s:
        raise _Held(
            Cause.STALE_STATE,
            f"joint state is {situation.measured_age_s:.2f} s old,"
            f" allowed are {rules.max_state_age_s:g} s",
        )
    if not np.isfinite(situation.measured_rad).all():
        raise _Held(Cause.NOT_FINITE, "measured joint state is not finite")


def _arm(
    chunk: ActionChunk, arm: Floats, situation: Situation, rules: Rules
) -> tuple[Trajectory, str]:
    """The trajectory to send, and what was clipped (empty: nothing)."""
    now_ns, measured = situation.now_ns, situation.measured_rad
    assert measured is not None
    dues_ns = chunk.stamp_ns + chunk.period_ns * np.arange(len(arm), dtype=np.int64)
    ahead = dues_ns > now_ns + round(_SOONEST * chunk.period_ns)
    if not ahead.any():
        late_s = (now_ns - int(dues_ns[-1])) / _NS
        raise _Held(Cause.LATE_CHUNK, f"all actions are past, the last by {late_s:.2f} s")
    start, velocity = (measured, np.zeros_like(measured))
    if situation.plan is not None:
        start, velocity = situation.plan.sample(now_ns)
    first, arm, dues_ns = arm[0], arm[ahead], dues_ns[ahead]
    # A measured arm lags behind its plan by some time, hence by more when it is fast.
    _check_near("plan", start - measured, _LAG_S * np.abs(velocity), rules)
    if situation.plan is None:
        # What the policy wanted at the moment it saw: later actions may be on their way already.
        _check_near("first command", first - measured, np.zeros_like(measured), rules)
    else:
        ahead_s = float(dues_ns[0] - now_ns) / _NS
        _check_near("next action", arm[0] - start, ahead_s * rules.limits.velocity, rules)
    _check_wild(arm, chunk.period_ns / _NS, rules)
    times_ns = np.concatenate([[now_ns], dues_ns])
    wanted = through(times_ns, np.vstack([start, arm]), velocity)
    # An arm that stands outside its margin may come back, but not go further.
    limits = _containing(rules.limits, start)
    eased = ease_end(wanted, limits)
    broken = eased.violations(limits)
    if not broken:
        return eased, ""
    limited = _limited(wanted, start, velocity, limits)
    if still := limited.violations(limits):
        raise _Held(Cause.LIMIT, f"cannot keep the {still[0]}")
    return limited, f"clipped: over the {broken[0]}"


def _check_near(what: str, distance: Floats, extra: Floats, rules: Rules) -> None:
    """Refuse a jump that no clipping should hide; `extra` (J,) rad is what motion explains."""
    allowed = rules.safety.start_tolerance_rad + extra
    j = int(np.argmax(np.abs(distance) - allowed))
    if not abs(distance[j]) <= allowed[j]:
        raise _Held(
            Cause.JUMP,
            f"{rules.limits.names[j]} is {abs(distance[j]):.3g} rad from the {what},"
            f" allowed are {allowed[j]:.3g} rad",
        )


def _check_wild(arm: Floats, period_s: float, rules: Rules) -> None:
    """Refuse actions far beyond a limit, and steps that no arm can make."""
    tolerance, names = rules.safety.start_tolerance_rad, rules.limits.names
    outside = np.maximum(rules.limits.low - arm, arm - rules.limits.high).max(axis=0)
    j = int(np.argmax(outside))
    if not outside[j] <= tolerance:
        raise _Held(Cause.LIMIT, f"{names[j]} is asked {outside[j]:.3g} rad beyond its limit")
    if len(arm) > 1:
        speed = np.abs(np.diff(arm, axis=0)).max(axis=0) / period_s
        j = int(np.argmax(speed / rules.limits.velocity))
        if not speed[j] <= _WILD * rules.limits.velocity[j]:
            raise _Held(Cause.LIMIT, f"{names[j]} is asked to move at {speed[j]:.3g} rad/s")


def _containing(limits: Limits, position: Floats) -> Limits:
    return dataclasses.replace(
        limits, low=np.minimum(limits.low, position), high=np.maximum(limits.high, position)
    )


def _limited(wanted: Trajectory, start: Floats, velocity: Floats, limits: Limits) -> Trajectory:
    """Motion within the limits that follows `wanted`."""
    begin_ns = wanted.start_ns
    times_s, positions, velocities = follow(
        lambda time_s: wanted.sample(begin_ns + round(time_s * _NS)),
        (wanted.end_ns - begin_ns) / _NS,
        (start, velocity),
        limits,
    )
    return from_seconds(begin_ns, times_s, positions, velocities)
