# SPDX-License-Identifier: Apache-2.0
"""What the columns of an array look like: smallest, largest, mean and spread over chosen rows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from uwm_core.data.windows import EpisodeSpan
from uwm_core.errors import StoreError


@dataclass(frozen=True, kw_only=True)
class ColumnStats:
    """Statistics of n columns, in the array's units.

    Attributes:
        rows: Rows that were counted.
        low: (n,) smallest values.
        high: (n,) largest values.
        mean: (n,) means.
        std: (n,) standard deviations (of the population).
    """

    rows: int
    low: npt.NDArray[np.float64]
    high: npt.NDArray[np.float64]
    mean: npt.NDArray[np.float64]
    std: npt.NDArray[np.float64]


def column_stats(
    name: str,
    array: npt.NDArray[np.float32],
    episodes: Sequence[EpisodeSpan],
    keep: Iterable[int],
    real: npt.NDArray[np.bool_] | None = None,
) -> ColumnStats:
    """Statistics of ``array`` (N, n) over the rows of the kept episodes alone.

    Args:
        name: What the array is called in an error.
        array: (N, n) values.
        episodes: All episodes of the store.
        keep: Numbers of the episodes that count; training's, never validation's.
        real: (N,) rows that count; None counts all.

    Raises:
        StoreError: No row is left, or a value is not finite.
    """
    counts = np.zeros(len(array), bool)
    for number in keep:
        counts[episodes[number].start : episodes[number].stop] = True
    if real is not None:
        counts &= real
    if not counts.any():
        raise StoreError(f"no episode is left to take statistics of {name} from")
    values = array[counts].astype(np.float64)
    if not np.isfinite(values).all():
        column = int(np.flatnonzero(~np.isfinite(values).all(axis=0))[0])
        raise StoreError(f"{name} has a value that is not finite in column {column}")
    return ColumnStats(
        rows=len(values),
        low=values.min(axis=0),
        high=values.max(axis=0),
        mean=values.mean(axis=0),
        std=values.std(axis=0),
    )
