# SPDX-License-Identifier: Apache-2.0
"""Numbers about how an arm was driven, from what was heard. Pure: arrays in, numbers out."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from uwm_ros.operator.command_checker import differences
from uwm_ros.operator.commanded import CommandLog, Floats, Times

_NS = 1e9
GRID_NS = 10_000_000
# Moments of a chunk's way, in order; between `assembled` and `inferred` the model computes.
STAGES = ("captured", "received", "assembled", "inferred", "arrived", "judged", "commanded")


def percentile(values: npt.ArrayLike, share: float) -> float:
    """A percentile of what is finite; NaN of nothing."""
    finite = np.asarray(values, dtype=np.float64)
    finite = finite[np.isfinite(finite)]
    return float(np.percentile(finite, share)) if finite.size else float("nan")


def periods_s(stamps_ns: Times, spans_ns: Sequence[tuple[int, int]], nominal_s: float) -> Floats:
    """Time from each command to the next within the spans.

    A stream that ends before its span does has a gap there, which is found too; an end within
    less than a period is none.

    Args:
        stamps_ns: (N,) increasing.
        spans_ns: (begin, end) in which commands were owed.
        nominal_s: The period that was owed.
    """
    found = [np.zeros(0)]
    for begin, end in spans_ns:
        inside = stamps_ns[(stamps_ns >= begin) & (stamps_ns <= end)]
        rest_s = (end - (int(inside[-1]) if inside.size else begin)) / _NS
        found.append(np.diff(inside) / _NS)
        found.append(np.array([rest_s] if rest_s > nominal_s else []))
    return np.concatenate(found)


def jerk(log: CommandLog, spans_ns: Sequence[tuple[int, int]]) -> Floats:
    """Third difference of the commanded positions at 100 Hz, rad/s^3.

    Returns:
        (N, J) over all spans.
    """
    found = [np.zeros((0, len(log.joints)))]
    heard = np.array([entry.received_ns for entry in (*log.pieces, *log.samples)], dtype=np.int64)
    for begin, end in spans_ns:
        # Until the span's first command, what was played is of another one.
        inside = heard[(heard >= begin) & (heard < end)]
        grid = np.arange(inside.min() if inside.size else end, end, GRID_NS, dtype=np.int64)
        played = log.played(grid)
        known = np.isfinite(played).all(axis=1)
        if known.sum() > 3:
            first = int(np.argmax(known))
            found.append(differences(grid[first:], played[first:], 3))
    return np.concatenate(found)


def stages_s(moments_ns: Mapping[str, Times]) -> dict[str, Floats]:
    """Seconds between the moments of chunks, by ``first_to_second``, NaN where one is not known.

    With ``without_model``: from the moment that the observation is of to the first command, less
    the time of the model; ``after_receipt_without_model`` begins when its last sample was there.

    Args:
        moments_ns: (N,) by name in :data:`STAGES`; 0: not known.
    """
    # Whole nanoseconds first: as seconds since 1970 they would lose their last digits.
    begin = np.asarray(moments_ns["captured"], dtype=np.int64)
    after_s = {
        name: np.where(np.asarray(values) > 0, (np.asarray(values) - begin) / _NS, np.nan)
        for name, values in moments_ns.items()
    }
    found = {
        f"{first}_to_{second}": after_s[second] - after_s[first]
        for first, second in itertools.pairwise(STAGES)
    }
    model_s = after_s["inferred"] - after_s["assembled"]
    found["without_model"] = after_s["commanded"] - model_s
    found["after_receipt_without_model"] = found["without_model"] - after_s["received"]
    return found


def jumps_rad(
    stamps_ns: Sequence[int],
    period_ns: int,
    actions: Sequence[Floats],
    commanded_ns: Mapping[int, int],
) -> Floats:
    """Largest step between two chunks' targets where they are joined, before any smoothing.

    Taken at the newer chunk's first due moment after its first command.

    Args:
        stamps_ns: Of the chunks, in order.
        period_ns: Between two actions.
        actions: (A, J) each, rad, the arm's columns.
        commanded_ns: Moment of its first command by index of the chunk; others were not played.

    Returns:
        One number per pair of chunks played one after the other, rad.
    """
    found = []
    played = sorted(commanded_ns)
    for old, new in itertools.pairwise(played):
        due = -(-(commanded_ns[new] - stamps_ns[new]) // period_ns)
        if not 0 <= due < len(actions[new]):
            continue
        ahead = (stamps_ns[new] + due * period_ns - stamps_ns[old]) / period_ns
        grid = np.arange(len(actions[old]))
        if ahead > grid[-1]:
            continue
        before = [np.interp(ahead, grid, column) for column in actions[old].T]
        found.append(float(np.abs(actions[new][due] - before).max()))
    return np.array(found)


def drift(moments_s: npt.ArrayLike, values: npt.ArrayLike, warm_share: float = 0.2) -> float:
    """Change over an hour by the straight line through what comes after the warm-up, in units."""
    times, numbers = np.asarray(moments_s, dtype=float), np.asarray(values, dtype=float)
    late = times >= times[0] + warm_share * (times[-1] - times[0]) if times.size else times > 0
    if late.sum() < 3:
        return float("nan")
    return float(np.polyfit(times[late] / 3600, numbers[late], 1)[0])
