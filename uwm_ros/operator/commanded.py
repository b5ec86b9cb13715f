# SPDX-License-Identifier: Apache-2.0
"""What the arm was commanded, message by message, as curves in time.

Written from the manners of ros2_control's controllers alone and sharing no code with the planner,
so that `command_checker` and the benchmarks can disagree with it. No ROS: arrays come in.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Times = npt.NDArray[np.int64]

_NS = 1e9


@dataclass(frozen=True, eq=False)
class Piece:
    """One joint trajectory: a cubic between two points, a quintic where they say accelerations.

    Attributes:
        received_ns: When it was heard.
        times_ns: (N,) due moments of the points, increasing.
        positions: (N, J) rad.
        velocities: (N, J) rad/s.
        accelerations: (N, J) rad/s^2, or None.
    """

    received_ns: int
    times_ns: Times
    positions: Floats
    velocities: Floats
    accelerations: Floats | None = None

    @property
    def start_ns(self) -> int:
        """Moment of the first point."""
        return int(self.times_ns[0])

    @property
    def end_ns(self) -> int:
        """From here on the arm rests at the last point."""
        return int(self.times_ns[-1])

    def sample(self, moments_ns: npt.ArrayLike) -> tuple[Floats, Floats, Floats]:
        """Position, velocity, acceleration, each (M, J); at rest before the start and at the end.

        Args:
            moments_ns: (M,).
        """
        moments = np.atleast_1d(np.asarray(moments_ns, dtype=np.int64))
        if len(self.times_ns) == 1:
            still = np.repeat(self.positions, len(moments), axis=0)
            return still, np.zeros_like(still), np.zeros_like(still)
        inside = np.clip(moments, self.start_ns, self.end_ns)
        at = np.clip(np.searchsorted(self.times_ns, inside, "right") - 1, 0, len(self.times_ns) - 2)
        length_s = (self.times_ns[at + 1] - self.times_ns[at])[:, None] / _NS
        u = (inside - self.times_ns[at])[:, None] / _NS / length_s
        factors = self._factors(at, length_s)
        values = [_derivative(factors, u, order) / length_s**order for order in range(3)]
        rests = ((moments < self.start_ns) | (moments >= self.end_ns))[:, None]
        return values[0], np.where(rests, 0.0, values[1]), np.where(rests, 0.0, values[2])

    def fine(self, per_segment: int = 16) -> Times:
        """Moments on which extremes are looked for: every point, and some between two of them."""
        share = np.arange(per_segment) / per_segment
        lengths = np.diff(self.times_ns)
        inner = self.times_ns[:-1, None] + np.round(lengths[:, None] * share).astype(np.int64)
        # The last moment of each segment too: an acceleration may jump from one to the next.
        edges = self.times_ns[1:] - 1
        return np.unique(np.concatenate([inner.ravel(), edges, self.times_ns]))

    def _factors(self, at: npt.NDArray[np.intp], length_s: Floats) -> Floats:
        """Polynomial coefficients over u in [0, 1] of the segments `at`: (order, M, J)."""
        known = [(self.positions, 0), (self.velocities, 1)]
        if self.accelerations is not None:
            known.append((self.accelerations, 2))
        ends = [values[at + side] * length_s**order for side in (0, 1) for values, order in known]
        size = len(ends)
        conditions = np.array(
            [_row(float(side), order, size) for side in (0, 1) for _, order in known]
        )
        return np.tensordot(np.linalg.inv(conditions), np.stack(ends), axes=1)


@dataclass(frozen=True, eq=False)
class Sample:
    """One streamed joint target.

    Attributes:
        stamp_ns: Of its header.
        received_ns: When it was heard.
        position: (J,) rad.
        velocity: (J,) rad/s, or None.
    """

    stamp_ns: int
    received_ns: int
    position: Floats
    velocity: Floats | None = None


@dataclass
class CommandLog:
    """Every command of one arm, in the order in which they were heard.

    Attributes:
        joints: Names, in the order of all arrays.
        pieces: Joint trajectories.
        samples: Streamed joint targets.
        unreadable: (received_ns, sentence) of each message that no controller could take.
        begun_ns: Moments at which the arm was put elsewhere: nothing goes on across one.
    """

    joints: Sequence[str]
    pieces: list[Piece] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    unreadable: list[tuple[int, str]] = field(default_factory=list)
    begun_ns: list[int] = field(default_factory=list)

    def goes_on(self, before: Piece | Sample, after: Piece | Sample) -> bool:
        """Whether one command goes on from where an earlier one left the arm."""
        return not any(before.received_ns < at <= after.received_ns for at in self.begun_ns)

    def clear(self) -> None:
        """Forget everything."""
        self.pieces.clear()
        self.samples.clear()
        self.unreadable.clear()
        self.begun_ns.clear()

    def last_ns(self) -> int:
        """When the last command was heard; 0 before the first."""
        heard = [entry.received_ns for entry in (*self.pieces[-1:], *self.samples[-1:])]
        return max(heard, default=0)

    def in_force(self, moment_ns: int, among: int) -> Piece | None:
        """The trajectory that a controller follows at a moment, of the first ``among`` heard."""
        for piece in reversed(self.pieces[:among]):
            if piece.start_ns <= moment_ns:
                return piece
        return self.pieces[0] if among else None

    def played(self, moments_ns: Times) -> Floats:
        """Position commanded at each moment, (M, J): NaN before the first command.

        Of trajectories the newest whose start has come and that had been heard by then; of a
        stream the targets themselves, joined by straight lines between their stamps.
        """
        if self.samples:
            stamps = np.array([sample.stamp_ns for sample in self.samples])
            targets = np.array([sample.position for sample in self.samples])
            columns = [np.interp(moments_ns, stamps, column) for column in targets.T]
            found = np.stack(columns, axis=1)
            found[np.asarray(moments_ns) < stamps[0]] = np.nan
            return found
        found = np.full((len(moments_ns), len(self.joints)), np.nan)
        begins = [max(piece.start_ns, piece.received_ns) for piece in self.pieces]
        until = np.iinfo(np.int64).max
        for piece, begin in zip(reversed(self.pieces), reversed(begins), strict=True):
            mine = (moments_ns >= begin) & (moments_ns < until)
            if mine.any():
                found[mine] = piece.sample(moments_ns[mine])[0]
            until = min(until, begin)
        return found


def _row(u: float, order: int, size: int) -> Floats:
    """The ``order``-th derivative of (1, u, u^2, ...) at ``u``."""
    row = np.zeros(size)
    for power in range(order, size):
        factor = float(np.prod(np.arange(power - order + 1, power + 1)))
        row[power] = factor * u ** (power - order)
    return row


def _derivative(factors: Floats, u: Floats, order: int) -> Floats:
    """The ``order``-th derivative of the polynomials (size, M, J) at u (M, 1): (M, J)."""
    value = np.zeros_like(factors[0])
    for power in range(order, len(factors)):
        factor = float(np.prod(np.arange(power - order + 1, power + 1)))
        value = value + factor * u ** (power - order) * factors[power]
    return value
