# SPDX-License-Identifier: Apache-2.0
"""To come to rest, with an eye on walls, the table and the arm itself.

Each joint brakes as fast as it can, so they come to rest one after another and the arm leaves its
path, which was judged, to the side. Where the guard sees that this leads too near to something, the
arm follows its path a little further and brakes there.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from uwm_ros.logic.limits import Floats
from uwm_ros.logic.plan import Plan
from uwm_ros.logic.rules import Rules

_ROUNDING_M = 1e-9
_NEXT_NS = 40_000_000
# A person who presses stop means now: no wall is worth going on for longer.
_LATEST_NS = 200_000_000


def halted(plan: Plan, now_ns: int, rules: Rules, after_ns: int = 0) -> Plan:
    """Come to rest as fast as the limits allow, and no nearer to anything than is allowed.

    Args:
        plan: What is being executed.
        now_ns: The moment.
        rules: The limits.
        after_ns: Go on so long before.

    Returns:
        The earliest stop that keeps clear of everything; at once where none is within 0.2 s.
    """
    at_ns = now_ns + after_ns
    at_once = plan.stopped(at_ns, rules.limits)
    if rules.guard is None or plan.end_ns <= at_ns or _clear(at_once, now_ns, rules):
        return at_once
    for moment_ns in range(at_ns + _NEXT_NS, at_ns + _LATEST_NS + 1, _NEXT_NS):
        later = plan.stopped(moment_ns, rules.limits)
        if _clear(later, now_ns, rules):
            return later
    return at_once


def led(plan: Plan, position_rad: Floats, now_ns: int, rules: Rules) -> Plan:
    """Go to rest at (J,) rad; where the way there is not clear, come to rest on the own path."""
    way = plan.led_to(position_rad, now_ns, rules.limits)
    if rules.guard is None or _clear(way, now_ns, rules):
        return way
    return halted(plan, now_ns, rules)


def deeper(distance_m: Floats, decided: int) -> npt.NDArray[np.bool_]:
    """Where (N,) an arm would be where it may not be, after the first points, already decided.

    An arm that is there may come back, but not go further in; and what it has come out of it does
    not enter again.
    """
    reached_m = np.maximum.accumulate(distance_m[decided - 1 :])
    found = np.zeros(len(distance_m), bool)
    found[decided:] = ~(distance_m[decided:] >= np.minimum(0.0, reached_m[:-1]) - _ROUNDING_M)
    return found


def _clear(plan: Plan, now_ns: int, rules: Rules) -> bool:
    """Whether a plan from now on goes nowhere that it may not."""
    assert rules.guard is not None
    room = rules.guard.clearance(plan.points(now_ns).positions)
    return not deeper(room.distance_m, 1).any()
