# SPDX-License-Identifier: Apache-2.0
"""What every export shares: which episodes go, and that the result is whole or absent.

Other formats know no masks, so an episode with an absent value has no place in them: it stays
behind and is counted, never filled with zeros.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from uwm_core.data.store import Episode, Store
from uwm_core.data.store_format import EpisodeRecord
from uwm_core.errors import DataError

# Where a data set of another format keeps what this project knows beyond it.
EMBODIMENT = "uwm.embodiment"
RECORD = "uwm.record"

Progress = Callable[[int, int], None]


@dataclasses.dataclass(frozen=True)
class Selection:
    """The episodes of a store that another format can hold.

    Attributes:
        store: The store.
        index: Numbers of the episodes that go.
        left_out: Why episodes stay behind, with their count.
    """

    store: Store
    index: tuple[int, ...]
    left_out: tuple[str, ...]

    @classmethod
    def of(cls, store: Store, outcomes: Collection[str] = ("success", "failure")) -> Selection:
        """Choose episodes.

        Args:
            store: The store.
            outcomes: Outcomes that are wanted.

        Raises:
            DataError: If none can go.
        """
        masks = {key: store.mask(key) for key in store.keys if key != "stamp_ns"}
        reasons = [_obstacle(store, i, outcomes, masks) for i in range(len(store))]
        index = tuple(i for i, reason in enumerate(reasons) if not reason)
        counts = {reason: reasons.count(reason) for reason in reasons if reason}
        left_out = tuple(f"{n} episodes stay behind: {reason}" for reason, n in counts.items())
        if not index:
            raise DataError(f"{store.location}: nothing to export; {'; '.join(left_out)}")
        return cls(store, index, left_out)

    @property
    def steps(self) -> int:
        """Steps of all chosen episodes."""
        return sum(self.store.episodes[i].steps for i in self.index)

    def episodes(self, progress: Progress | None) -> Iterator[Episode]:
        """Read the chosen episodes one by one.

        Args:
            progress: Called after each with the episodes and steps so far.
        """
        steps = 0
        for done, i in enumerate(self.index, 1):
            episode = self.store.episode(i)
            yield episode
            steps += len(episode.stamp_ns)
            if progress is not None:
                progress(done, steps)


def _obstacle(
    store: Store,
    index: int,
    outcomes: Collection[str],
    masks: Mapping[str, npt.NDArray[np.bool_]],
) -> str:
    """Why an episode cannot go; empty if it can."""
    record = store.episodes[index]
    if record.outcome not in outcomes:
        return f"their outcome is {record.outcome}"
    if not record.has_action:
        return "they have no actions"
    rows = store.span(index)
    absent = [key for key, mask in masks.items() if not mask[rows].all()]
    return f"{absent[0]} is absent in some of their steps" if absent else ""


def record_json(record: EpisodeRecord) -> str:
    """A record as one line of JSON, for a place in the other format."""
    return json.dumps(dataclasses.asdict(record))


@contextlib.contextmanager
def whole_or_absent(path: Path, *, overwrite: bool) -> Iterator[Path]:
    """A place to write in, that gets its name when everything went well.

    Args:
        path: What the file or folder will be called.
        overwrite: Replace what has that name.

    Yields:
        ``<path>.part``, which does not exist.

    Raises:
        DataError: If the name is taken and may not be overwritten.
    """
    if path.exists() and not overwrite:
        raise DataError(f"{path}: exists already; choose another name or --overwrite")
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    _remove(part)
    try:
        yield part
        _remove(path)
        os.replace(part, path)
    finally:
        _remove(part)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
