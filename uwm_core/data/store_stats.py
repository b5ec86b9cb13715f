# SPDX-License-Identifier: Apache-2.0
"""A store in numbers: what every array costs and lacks, what every column holds."""

from __future__ import annotations

import collections
import dataclasses
import math

import numpy as np

from uwm_core.data.store import Store


@dataclasses.dataclass(frozen=True)
class ArrayStats:
    """One array.

    Attributes:
        name: E.g. ``obs.front``.
        size_bytes: Bytes of its files.
        raw_bytes: Bytes of its values.
        absent: Rows without a value.
    """

    name: str
    size_bytes: int
    raw_bytes: int
    absent: int


@dataclasses.dataclass(frozen=True)
class ColumnStats:
    """One column of the state or the action, over the rows that have a value.

    Attributes:
        array: ``state`` or ``action``.
        name: What the column is.
        low: Smallest value.
        high: Largest value.
        mean: Mean.
        std: Standard deviation.
    """

    array: str
    name: str
    low: float
    high: float
    mean: float
    std: float


@dataclasses.dataclass(frozen=True)
class StoreStats:
    """A store.

    Attributes:
        episodes: Number of episodes.
        steps: Number of steps.
        duration_s: Time on the grid.
        size_bytes: Bytes of all files.
        files: Number of files.
        outcomes: Episodes by outcome.
        arrays: Every array of ``data``.
        columns: Every column that has a value.
    """

    episodes: int
    steps: int
    duration_s: float
    size_bytes: int
    files: int
    outcomes: dict[str, int]
    arrays: tuple[ArrayStats, ...]
    columns: tuple[ColumnStats, ...]


def store_stats(store: Store) -> StoreStats:
    """Measure a store; images are not decoded."""
    sizes = store.files.sizes()
    by_array: dict[str, int] = collections.Counter()
    for name, size in sizes.items():
        by_array["/".join(name.split("/")[:2])] += size
    return StoreStats(
        episodes=len(store),
        steps=store.steps,
        duration_s=store.steps / store.embodiment.rate_hz,
        size_bytes=sum(sizes.values()),
        files=len(sizes),
        outcomes=dict(collections.Counter(record.outcome for record in store.episodes)),
        arrays=tuple(_array(store, key, by_array[f"data/{key}"]) for key in store.keys),
        columns=_columns(store),
    )


def _array(store: Store, key: str, size_bytes: int) -> ArrayStats:
    array = store.array(key)
    absent = 0 if key == "stamp_ns" else int((~store.mask(key)).sum())
    return ArrayStats(key, size_bytes, math.prod(array.shape) * array.dtype.itemsize, absent)


def _columns(store: Store) -> tuple[ColumnStats, ...]:
    found = []
    for array, names, values in (
        ("state", store.embodiment.state_names, store.state()),
        ("action", store.embodiment.action_names, store.array("action")[:]),
    ):
        for name, column in zip(names, values.T.astype(np.float64), strict=True):
            real = column[np.isfinite(column)]
            if real.size:
                found.append(
                    ColumnStats(
                        array,
                        name,
                        float(real.min()),
                        float(real.max()),
                        float(real.mean()),
                        float(real.std()),
                    )
                )
    return tuple(found)
