# SPDX-License-Identifier: Apache-2.0
"""Stamped joint trajectories and the curve between their points.

A joint trajectory controller plays points that carry velocities as cubics; `Trajectory.sample` is
the same curve, so "where the plan is now" means what the controller does. Times are absolute
nanoseconds of the system clock.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from uwm_ros.logic.limits import Floats, Limits, brake

_NS = 1e9
_STRETCHES = (1.0, 1.25, 1.5, 2.0, 2.5, 3.0)
_TOLERANCE = 1e-6


@dataclasses.dataclass(frozen=True, eq=False)
class Trajectory:
    """Points of the arm.

    Attributes:
        times_ns: (N,) int64, strictly increasing, absolute.
        positions: (N, J) rad.
        velocities: (N, J) rad/s; the last row is zero.

    Raises:
        ValueError: If shapes disagree or times do not increase.
    """

    times_ns: np.ndarray[tuple[int], np.dtype[np.int64]]
    positions: Floats
    velocities: Floats

    def __post_init__(self) -> None:
        if not len(self.times_ns) or self.positions.shape != self.velocities.shape:
            raise ValueError("a trajectory needs points, each with a position and a velocity")
        if len(self.times_ns) != len(self.positions) or (np.diff(self.times_ns) <= 0).any():
            raise ValueError("times of a trajectory must increase, one per point")

    @property
    def start_ns(self) -> int:
        """Moment of the first point."""
        return int(self.times_ns[0])

    @property
    def end_ns(self) -> int:
        """Moment of the last point, from which on the arm rests."""
        return int(self.times_ns[-1])

    def sample(self, moment_ns: int) -> tuple[Floats, Floats]:
        """Position (J,) rad and velocity (J,) rad/s at a moment; at rest outside."""
        if moment_ns >= self.end_ns:
            return self.positions[-1], np.zeros_like(self.positions[-1])
        if moment_ns < self.start_ns:
            return self.positions[0], np.zeros_like(self.positions[0])
        i = int(np.searchsorted(self.times_ns, moment_ns, side="right")) - 1
        length_s = float(self.times_ns[i + 1] - self.times_ns[i]) / _NS
        u = float(moment_ns - self.times_ns[i]) / _NS / length_s
        c0, c1, c2, c3 = _cubic(self, i, length_s)
        position = c0 + u * (c1 + u * (c2 + u * c3))
        velocity = (c1 + u * (2 * c2 + u * 3 * c3)) / length_s
        return position, velocity

    def peaks(self) -> tuple[Floats, Floats, Floats, Floats]:
        """Lowest and highest position, highest speed and acceleration, (J,) each.

        Exact for the whole curve, not only at the points: a cubic's extremes are known in closed
        form.
        """
        low, high = self.positions.min(axis=0), self.positions.max(axis=0)
        speed = np.abs(self.velocities).max(axis=0)
        acceleration = np.zeros_like(speed)
        for i in range(len(self.times_ns) - 1):
            length_s = float(self.times_ns[i + 1] - self.times_ns[i]) / _NS
            c0, c1, c2, c3 = _cubic(self, i, length_s)
            ends = np.stack([2 * c2, 2 * c2 + 6 * c3]) / length_s**2
            acceleration = np.maximum(acceleration, np.abs(ends).max(axis=0))
            with np.errstate(divide="ignore", invalid="ignore"):
                fastest = _inside(-c2 / (3 * c3))
                root = np.sqrt(c2 * c2 - 3 * c1 * c3)
                turns = [_inside((-c2 + s * root) / (3 * c3)) for s in (1, -1)]
                turns.append(_inside(-c1 / (2 * c2)))
            middle = np.abs(c1 + fastest * (2 * c2 + 3 * c3 * fastest)) / length_s
            speed = np.maximum(speed, middle)
            for u in turns:
                there = c0 + u * (c1 + u * (c2 + u * c3))
                low, high = np.minimum(low, there), np.maximum(high, there)
        return low, high, speed, acceleration

    def violations(self, limits: Limits) -> list[str]:
        """What the curve breaks, one sentence per kind and worst joint; empty when nothing."""
        low, high, speed, acceleration = self.peaks()
        checks = (
            ("position", "rad", limits.low - low),
            ("position", "rad", high - limits.high),
            ("velocity", "rad/s", speed - limits.velocity),
            ("acceleration", "rad/s^2", acceleration - limits.acceleration),
        )
        found = []
        for kind, unit, over in checks:
            j = int(np.argmax(over))
            if not over[j] <= _TOLERANCE:  # NaN must count as broken
                found.append(f"{kind} limit of {limits.names[j]} by {over[j]:.3g} {unit}")
        return found


def through(
    times_ns: np.ndarray[tuple[int], np.dtype[np.int64]],
    positions: Floats,
    first_velocity: Floats,
) -> Trajectory:
    """A trajectory through points: velocities by central differences, at rest at the end.

    Args:
        times_ns: (N,) int64, increasing.
        positions: (N, J) rad; the first row is where the arm is on its plan.
        first_velocity: (J,) rad/s at the first point.
    """
    velocities = np.zeros_like(positions)
    velocities[0] = first_velocity
    if len(times_ns) > 2:
        span_s = (times_ns[2:] - times_ns[:-2]).astype(np.float64)[:, None] / _NS
        velocities[1:-1] = (positions[2:] - positions[:-2]) / span_s
    return Trajectory(times_ns, positions, velocities)


def ease_end(trajectory: Trajectory, limits: Limits) -> Trajectory:
    """Delay the last point as far as coming to rest there within the limits needs it.

    The last point is rarely played, since the next chunk replaces it; but if none comes, the arm
    must stop there without a jolt.
    """
    if len(trajectory.times_ns) < 2:
        return trajectory
    last_ns = int(trajectory.times_ns[-1] - trajectory.times_ns[-2])
    eased = trajectory
    for stretch in _STRETCHES:
        times_ns = trajectory.times_ns.copy()
        times_ns[-1] = times_ns[-2] + round(last_ns * stretch)
        eased = Trajectory(times_ns, trajectory.positions, trajectory.velocities)
        tail = Trajectory(times_ns[-2:], eased.positions[-2:], eased.velocities[-2:])
        if not tail.violations(limits):
            return eased
    return trajectory


def stop(start: tuple[Floats, Floats], now_ns: int, limits: Limits) -> Trajectory:
    """A trajectory that comes to rest from a position and velocity as fast as the limits allow."""
    times_s, positions, velocities = brake(start, limits)
    if len(times_s) == 1:  # already at rest: two points, since one at `now` is past on arrival
        times_s = np.array([0.0, 0.1])
        positions, velocities = np.repeat(positions, 2, axis=0), np.repeat(velocities, 2, axis=0)
    return from_seconds(now_ns, times_s, positions, velocities)


def from_seconds(
    start_ns: int, times_s: Floats, positions: Floats, velocities: Floats
) -> Trajectory:
    """A trajectory from times in seconds since `start_ns`."""
    times_ns = start_ns + np.round(times_s * _NS).astype(np.int64)
    return Trajectory(times_ns, positions, velocities)


def _cubic(
    trajectory: Trajectory, i: int, length_s: float
) -> tuple[Floats, Floats, Floats, Floats]:
    """Coefficients of segment i over u in [0, 1]."""
    p0, p1 = trajectory.positions[i], trajectory.positions[i + 1]
    m0, m1 = trajectory.velocities[i] * length_s, trajectory.velocities[i + 1] * length_s
    return p0, m0, 3 * (p1 - p0) - 2 * m0 - m1, 2 * (p0 - p1) + m0 + m1


def _inside(u: Floats) -> Floats:
    """Moments within the segment; others become its start, where nothing new is found."""
    return np.where(np.isfinite(u) & (u > 0) & (u < 1), u, 0.0)
