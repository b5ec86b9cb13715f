# SPDX-License-Identifier: Apache-2.0
"""The sync report: how well streams, actions and states of a store or of a bag fit together.

``report_store`` reads what the conversion measured and kept in the episodes' records;
``report_bag`` walks one bag and measures it now, second by second. Both give a ``Report``, which
``to_json`` turns into plain values and ``report_page`` into a page.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from uwm_core.data.actions import complete
from uwm_core.data.bag import BagReader
from uwm_core.data.grid import BagGrid, Hole, sentences
from uwm_core.data.inspect import ColumnRange, column_ranges, summarize
from uwm_core.data.messages import NS_PER_S
from uwm_core.data.store import Episode, EpisodeRecord, Store
from uwm_core.data.sync import Bins, StreamSync
from uwm_core.data.topics import embodiment_of
from uwm_core.data.tracking import check_tracking
from uwm_core.embodiment import Embodiment
from uwm_core.errors import DataError
from uwm_core.records import Step

SCHEMA = "uwm_sync_report"
VERSION = 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class EpisodeReport:
    """One episode.

    Attributes:
        index: Its number in the store; 0 for a bag.
        record: What the store knows of it.
        duration_s: Steps over rate.
        streams: What was measured of its streams, by key; empty for stores that were imported.
        tracking: Sentences about actions that do not lead to the states.
        over_time: The streams second by second, where a bag was read.
        values: Its states and actions, where a bag was read.
    """

    index: int
    record: EpisodeRecord
    duration_s: float
    streams: dict[str, StreamSync]
    tracking: tuple[str, ...] = ()
    over_time: dict[str, Bins] = dataclasses.field(default_factory=dict, compare=False)
    values: Episode | None = dataclasses.field(default=None, compare=False)

    def warnings(self, embodiment: Embodiment) -> list[str]:
        """What a person should look at, in sentences."""
        specs = embodiment.streams
        found = [
            f"{key} {sentence}"
            for key, sync in self.streams.items()
            if key in specs
            for sentence in sync.warnings(specs[key])
        ]
        lost = [f"{n} messages of {topic} were lost" for topic, n in self.record.dropped.items()]
        return [*lost, *found, *self.tracking]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Report:
    """A store or a bag.

    Attributes:
        source: Its path.
        embodiment: The robot.
        episodes: One entry per episode.
        ranges: Smallest and largest value of every state and action column.
        size_bytes: Bytes on disk.
    """

    source: str
    embodiment: Embodiment
    episodes: tuple[EpisodeReport, ...]
    ranges: tuple[ColumnRange, ...]
    size_bytes: int

    @property
    def steps(self) -> int:
        """Steps of all episodes."""
        return sum(episode.record.steps for episode in self.episodes)

    def to_json(self) -> dict[str, Any]:
        """Plain values; the page shows the same."""
        return {
            "schema": SCHEMA,
            "version": VERSION,
            "source": self.source,
            "embodiment": self.embodiment.name,
            "rate_hz": self.embodiment.rate_hz,
            "steps": self.steps,
            "size_bytes": self.size_bytes,
            "ranges": [dataclasses.asdict(entry) for entry in self.ranges],
            "episodes": [
                {
                    "index": entry.index,
                    "task": entry.record.task,
                    "role": entry.record.role,
                    "outcome": entry.record.outcome,
                    "source": entry.record.source,
                    "steps": entry.record.steps,
                    "duration_s": round(entry.duration_s, 6),
                    "streams": {key: sync.to_json() for key, sync in entry.streams.items()},
                    "notes": list(entry.record.notes),
                    "warnings": entry.warnings(self.embodiment),
                }
                for entry in self.episodes
            ],
        }


def report_store(store: Store) -> Report:
    """Report of what the conversion measured."""
    rate_hz = store.embodiment.rate_hz
    summary, state, action = summarize(store), store.state(), store.array("action")[:]
    return Report(
        source=store.location,
        embodiment=store.embodiment,
        episodes=tuple(
            EpisodeReport(
                index=index,
                record=record,
                duration_s=record.steps / rate_hz,
                streams={key: StreamSync.from_json(e) for key, e in record.sync.items()},
                tracking=tracking_sentences(
                    store.embodiment, action[store.span(index)], state[store.span(index)]
                ),
            )
            for index, record in enumerate(store.episodes)
        ),
        ranges=summary.ranges,
        size_bytes=summary.size_bytes,
    )


def report_bag(path: Path | str, embodiment: Embodiment | None = None) -> Report:
    """Measure one bag now; no image is decoded.

    Args:
        path: The bag.
        embodiment: The robot; by default the one that the bag names.

    Raises:
        DataError: If it cannot be read, or gives no step.
    """
    with BagReader(path) as reader:
        embodiment = embodiment or embodiment_of(reader)
        role = reader.metadata.get("uwm.role", "expert")
        grid = BagGrid(reader, embodiment, actions=role != "video")
        steps, holes = _walk(path, grid, embodiment)
        begin_ns, end_ns = steps[0].stamp_ns, steps[-1].stamp_ns + embodiment.period_ns
        record = EpisodeRecord(
            task=reader.metadata.get("uwm.task", ""),
            outcome=reader.metadata.get("uwm.outcome", "success"),  # type: ignore[arg-type]
            role=role,  # type: ignore[arg-type]
            source=reader.path.name,
            steps=len(steps),
            counts=grid.counts,
            notes=tuple([*sentences(grid.grid.trouble()), *(f"hole: {h.reason}" for h in holes)]),
        )
        values = _values(record, steps, embodiment)
        no_state = np.empty((len(steps), 0), np.float32)
        state = np.concatenate([no_state, *values.state.values()], axis=1)
        entry = EpisodeReport(
            index=0,
            record=record,
            duration_s=(end_ns - begin_ns) / NS_PER_S,
            streams=grid.grid.sync.streams(begin_ns, end_ns),
            tracking=tracking_sentences(embodiment, values.action, state),
            over_time=grid.grid.sync.over_time(begin_ns, end_ns),
            values=values,
        )
        return Report(
            source=str(path),
            embodiment=embodiment,
            episodes=(entry,),
            ranges=(
                *column_ranges("state", embodiment.state_names, state),
                *column_ranges("action", embodiment.action_names, values.action),
            ),
            size_bytes=reader.size_bytes,
        )


def _walk(path: Path | str, grid: BagGrid, embodiment: Embodiment) -> tuple[list[Step], list[Hole]]:
    """Steps without their images, and one hole for every stretch of them."""
    steps: list[Step] = []
    holes: list[Hole] = []
    in_hole = True  # streams never begin at the same moment: holes before the first step are none
    for item in complete(embodiment, grid.steps()):
        if isinstance(item, Step):
            steps.append(dataclasses.replace(item, images={}))
            in_hole = False
        elif not in_hole:
            holes.append(item)
            in_hole = True
    if not steps:
        raise DataError(f"{path}: gives no step: every tick lacks a stream")
    return steps, [hole for hole in holes if hole.stamp_ns < steps[-1].stamp_ns]


def _values(record: EpisodeRecord, steps: Sequence[Step], embodiment: Embodiment) -> Episode:
    """States and actions of the steps; actions that there are none of are NaN, as in a store."""
    blank = np.full(embodiment.action_size, np.nan, np.float32)
    rows = [np.concatenate(list(step.action.values())) if step.action else blank for step in steps]
    return Episode(
        record=record,
        stamp_ns=np.array([step.stamp_ns for step in steps], np.int64),
        images={},
        state={key: np.stack([step.state[key] for step in steps]) for key in embodiment.state},
        action=np.stack(rows),
    )


def tracking_sentences(
    embodiment: Embodiment, action: npt.NDArray[np.float32], state: npt.NDArray[np.float32]
) -> tuple[str, ...]:
    """What the check of actions against states remarks."""
    if action.shape[1:] != (embodiment.action_size,) or not state.size:
        return ()
    return tuple(c.warning for c in check_tracking(embodiment, action, state) if c.warning)
