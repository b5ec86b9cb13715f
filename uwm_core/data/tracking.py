# SPDX-License-Identifier: Apache-2.0
"""Do recorded actions lead to the recorded states? Per column: lag, error, and what looks wrong.

A label in degrees, with two joints swapped, with a flipped sign or of another arm trains a policy
that looks fine until it drives. Where an action has a state of the same name, the state must follow
it; this says by how much later and how well.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt

from uwm_core.data.lags import find_lag
from uwm_core.embodiment import Embodiment

MAX_LAG_S = 0.6
# Columns that move less than this are not judged: rad, or m.
_STILL = 0.005
_LIKE, _UNLIKE = 0.7, 0.5


@dataclasses.dataclass(frozen=True, kw_only=True)
class ColumnTracking:
    """One action column and the state column of the same name.

    Attributes:
        name: Of the column.
        lag_s: By how much the state follows the action.
        correlation: Of their velocities at that lag.
        error_rms: Of action less state at that lag, in the column's unit.
        error_max: The largest.
        now_rms: The same without the lag.
        warning: What looks wrong, in one sentence; empty if nothing does.
    """

    name: str
    lag_s: float
    correlation: float
    error_rms: float
    error_max: float
    now_rms: float
    warning: str = ""

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return dataclasses.asdict(self)


def check_tracking(
    embodiment: Embodiment, action: npt.NDArray[np.float32], state: npt.NDArray[np.float32]
) -> tuple[ColumnTracking, ...]:
    """Compare every absolute action with the state of the same name.

    Args:
        embodiment: Names the columns.
        action: (n, D) actions of one episode.
        state: (n, S) its states, side by side in the embodiment's order.

    Returns:
        One entry per action column that has a state column of its name and moved; none for
        episodes without actions, or too short.
    """
    if len(action) < 12 or not np.isfinite(action).all():
        return ()
    places = {name: index for index, name in enumerate(embodiment.state_names)}
    absolute = {
        name
        for key, channel in embodiment.action.items()
        if not channel.relative_to and channel.field in ("position", "data")
        for name in channel.columns(key)
    }
    pairs = [
        (name, action[:, column].astype(np.float64), state[:, places[name]].astype(np.float64))
        for column, name in enumerate(embodiment.action_names)
        if name in places and name in absolute
    ]
    others = {name: wanted for name, wanted, _ in pairs}
    period_s = 1 / embodiment.rate_hz
    return tuple(
        _column(name, wanted, reached, others, period_s)
        for name, wanted, reached in pairs
        if max(np.ptp(wanted), np.ptp(reached)) > _STILL
    )


def _column(
    name: str,
    wanted: npt.NDArray[np.float64],
    reached: npt.NDArray[np.float64],
    others: dict[str, npt.NDArray[np.float64]],
    period_s: float,
) -> ColumnTracking:
    time_s = np.arange(len(wanted), dtype=np.float64) * period_s
    lag_s, correlation = _best(time_s, wanted, reached)
    led = np.asarray(np.interp(time_s - lag_s, time_s, wanted), np.float64)
    inside = slice(int(np.ceil(max(lag_s, 0) / period_s)), None)
    error = (led - reached)[inside]
    found = ColumnTracking(
        name=name,
        lag_s=round(lag_s, 4),
        correlation=round(correlation, 4),
        error_rms=float(np.sqrt(np.mean(error**2))),
        error_max=float(np.abs(error).max()),
        now_rms=float(np.sqrt(np.mean((wanted - reached) ** 2))),
    )
    return dataclasses.replace(found, warning=_warning(found, wanted, reached, others, time_s))


def _best(
    time_s: npt.NDArray[np.float64],
    wanted: npt.NDArray[np.float64],
    reached: npt.NDArray[np.float64],
) -> tuple[float, float]:
    """Lag and correlation of the changes: positions that drift together are no proof."""
    between = (time_s[1:] + time_s[:-1]) / 2
    lag = find_lag(
        (between, between), np.diff(wanted), np.diff(reached),
        low_s=0.0, high_s=min(MAX_LAG_S, time_s[-1] / 3), step_s=(time_s[1] - time_s[0]) / 10,
    )  # fmt: skip
    return lag.lag_s, lag.correlation


def _warning(
    found: ColumnTracking,
    wanted: npt.NDArray[np.float64],
    reached: npt.NDArray[np.float64],
    others: dict[str, npt.NDArray[np.float64]],
    time_s: npt.NDArray[np.float64],
) -> str:
    name = found.name
    if np.ptp(wanted) <= _STILL:
        return f"action {name} never changes while the state moves by {np.ptp(reached):.3f}"
    if np.ptp(reached) <= _STILL:
        return f"action {name} moves by {np.ptp(wanted):.3f} while the state stands still"
    if found.correlation < _LIKE:
        if _best(time_s, -wanted, reached)[1] > max(_LIKE, found.correlation + 0.2):
            return f"action {name} goes against its state: its sign looks flipped"
        likes = {
            other: _best(time_s, y, reached)[1] for other, y in others.items() if other != name
        }
        near = max(likes, key=likes.__getitem__, default="")
        if near and likes[near] > max(0.8, found.correlation + 0.2):
            return f"state {name} follows the action {near}, not its own: columns look swapped"
        if found.correlation < _UNLIKE:
            return (
                f"state {name} does not follow its action (correlation {found.correlation:.2f}); "
                "is it of this arm?"
            )
    gain = np.std(np.diff(reached)) / max(float(np.std(np.diff(wanted))), 1e-12)
    if found.correlation > _LIKE and not 0.2 < gain < 5:
        return f"state {name} moves {gain:.3g} times as much as its action: check the unit"
    if found.error_rms > 0.5 * np.ptp(reached) and found.error_rms > 0.05:
        return f"action {name} is {found.error_rms:.3f} away from its state: check the offset"
    return ""
