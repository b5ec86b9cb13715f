# SPDX-License-Identifier: Apache-2.0
"""By how much one signal follows another: normalised correlation over lags finer than a sample."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

# A second peak this far from the best one makes the answer a guess.
_APART_S = 0.12


@dataclasses.dataclass(frozen=True)
class Lag:
    """How a signal follows another.

    Attributes:
        lag_s: By how much it comes later; negative if it comes first.
        correlation: Of the two at that lag, -1 to 1.
        confidence: 0 (a guess) to 1; high where the correlation is, and no other lag is as good.
    """

    lag_s: float
    correlation: float
    confidence: float


def find_lag(
    times: tuple[Floats, Floats],
    leader: Floats,
    follower: Floats,
    *,
    low_s: float,
    high_s: float,
    step_s: float,
) -> Lag:
    """Find the lag at which the follower is most like the leader.

    The leader is interpolated at the follower's times less the lag; nothing outside the leader's
    own time counts.

    Args:
        times: (n,) and (m,) moments of leader and follower, s, rising.
        leader: (n,) values.
        follower: (m,) values.
        low_s: Smallest lag that is tried.
        high_s: Largest lag that is tried.
        step_s: Distance between the lags that are tried; the peak is found between them.

    Returns:
        The best lag; confidence 0 where one of the two never moves, or they hardly overlap.
    """
    lags = np.arange(low_s, high_s + step_s / 2, step_s)
    found = np.array([_correlation(times, leader, follower, lag) for lag in lags])
    if not np.isfinite(found).any():
        return Lag(0.0, 0.0, 0.0)
    found = np.nan_to_num(found, nan=-1.0)
    best = int(found.argmax())
    peak, lag_s = float(found[best]), float(lags[best])
    if 0 < best < len(lags) - 1:
        left, right = found[best - 1], found[best + 1]
        curve = left - 2 * peak + right
        lag_s += float(step_s * 0.5 * (left - right) / curve) if curve < 0 else 0.0
    rivals = found[np.abs(lags - lags[best]) > _APART_S]
    margin = peak - float(rivals.max()) if len(rivals) else peak
    at_edge = best in (0, len(lags) - 1)
    sure = 0.0 if at_edge else max(0.0, peak) * float(np.clip(margin / 0.2, 0.0, 1.0))
    return Lag(lag_s, peak, sure)


def _correlation(
    times: tuple[Floats, Floats], leader: Floats, follower: Floats, lag_s: float
) -> float:
    """Pearson's correlation at one lag; NaN where it cannot be said."""
    moments = times[1] - lag_s
    inside = (moments >= times[0][0]) & (moments <= times[0][-1])
    if inside.sum() < max(8, len(follower) // 4):
        return float("nan")
    a, b = np.interp(moments[inside], times[0], leader), follower[inside]
    a, b = a - a.mean(), b - b.mean()
    scale = np.sqrt((a @ a) * (b @ b))
    return float(a @ b / scale) if scale > 1e-12 else float("nan")
