# SPDX-License-Identifier: Apache-2.0
"""From targets to a plan that keeps every limit: as asked, else as near as the limits allow.

First the joints' limits, then the guard's: where the command would leave the workspace or hit
something, it is followed as far as a stop still keeps it, and then the arm brakes.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from uwm_ros.logic.causes import Cause
from uwm_ros.logic.limits import POINTS_STEP_S, Floats, Limits, follow
from uwm_ros.logic.plan import Plan
from uwm_ros.logic.rules import Guard, Rules
from uwm_ros.logic.stops import deeper
from uwm_ros.logic.trajectory import Moments, Trajectory, ease_end, from_seconds, stop, through

_NS = 1e9
_ASIDE_RAD = 2e-4
_STEP_NS = round(POINTS_STEP_S * _NS)


class HeldError(Exception):
    """Leaves the judgement with a hold.

    Attributes:
        cause: Why.
    """

    def __init__(self, cause: Cause, reason: str) -> None:
        super().__init__(reason)
        self.cause = cause


@dataclasses.dataclass(frozen=True, eq=False)
class Shaped:
    """A plan within all limits, and what it cost.

    Attributes:
        plan: The plan.
        points: What a controller is given of it from now on.
        cause: What was clipped; NONE where nothing was.
        reason: The same as a sentence.
        limit_share: Largest share of a velocity or acceleration limit that is used.
        clearance_m: Least room along the plan; NaN where no guard watches.
    """

    plan: Plan
    points: Trajectory
    cause: Cause = Cause.NONE
    reason: str = ""
    limit_share: float = 0.0
    clearance_m: float = float("nan")


def shaped(
    plan: Plan, wanted: tuple[Moments, Floats], now_ns: int, speed_scale: float, rules: Rules
) -> Shaped:
    """Go through targets from where the plan is at the splice.

    Args:
        plan: What is being executed.
        wanted: Moments (K + 1,), the splice first, and the targets (K, J) rad after it.
        now_ns: The moment.
        speed_scale: Share of the velocity limits that may be used.
        rules: The limits.

    Raises:
        HeldError: If not even braking would keep the limits.
    """
    times_ns, targets = wanted
    splice_ns = int(times_ns[0])
    here, _, _ = plan.sample(now_ns)
    position, velocity = plan.raw.sample(splice_ns)
    curve_limits = rules.curve_limits.containing(here, position)
    through_all = through(times_ns, np.vstack([position, targets]), velocity)
    curve, broken = _limited(through_all, curve_limits.scaled(speed_scale), curve_limits)
    spliced = plan.spliced(curve)
    result = Shaped(spliced, spliced.points(now_ns))
    if broken:
        result = dataclasses.replace(
            result, cause=Cause.LIMIT, reason=f"clipped: over the {broken}"
        )
    if rules.guard is not None:
        result = _guarded(plan, curve, now_ns, (result, rules.guard), curve_limits)
    # One that stands beyond has no room left for what the points' cubics depart from the curve.
    lowest, highest = np.minimum(here, position), np.maximum(here, position)
    beyond = (lowest < rules.curve_limits.low) | (highest > rules.curve_limits.high)
    aside = _ASIDE_RAD * beyond
    allowed = rules.limits.containing(
        here - aside, here + aside, position - aside, position + aside
    )
    if still := result.points.violations(allowed):
        raise HeldError(Cause.LIMIT, f"cannot keep the {still[0]}")
    _, _, speed, acceleration = result.points.peaks
    share = np.maximum(speed / rules.limits.velocity, acceleration / rules.limits.acceleration)
    return dataclasses.replace(result, limit_share=float(share.max()))


def _limited(wanted: Trajectory, limits: Limits, hard: Limits) -> tuple[Trajectory, str]:
    """A curve from the start of the wanted one within the limits, and what had to be clipped."""
    eased = ease_end(wanted, limits)
    broken = eased.violations(limits)
    if not broken:
        return eased, ""
    start = (wanted.positions[0], wanted.velocities[0])
    steps = -(-(wanted.end_ns - wanted.start_ns) // _STEP_NS)
    moments_ns = wanted.start_ns + _STEP_NS * np.arange(1, steps + 1, dtype=np.int64)
    positions, velocities, _ = wanted.samples(moments_ns)
    limited = from_seconds(wanted.start_ns, *follow((positions, velocities), start, limits))
    # A start too near a limit for steps can still brake, since the curve that it is on could.
    if limited.violations(hard):
        limited = stop(start, wanted.start_ns, hard)
    return limited, broken[0]


def _guarded(
    plan: Plan, curve: Trajectory, now_ns: int, made: tuple[Shaped, Guard], limits: Limits
) -> Shaped:
    """Follow a curve as far as a stop still keeps away from everything.

    Raises:
        HeldError: If braking at once does not.
    """
    result, guard = made
    points = result.points
    room = guard.clearance(points.positions)
    # What is decided already cannot be changed.
    fixed = int(np.searchsorted(points.times_ns, curve.start_ns - plan.smoothing_ns // 2, "right"))
    fixed = max(fixed, 1)
    bad = deeper(room.distance_m, fixed)
    if not bad.any():
        return dataclasses.replace(result, clearance_m=float(room.distance_m.min()))
    cause = _cause(room.what)
    # The last step of the curve that is known to be good to brake at, and the first that is not.
    good, tried = -1, int(max(0, (points.times_ns[int(bad.argmax())] - curve.start_ns) // _STEP_NS))
    best: tuple[Plan, float] | None = None
    while good < tried:
        middle = (good + tried + 1) // 2
        moment_ns = curve.start_ns + middle * _STEP_NS
        braked = _braking(result.plan, moment_ns, limits)
        # Until then it is the same as what was found good up to there.
        same = int(np.searchsorted(points.times_ns, moment_ns - plan.smoothing_ns // 2, "right"))
        rest = guard.clearance(braked.points(now_ns).positions[same:]).distance_m
        distances = np.concatenate([room.distance_m[:same], rest])
        if not deeper(distances, fixed).any():
            best, good = (braked, float(distances.min())), middle
        else:
            tried = middle - 1
    if best is None:
        # Braking at once would leave the path; the plan in force ends where there is room.
        distances = guard.clearance(plan.points(now_ns).positions[fixed - 1 :]).distance_m
        if deeper(distances, 1).any():
            raise HeldError(cause, f"braking at once is too late for {room.what}")
        best = (plan, float(distances.min()))
    reason = f"clipped: {room.what} would be too near"
    return Shaped(best[0], best[0].points(now_ns), cause, reason, 0.0, best[1])


def _braking(plan: Plan, moment_ns: int, limits: Limits) -> Plan:
    """Follow a plan's curve until a moment, then brake."""
    return plan.spliced(stop(plan.raw.sample(moment_ns), moment_ns, limits), whole=True)


def _cause(what: str) -> Cause:
    """Walls are the workspace's, all else is a collision."""
    return Cause.WORKSPACE if "workspace" in what else Cause.COLLISION
