# SPDX-License-Identifier: Apache-2.0
"""What the arm is told: a judged curve, averaged over a short window.

The raw curve R is cubic and C1: its acceleration jumps. The command is the mean of R over half a
window before and after, S(t) = mean of R over [t - w/2, t + w/2], in closed form: its position is a
difference of integrals of R, its velocity one of positions, its acceleration one of velocities. A
mean of what keeps a position, velocity or acceleration limit keeps it too; its jerk is at most
2 a / w; and S is C2 always, through every join and every stop, since R is C1 always.

The price is half a window: what is commanded until `splice_ns` is decided already.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from uwm_ros.logic.limits import POINTS_STEP_S, Floats, Limits, follow
from uwm_ros.logic.trajectory import Moments, Trajectory, from_seconds, stop

_NS = 1e9
# Of the past, so much is kept: for the window, and for where a lagging arm should have been.
_PAST_NS = 1_000_000_000
POINTS_STEP_NS = round(POINTS_STEP_S * _NS)


@dataclasses.dataclass(frozen=True, eq=False)
class Plan:
    """The command at every moment.

    Attributes:
        raw: The curve R; its past is kept for at least a window.
        smoothing_ns: The window w, even.

    Raises:
        ValueError: If the window is not even and above 0.
    """

    raw: Trajectory
    smoothing_ns: int

    def __post_init__(self) -> None:
        if self.smoothing_ns <= 0 or self.smoothing_ns % 2:
            raise ValueError(f"smoothing_ns must be even and above 0, got {self.smoothing_ns}")

    @classmethod
    def at_rest(cls, position_rad: Floats, now_ns: int, smoothing_ns: int) -> Plan:
        """An arm that stands still at (J,) rad."""
        position = np.array(position_rad, dtype=np.float64)[None]
        times_ns = np.array([now_ns], dtype=np.int64)
        return cls(Trajectory(times_ns, position, np.zeros_like(position)), smoothing_ns)

    @property
    def end_ns(self) -> int:
        """The command rests from here on."""
        return self.raw.end_ns + self.smoothing_ns // 2

    def splice_ns(self, now_ns: int) -> int:
        """The first moment of R that no command up to now has used."""
        return now_ns + self.smoothing_ns // 2

    def sample(self, moment_ns: int) -> tuple[Floats, Floats, Floats]:
        """Position rad, velocity rad/s and acceleration rad/s^2 of the command, (J,) each."""
        positions, velocities, accelerations = self.samples(np.array([moment_ns]))
        return positions[0], velocities[0], accelerations[0]

    def samples(self, moments_ns: Moments) -> tuple[Floats, Floats, Floats]:
        """The same at (N,) moments: (N, J) each."""
        half_ns, count = self.smoothing_ns // 2, len(moments_ns)
        edges_ns = np.concatenate([moments_ns - half_ns, moments_ns + half_ns])
        window_s = self.smoothing_ns / _NS
        positions, velocities, accelerations = (
            (part[count:] - part[:count]) / window_s for part in self._integrals(edges_ns)
        )
        return self.raw.positions[-1] + positions, velocities, accelerations

    def _integrals(self, moments_ns: Moments) -> tuple[Floats, Floats, Floats]:
        """What the command's position, velocity and acceleration are differences of."""
        positions, velocities, areas = self.raw.samples(moments_ns)
        return areas, positions, velocities

    def spliced(self, curve: Trajectory, *, whole: bool = False) -> Plan:
        """R as before until the curve begins, then the curve, which must begin on R.

        Args:
            curve: What comes.
            whole: Keep all of the past. For curves that begin far ahead, before which much of
                what is called past here has not been commanded yet.

        Raises:
            ValueError: If the curve begins elsewhere or at another velocity.
        """
        at_ns, old = curve.start_ns, self.raw
        position, velocity = old.sample(at_ns)
        aside = np.abs(position - curve.positions[0]).max()
        faster = np.abs(velocity - curve.velocities[0]).max()
        if not (aside <= 1e-9 and faster <= 1e-8):
            raise ValueError("a curve must begin where the plan is, at the plan's velocity")
        since_ns = old.start_ns if whole else at_ns - _PAST_NS - self.smoothing_ns
        since_ns = max(old.start_ns, since_ns)
        kept = (old.times_ns > since_ns) & (old.times_ns < at_ns)
        begin = old.sample(since_ns)
        # A piece of a cubic is a cubic: cutting the segments at both ends changes nothing.
        head = [np.array([since_ns]), begin[0][None], begin[1][None]]
        if since_ns >= at_ns:
            head = [part[:0] for part in head]
        parts = zip(
            head,
            (old.times_ns[kept], old.positions[kept], old.velocities[kept]),
            (curve.times_ns, curve.positions, curve.velocities),
            strict=True,
        )
        times_ns, positions, velocities = (np.concatenate(part) for part in parts)
        return Plan(Trajectory(times_ns, positions, velocities), self.smoothing_ns)

    def stopped(self, now_ns: int, limits: Limits) -> Plan:
        """Come to rest as fast as the limits allow, from what is decided already on."""
        at_ns = self.splice_ns(now_ns)
        mine = limits.for_curve(self.smoothing_ns / _NS)
        return self.spliced(stop(self.raw.sample(at_ns), at_ns, mine), whole=True)

    def led_to(self, position_rad: Floats, now_ns: int, limits: Limits) -> Plan:
        """Go to rest at (J,) rad, from what is decided already on."""
        at_ns = self.splice_ns(now_ns)
        goal = (position_rad[None], np.zeros_like(position_rad)[None])
        start = self.raw.sample(at_ns)
        # An arm that stands outside may come back, but not go further.
        mine = limits.for_curve(self.smoothing_ns / _NS).containing(start[0])
        way = follow(goal, start, mine)
        return self.spliced(from_seconds(at_ns, *way))

    def points(self, start_ns: int, step_ns: int = POINTS_STEP_NS) -> Trajectory:
        """The command for a trajectory controller: points from a moment until it rests.

        Args:
            start_ns: Of the first point.
            step_ns: Between points; more than the default may break limits between the points.
        """
        steps = max(1, -(-(self.end_ns - start_ns) // step_ns))
        times_ns = start_ns + step_ns * np.arange(steps + 1, dtype=np.int64)
        positions, velocities, _ = self.samples(times_ns)
        return Trajectory(times_ns, positions, velocities)
