# SPDX-License-Identifier: Apache-2.0
"""An independent judge of what was commanded: every message against every limit.

Reads `commanded.CommandLog` and the embodiment's numbers, and nothing of the planner or of the
judge that it examines. A trajectory is looked at as the whole curve that a controller plays, and
where it is joined to the one before; streamed targets by their divided differences, which a mean
value theorem bounds by the limits themselves, whatever the moments of the stamps are.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from uwm_core.embodiment import Embodiment
from uwm_ros.operator.commanded import CommandLog, Floats, Piece, Sample, Times

_NS = 1e9
# Share of a limit that rounding, of stamps to a nanosecond above all, may seem to exceed.
_ROUNDING = 1e-3
_POSITION_ROUNDING_RAD = 1e-6
# A stream that paused for longer has no speed across the pause: it starts again.
_PAUSE_NS = 100_000_000
_STILL_RAD_S = 1e-6
_SENSIBLE_S = 10.0


@dataclass(frozen=True, kw_only=True, eq=False)
class Bounds:
    """What every command must keep.

    Attributes:
        joints: Names (J,).
        low: rad (J,), margin taken off.
        high: rad (J,), margin taken off.
        velocity: rad/s (J,), with the embodiment's scale.
        acceleration: rad/s^2 (J,).
        jerk: rad/s^3 (J,), or None where the embodiment names none.
        join_rad: Largest step of the command where one trajectory takes over from another.
        join_rad_s: The same of its velocity.
        start_rad: Largest step where an arm at rest is commanded again: what the controller lags.
    """

    joints: tuple[str, ...]
    low: Floats
    high: Floats
    velocity: Floats
    acceleration: Floats
    jerk: Floats | None = None
    join_rad: float = 1e-3
    join_rad_s: float = 2e-2
    start_rad: float = 5e-2

    @classmethod
    def of(cls, embodiment: Embodiment) -> Bounds:
        """The embodiment's own numbers."""
        limits, safety = embodiment.limits, embodiment.safety
        position = np.array(limits.position_rad, dtype=np.float64)
        jerk = getattr(limits, "jerk_rad_s3", None)
        return cls(
            joints=tuple(embodiment.arm_joints),
            low=position[:, 0] + safety.limit_margin_rad,
            high=position[:, 1] - safety.limit_margin_rad,
            velocity=np.array(limits.velocity_rad_s) * safety.velocity_scale,
            acceleration=np.array(limits.acceleration_rad_s2, dtype=np.float64),
            jerk=np.array(jerk, dtype=np.float64) if jerk else None,
        )


@dataclass(frozen=True)
class Violation:
    """One limit that one command broke.

    Attributes:
        received_ns: When the command was heard.
        kind: ``form``, ``position``, ``velocity``, ``acceleration``, ``jerk``, ``join`` or
            ``start``.
        text: One sentence with the joint and the figures.
    """

    received_ns: int
    kind: str
    text: str


def check(log: CommandLog, bounds: Bounds) -> list[Violation]:
    """Everything that any command in the log broke; empty when nothing."""
    found = [Violation(at_ns, "form", text) for at_ns, text in log.unreadable]
    for number, piece in enumerate(log.pieces):
        found += _piece(piece, bounds)
        before = log.in_force(piece.start_ns, number)
        if before is not None and log.goes_on(before, piece):
            found += _join(before, piece, bounds)
    found += _stream(log.samples, bounds)
    found += _pauses(log, bounds)
    return found


def _piece(piece: Piece, bounds: Bounds) -> Iterator[Violation]:
    """One trajectory by itself."""
    at_ns = piece.received_ns
    given = [piece.positions, piece.velocities, piece.accelerations]
    if not all(np.isfinite(values).all() for values in given if values is not None):
        yield Violation(at_ns, "form", "a point is not finite")
        return
    if (np.diff(piece.times_ns) <= 0).any():
        yield Violation(at_ns, "form", "times of the points do not increase")
        return
    if np.abs(piece.velocities[-1]).max() > _STILL_RAD_S:
        yield Violation(at_ns, "form", "the last point is not at rest")
    if abs(piece.start_ns - at_ns) > _SENSIBLE_S * _NS:
        late_s = (piece.start_ns - at_ns) / _NS
        yield Violation(at_ns, "form", f"starts {late_s:+.1f} s from when it was sent")
    position, velocity, acceleration = piece.sample(piece.fine())
    yield from _over("position", "rad", bounds.low - position, bounds, at_ns)
    yield from _over("position", "rad", position - bounds.high, bounds, at_ns)
    yield from _share("velocity", velocity, bounds.velocity, bounds, at_ns)
    yield from _share("acceleration", acceleration, bounds.acceleration, bounds, at_ns)
    if bounds.jerk is not None and len(piece.times_ns) > 3:
        jerk = differences(piece.times_ns, piece.positions, 3)
        yield from _share("jerk", jerk, bounds.jerk, bounds, at_ns)


def _join(before: Piece, piece: Piece, bounds: Bounds) -> Iterator[Violation]:
    """Whether a trajectory begins where the one before it is at that moment."""
    (position,), (velocity,), _ = before.sample([piece.start_ns])
    step = np.abs(piece.positions[0] - position)
    resting = piece.start_ns >= before.end_ns
    allowed, kind = (bounds.start_rad, "start") if resting else (bounds.join_rad, "join")
    j = int(np.argmax(step))
    if not step[j] <= allowed:
        text = f"{bounds.joints[j]} steps by {step[j]:.4f} rad where {allowed:g} is allowed"
        yield Violation(piece.received_ns, kind, text)
    kick = np.abs(piece.velocities[0] - velocity)
    j = int(np.argmax(kick))
    if not kick[j] <= bounds.join_rad_s:
        text = f"velocity of {bounds.joints[j]} steps by {kick[j]:.4f} rad/s"
        yield Violation(piece.received_ns, kind, text)


def _stream(samples: list[Sample], bounds: Bounds) -> Iterator[Violation]:
    """Streamed targets: each by itself, and runs of up to four by their differences."""
    for run in _runs(samples):
        stamps = np.array([sample.stamp_ns for sample in run])
        targets = np.array([sample.position for sample in run])
        heard = [sample.received_ns for sample in run]
        for sample in run:
            at_ns = sample.received_ns
            if not np.isfinite(sample.position).all():
                yield Violation(at_ns, "form", "a target is not finite")
                return
            yield from _over("position", "rad", bounds.low - sample.position[None], bounds, at_ns)
            yield from _over("position", "rad", sample.position[None] - bounds.high, bounds, at_ns)
            if sample.velocity is not None:
                yield from _share("velocity", sample.velocity[None], bounds.velocity, bounds, at_ns)
        if (np.diff(stamps) <= 0).any():
            yield Violation(heard[0], "form", "stamps of the targets do not increase")
            continue
        limits = (("velocity", bounds.velocity), ("acceleration", bounds.acceleration))
        for order, (kind, limit) in enumerate((*limits, ("jerk", bounds.jerk)), start=1):
            if limit is None or len(run) <= order:
                continue
            for row, at_ns in zip(differences(stamps, targets, order), heard[order:], strict=True):
                yield from _share(kind, row[None], limit, bounds, at_ns)


def _pauses(log: CommandLog, bounds: Bounds) -> Iterator[Violation]:
    """Steps of a stream where it paused."""
    for before, after in itertools.pairwise(log.samples):
        step = np.abs(after.position - before.position)
        paused = after.stamp_ns - before.stamp_ns > _PAUSE_NS and log.goes_on(before, after)
        if paused and step.max() > bounds.start_rad:
            text = f"{bounds.joints[int(np.argmax(step))]} steps by {step.max():.4f} rad in a pause"
            yield Violation(after.received_ns, "start", text)


def differences(times_ns: Times, values: Floats, order: int) -> Floats:
    """The ``order``-th divided differences times ``order``!: means of that derivative.

    Args:
        times_ns: (N,) increasing.
        values: (N, J).
        order: 1 or more.

    Returns:
        (N - order, J).
    """
    times_s = (times_ns - times_ns[0]) / _NS
    found = values
    for step in range(1, order + 1):
        found = step * np.diff(found, axis=0) / (times_s[step:] - times_s[:-step])[:, None]
    return found


def _runs(samples: list[Sample]) -> Iterator[list[Sample]]:
    """Stretches of the stream without a pause."""
    run: list[Sample] = []
    for sample in samples:
        if run and sample.stamp_ns - run[-1].stamp_ns > _PAUSE_NS:
            yield run
            run = []
        run.append(sample)
    if run:
        yield run


def _over(kind: str, unit: str, excess: Floats, bounds: Bounds, at_ns: int) -> Iterator[Violation]:
    """At most one violation: the worst of (M, J) amounts above 0."""
    row, j = np.unravel_index(int(np.argmax(excess)), excess.shape)
    if not excess[row, j] <= _POSITION_ROUNDING_RAD:
        text = f"{kind} limit of {bounds.joints[j]} by {excess[row, j]:.3g} {unit}"
        yield Violation(at_ns, kind, text)


def _share(
    kind: str, values: Floats, limit: Floats, bounds: Bounds, at_ns: int
) -> Iterator[Violation]:
    """At most one violation: the worst of (M, J) values against their limits (J,)."""
    share = np.abs(values) / limit
    row, j = np.unravel_index(int(np.argmax(share)), share.shape)
    if not share[row, j] <= 1 + _ROUNDING:
        text = (
            f"{kind} of {bounds.joints[j]} is {abs(values[row, j]):.4g}, "
            f"{share[row, j]:.3f} times its limit"
        )
        yield Violation(at_ns, kind, text)
