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
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from uwm_core.embodiment import Embodiment

Floats = npt.NDArray[np.float64]

# Share of a limit that planned motion leaves unused, so that rounding never crosses it.
_ROUNDING = 1e-6
_MAX_STEPS = 4000
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

    def stoppable(self, position: Floats, velocity: Floats, step_s: float) -> Floats:
        """Positions (2, J) where the joints come to rest if they brake now: towards low and high.

        Args:
            position: (J,) rad.
            velocity: (J,) rad/s.
            step_s: Length of one planned step.
        """
        way = velocity**2 / (2 * self.acceleration) + np.abs(velocity) * step_s / 2
        return np.stack([position - way * (velocity < 0), position + way * (velocity > 0)])


Reference = Callable[[float], tuple[Floats, Floats]]


def follow(
    reference: Reference,
    duration_s: float,
    start: tuple[Floats, Floats],
    limits: Limits,
    step_s: float = 0.02,
) -> tuple[Floats, Floats, Floats]:
    """Follow a reference as closely as the limits allow, and come to rest at its end.

    Args:
        reference: Time since start in s -> position and velocity, (J,) each; must be finite.
        duration_s: Length of the reference; its last position is then the goal.
        start: Position and velocity at time 0, (J,) each.
        limits: What may be used. A start outside of them is brought back, never further out.
        step_s: Length of one step.

    Returns:
        Times (N,) s, positions (N, J), velocities (N, J); the first row is the start.
    """
    q, v = (np.array(part, dtype=np.float64) for part in start)
    times, positions, velocities = [0.0], [q], [v]
    for step in range(1, _MAX_STEPS):
        time_s = step * step_s
        goal, speed = reference(min(time_s, duration_s))
        if time_s >= duration_s:
            speed = np.zeros_like(v)
        w = _next_velocity(q, v, goal, speed, limits, step_s)
        q = q + (v + w) * (step_s / 2)
        v = w
        times.append(time_s)
        positions.append(q)
        velocities.append(v)
        if time_s >= duration_s and not v.any() and _arrived(q, goal, limits, step_s):
            break
    return np.array(times), np.array(positions), np.array(velocities)


def brake(
    start: tuple[Floats, Floats], limits: Limits, step_s: float = 0.02
) -> tuple[Floats, Floats, Floats]:
    """Come to rest as fast as the limits allow; same returns as `follow`."""
    q, v = (np.array(part, dtype=np.float64) for part in start)
    rows = [(0.0, q, v)]
    change = limits.acceleration * (step_s * (1 - _ROUNDING))
    while v.any() and len(rows) < _MAX_STEPS:
        w = np.sign(v) * np.maximum(np.abs(v) - change, 0.0)
        q, v = q + (v + w) * (step_s / 2), w
        rows.append((len(rows) * step_s, q, v))
    times, positions, velocities = zip(*rows, strict=True)
    return np.array(times), np.array(positions), np.array(velocities)


def _arrived(q: Floats, goal: Floats, limits: Limits, step_s: float) -> bool:
    """Near enough that `_next_velocity` would rest."""
    inside = np.clip(goal, limits.low, limits.high)
    crawl = limits.acceleration * step_s * _CRAWL
    return bool((_GAIN_PER_S * np.abs(inside - q) <= crawl).all())


def _next_velocity(
    q: Floats, v: Floats, goal: Floats, speed: Floats, limits: Limits, h: float
) -> Floats:
    """Velocity at the end of a step that brings q towards goal within all limits."""
    a = limits.acceleration * (1 - _ROUNDING)
    top = limits.velocity * (1 - _ROUNDING)
    error = np.clip(goal, limits.low, limits.high) - (q + v * h / 2)
    # Far away: the fastest approach that can still brake. Near: proportional, which cannot ring.
    approach = np.minimum(_GAIN_PER_S * np.abs(error), np.sqrt(a * np.abs(error)))
    wanted = speed + np.sign(error) * approach
    # A crawl that one step can end is ended, else the motion would creep for ever.
    wanted = np.where((np.abs(wanted) <= a * h * _CRAWL) & (speed == 0), 0.0, wanted)
    highest = np.minimum(_stoppable_speed(q, v, limits.high, a, h), top)
    lowest = np.maximum(-_stoppable_speed(-q, -v, -limits.low, a, h), -top)
    wanted = np.clip(wanted, np.minimum(lowest, highest), highest)
    # Acceleration last: a start outside the limits is braked, never thrown back.
    return np.asarray(np.clip(wanted, v - a * h, v + a * h))


def _stoppable_speed(q: Floats, v: Floats, limit: Floats, a: Floats, h: float) -> Floats:
    """Highest next velocity after which the joint can still stop before an upper limit."""
    room = limit - _ROUNDING - q - v * h / 2
    root = np.sqrt(np.maximum(h * h + 2 * room / a, 0.0))
    return np.asarray(np.where(h * h + 2 * room / a >= 0, a * (root - h), -np.inf))
