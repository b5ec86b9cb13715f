# SPDX-License-Identifier: Apache-2.0
"""What of the next chunk is known already: the chunk that is being played goes on meanwhile.

What is played until the answer is there is certain; from there on the wish to agree fades to
nothing where the old chunk ends. So two chunks meet without a jump, and what the camera shows now
still decides what comes later.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from uwm_core.embodiment import Embodiment
from uwm_core.records import ActionChunk, KnownActions


def known_from(
    playing: ActionChunk,
    embodiment: Embodiment,
    stamp_ns: int,
    certain_until_ns: int,
    speed_scale: float = 1.0,
) -> KnownActions | None:
    """What the chunk that is being played says of the one that answers a later observation.

    Args:
        playing: The chunk in force.
        embodiment: Which columns hold their value between two actions (grippers).
        stamp_ns: Tick of the later observation.
        certain_until_ns: Until when the playing chunk is followed whatever is answered.
        speed_scale: Share of their own speed at which chunks are played, above 0.

    Returns:
        One row per action of the new chunk; None where the playing one has ended.
    """
    count, period_ns = len(playing.actions), playing.period_ns / speed_scale
    # On the old chunk: (A,)
    rows = np.arange(count, dtype=np.float64) + (stamp_ns - playing.stamp_ns) / period_ns
    left = count - 1 - rows  # (A,) periods until the old chunk ends
    certain = (certain_until_ns - stamp_ns) / period_ns  # rows of the new chunk
    if rows[0] < 0 or left[0] <= 0:
        return None
    fade = max(left[0] - certain, 1.0)  # periods over which the weight goes from 1 to 0
    weight = np.where(np.arange(count) <= certain, 1.0, np.clip(left / fade, 0.0, 1.0))
    weight = np.where(left >= 0, weight, 0.0)
    return KnownActions(_at(playing.actions, rows, embodiment), weight.astype(np.float32))


def _at(
    actions: npt.NDArray[np.float32], rows: npt.NDArray[np.float64], embodiment: Embodiment
) -> npt.NDArray[np.float32]:
    """Actions (A, D) at fractional rows (N,), the last one from the end on: (N, D)."""
    rows = rows.clip(0, len(actions) - 1)
    before = np.floor(rows).astype(int)
    after = np.minimum(before + 1, len(actions) - 1)
    linear = [channel.interpolation == "linear" for channel in embodiment.action.values()]
    sizes = [channel.size for channel in embodiment.action.values()]
    share = (rows - before)[:, None] * np.repeat(linear, sizes)  # (N, D)
    mixed: npt.NDArray[np.float64] = (1 - share) * actions[before] + share * actions[after]
    return mixed.astype(np.float32)
