# SPDX-License-Identifier: Apache-2.0
"""What a joint may do, and motion that cannot do more.

`follow` turns any reference into motion of constant acceleration per step that keeps position,
velocity and acceleration limits at every moment, not only at the points: between two points a cubic
through both positions and velocities (what a joint trajectory controller plays) is then exactly the
parabola that was planned. It always ends at rest.

The law that keeps the position limits: from (q, v) towards a limit a joint can always stop in steps
of h seconds if q + v^2 / (2 a) + v h / 2 lies within it; every step keeps this true for the next.
"""

from __future__ import annotations

import dataclasses
import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from uwm_core.embodiment import Embodiment

Floats = npt.NDArray[np.float64]

# Share of a limit that planned motion leaves unused, so that rounding never crosses it.
_ROUNDING = 1e-6
# Moments at which a braking joint comes to rest lie on a grid of this step.
_BRAKE_GRID_S = 1e-4
POINTS_STEP_S = 0.02
"""Between the points that controllers are given, and the moments at which motion is planned."""
_GAIN_PER_S = 12.0
# Share of one step's change of velocity below which moving on is not worth a step.
_CRAWL = 1 / 16


@dataclasses.dataclass(frozen=True, kw_only=True)
class Limits:
    """Limits per joint, in the order of the names.

    Attributes:
        names: Joint names (J,).
        low: Lowest position, rad (J,).
        high: Highest position, rad (J,).
        velocity: Highest speed, rad/s (J,).
        acceleration: Highest acceleration, rad/s^2 (J,).
    """

    names: tuple[str, ...]
    low: Floats
    high: Floats
    velocity: Floats
    acceleration: Floats

    @classmethod
    def of(cls, embodiment: Embodiment) -> Limits:
        """The embodiment's limits with its margin and velocity scale taken off."""
        low, high = np.array(embodiment.limits.position_rad, dtype=np.float64).T
        margin = embodiment.safety.limit_margin_rad
        scale = embodiment.safety.velocity_scale
        return cls(
            names=embodiment.arm_joints,
            low=low + margin,
            high=high - margin,
            velocity=scale * np.array(embodiment.limits.velocity_rad_s, dtype=np.float64),
            acceleration=np.array(embodiment.limits.acceleration_rad_s2, dtype=np.float64),
        )

    def scaled(self, speed: float) -> Limits:
        """With this share of the velocities."""
        return dataclasses.replace(self, velocity=speed * self.velocity)

    def containing(self, *positions: Floats) -> Limits:
        """Wide enough for an arm (J,) that stands outside: it may come back, but not go further."""
        return dataclasses.replace(
            self,
            low=np.minimum(self.low, np.min(positions, axis=0)),
            high=np.maximum(self.high, np.max(positions, axis=0)),
        )

    def for_curve(self, smoothing_s: float) -> Limits:
        """What a curve must keep so that a controller keeps these limits.

        The controller plays cubics through points of the curve's average, `POINTS_STEP_S` apart.
        The average has a jerk of at most 2 a / w; by Peano's theorem such a cubic departs from it
        by no more than jerk * h^3 / 96 in position and 0.0324 jerk * h^2 in velocity. Its
        acceleration is the best linear one (in the sense of squares) on each piece, which exceeds
        a bound on what it approximates by no more than 8/27 a h / w.
        """
        h, w = POINTS_STEP_S, smoothing_s
        # So slow a joint needs not all of its acceleration, and would feel the departure.
        a = np.minimum(self.acceleration, 0.05 * self.velocity * w / (2 * 0.0324 * h * h))
        a = a / (1 + min(8 / 27 * h / w, 2 / 3)) * (1 - 2 * _ROUNDING)
        jerk = 2 * a / w
        aside = jerk * h**3 / 96 + self.velocity * (_BRAKE_GRID_S / 2) + _ROUNDING
        return dataclasses.replace(
            self,
            low=self.low + aside,
            high=self.high - aside,
            velocity=self.velocity - 0.0324 * jerk * h * h,
            acceleration=a,
        )


def follow(
    goals: tuple[Floats, Floats],
    start: tuple[Floats, Floats],
    limits: Limits,
    step_s: float = POINTS_STEP_S,
    settle_s: float = 1.0,
) -> tuple[Floats, Floats, Floats]:
    """Follow a reference as closely as the limits allow, and come to rest at its end.

    Args:
        goals: Positions rad and velocities rad/s of the reference, (M, J) each, row k at
            ``(k + 1) * step_s``; the last position is then the goal.
        start: Position and velocity at time 0, (J,) each.
        limits: What may be used. A start outside of them is brought back, never further out.
        step_s: Length of one step.
        settle_s: After the reference the goal is approached for so long; then the joints brake.

    Returns:
        Times (N,) s, positions (N, J), velocities (N, J); the first row is the start.
    """
    steps = len(goals[0]) + round(settle_s / step_s)
    # One joint after another in plain floats: far quicker than arrays of a few numbers.
    paths = [
        _follow_joint(reference, (float(start[0][j]), float(start[1][j])), bounds, step_s, steps)
        for j, (reference, bounds) in enumerate(
            zip(np.stack(goals, axis=-1).swapaxes(0, 1).tolist(), _bounds(limits), strict=True)
        )
    ]
    length = max(len(path) for path in paths)
    rows = np.array([path + path[-1:] * (length - len(path)) for path in paths]).swapaxes(0, 1)
    positions, velocities = rows[..., 0], rows[..., 1]
    times_s = step_s * np.arange(length)
    ending_s, ending, slowing = brake((positions[-1], velocities[-1]), limits)
    return (
        np.concatenate([times_s, times_s[-1] + ending_s[1:]]),
        np.concatenate([positions, ending[1:]]),
        np.concatenate([velocities, slowing[1:]]),
    )


def brake(start: tuple[Floats, Floats], limits: Limits) -> tuple[Floats, Floats, Floats]:
    """Come to rest as fast as the limits allow, each joint for itself; same returns as `follow`."""
    q, v = (np.array(part, dtype=np.float64) for part in start)
    # On a grid, since two points must not be so near that rounding looks like acceleration.
    ticks = np.ceil(np.abs(v) / (limits.acceleration * (1 - _ROUNDING)) / _BRAKE_GRID_S)
    stops_s = ticks * _BRAKE_GRID_S
    times_s = np.unique(np.append(stops_s, 0.0))
    gone_s = np.minimum(times_s[:, None], stops_s)
    share = gone_s / np.maximum(stops_s, _BRAKE_GRID_S)
    return times_s, q + v * gone_s * (1 - share / 2), np.where(gone_s < stops_s, v * (1 - share), 0)


class _Bounds(NamedTuple):
    """Limits of one joint: the same as `Limits`, less what rounding needs."""

    low: float
    high: float
    top: float
    a: float


def _bounds(limits: Limits) -> list[_Bounds]:
    rows = (limits.low, limits.high, limits.velocity, limits.acceleration)
    return [
        _Bounds(low, high, top * (1 - _ROUNDING), a * (1 - _ROUNDING))
        for low, high, top, a in zip(*(row.tolist() for row in rows), strict=True)
    ]


def _follow_joint(
    reference: list[list[float]], start: tuple[float, float], bounds: _Bounds, h: float, steps: int
) -> list[tuple[float, float]]:
    """(q, v) at every step until the joint rests at the end of the reference, or time is up."""
    q, v = start
    low, high, top, a = bounds
    path, half, change = [start], h / 2, a * h
    crawl = change * _CRAWL
    last, goal = len(reference) - 1, reference[-1][0]
    end = min(max(goal, low), high)
    # Comparisons in place of min and max, which take most of the time otherwise.
    for step in range(steps):
        there, speed = reference[step] if step < last else (end, 0.0)
        there = low if there < low else high if there > high else there
        onward = q + v * half
        error = there - onward
        # Far away: the fastest approach that can still brake. Near: proportional: cannot ring.
        way = error if error > 0 else -error
        approach, fastest = _GAIN_PER_S * way, math.sqrt(a * way)
        approach = fastest if fastest < approach else approach
        w = speed + approach if error > 0 else speed - approach
        # A crawl that one step can end is ended, else the motion would creep for ever.
        if speed == 0 and -crawl <= w <= crawl:
            w = 0.0
        highest = _stoppable_speed(high - onward, a, h)
        lowest = -_stoppable_speed(onward - low, a, h)
        # Outside its limits too a joint comes back no faster than it may move.
        highest = top if top < highest else -top if highest < -top else highest
        lowest = -top if -top > lowest else top if lowest > top else lowest
        w = lowest if w < lowest else w
        w = highest if w > highest else w
        # Acceleration last: a start outside the limits is braked, never thrown back.
        w = v - change if w < v - change else v + change if w > v + change else w
        q, v = q + (v + w) * half, w
        path.append((q, v))
        if step >= last and v == 0 and _GAIN_PER_S * abs(end - q) <= crawl:
            break
    return path


def _stoppable_speed(room: float, a: float, h: float) -> float:
    """Highest next velocity after which a joint can still stop within a distance."""
    square = h * h + 2 * (room - _ROUNDING) / a
    return a * (math.sqrt(square) - h) if square >= 0 else -math.inf
