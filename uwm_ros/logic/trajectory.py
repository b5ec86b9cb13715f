# SPDX-License-Identifier: Apache-2.0
"""Stamped joint trajectories and the curve between their points.

A joint trajectory controller plays points that carry velocities as cubics; `Trajectory.samples` is
the same curve, so "where the arm is to be now" means what the controller does. Times are absolute
nanoseconds of the system clock.
"""

from __future__ import annotations

import dataclasses
from functools import cached_property

import numpy as np
import numpy.typing as npt

from uwm_ros.logic.limits import Floats, Limits, brake

Moments = npt.NDArray[np.int64]

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

    times_ns: Moments
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

    @cached_property
    def _pieces(self) -> tuple[Floats, tuple[Floats, Floats, Floats, Floats]]:
        """Lengths (N-1, 1) s of the segments, and their cubics' coefficients (N-1, J) each.

        Over u in [0, 1]: c0 + c1 u + c2 u^2 + c3 u^3.
        """
        lengths_s = np.diff(self.times_ns).astype(np.float64)[:, None] / _NS
        p0, p1 = self.positions[:-1], self.positions[1:]
        m0, m1 = self.velocities[:-1] * lengths_s, self.velocities[1:] * lengths_s
        step = p1 - p0
        return lengths_s, (p0, m0, 3 * step - 2 * m0 - m1, m0 + m1 - 2 * step)

    @cached_property
    def _areas(self) -> Floats:
        """Integral (N, J) rad s from the start to each point of the way left to the end."""
        lengths_s, (c0, c1, c2, c3) = self._pieces
        areas = np.zeros_like(self.positions)
        whole = lengths_s * (c0 - self.positions[-1] + c1 / 2 + c2 / 3 + c3 / 4)
        np.cumsum(whole, axis=0, out=areas[1:])
        return areas

    def sample(self, moment_ns: int) -> tuple[Floats, Floats]:
        """Position (J,) rad and velocity (J,) rad/s at a moment; at rest outside."""
        positions, velocities, _ = self.samples(np.array([moment_ns]))
        return positions[0], velocities[0]

    def samples(self, moments_ns: Moments) -> tuple[Floats, Floats, Floats]:
        """The curve at many moments; at rest outside.

        Args:
            moments_ns: (M,) int64.

        Returns:
            Positions (M, J) rad, velocities (M, J) rad/s, and the integral (M, J) rad s of
            position less last position since the start.
        """
        first, last = self.positions[0], self.positions[-1]
        before_s = np.minimum(moments_ns - self.start_ns, 0).astype(np.float64)[:, None] / _NS
        if len(self.times_ns) == 1:
            at = np.broadcast_to(first, (len(moments_ns), len(first)))
            return at, np.zeros_like(at), np.zeros_like(at)
        lengths_s, cubics = self._pieces
        i = np.clip(np.searchsorted(self.times_ns, moments_ns, "right") - 1, 0, len(lengths_s) - 1)
        length_s = lengths_s[i]
        offset_s = (moments_ns - self.times_ns[i]).astype(np.float64)[:, None] / _NS
        u = np.clip(offset_s / length_s, 0.0, 1.0)
        c0, c1, c2, c3 = (c[i] for c in cubics)
        positions = c0 + u * (c1 + u * (c2 + u * c3))
        velocities = (c1 + u * (2 * c2 + u * 3 * c3)) / length_s
        way = u * (c0 - last + u * (c1 / 2 + u * (c2 / 3 + u * (c3 / 4))))
        areas = self._areas[i] + length_s * way + before_s * (first - last)
        ended = moments_ns >= self.end_ns
        positions[ended] = last
        velocities[ended | (moments_ns < self.start_ns)] = 0.0
        return positions, velocities, areas

    @cached_property
    def peaks(self) -> tuple[Floats, Floats, Floats, Floats]:
        """Lowest and highest position, highest speed and acceleration, (J,) each.

        Exact for the whole curve, not only at the points: a cubic's extremes are known in closed
        form.
        """
        low, high = self.positions.min(axis=0), self.positions.max(axis=0)
        speed = np.abs(self.velocities).max(axis=0)
        if len(self.times_ns) == 1:
            return low, high, speed, np.zeros_like(speed)
        lengths_s, (c0, c1, c2, c3) = self._pieces
        ends = np.maximum(np.abs(c2), np.abs(c2 + 3 * c3))
        acceleration = (2 * ends / lengths_s**2).max(axis=0)
        with np.errstate(divide="ignore", invalid="ignore"):
            # Both roots of the velocity without cancellation, also where the cubic is a parabola.
            q = -(c2 + np.copysign(np.sqrt(c2 * c2 - 3 * c1 * c3), c2))
            turns = _inside(np.stack([q / (3 * c3), c1 / q]))
            fastest = _inside(-c2 / (3 * c3))
        there = c0 + turns * (c1 + turns * (c2 + turns * c3))
        middle = np.abs(c1 + fastest * (2 * c2 + 3 * c3 * fastest)) / lengths_s
        return (
            np.minimum(low, there.min(axis=(0, 1))),
            np.maximum(high, there.max(axis=(0, 1))),
            np.maximum(speed, middle.max(axis=0)),
            acceleration,
        )

    def violations(self, limits: Limits) -> list[str]:
        """What the curve breaks, one sentence per kind and worst joint; empty when nothing."""
        low, high, speed, acceleration = self.peaks
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
    times_ns: Moments,
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
    return from_seconds(now_ns, *brake(start, limits))


def from_seconds(
    start_ns: int, times_s: Floats, positions: Floats, velocities: Floats
) -> Trajectory:
    """A trajectory from times in seconds since `start_ns`."""
    times_ns = start_ns + np.round(times_s * _NS).astype(np.int64)
    return Trajectory(times_ns, positions, velocities)


def _inside(u: Floats) -> Floats:
    """Moments within the segment; others become its start, where nothing new is found."""
    return np.where(np.isfinite(u) & (u > 0) & (u < 1), u, 0.0)
