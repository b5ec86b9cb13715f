# SPDX-License-Identifier: Apache-2.0
"""The sync report: how well streams, actions and states of a store or of a bag fit together.

``report_store`` reads what the conversion measured and kept in the episodes' records;
``report_bag`` walks one bag and measures it now, second by second. Both give a ``Report``, which
``to_json`` turns into plain values and ``report_page`` into a page.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from uwm_core.data.bag import BagReader
from uwm_core.data.grid import BagGrid, Hole
from uwm_core.data.inspect import ColumnRange, summarize
from uwm_core.data.messages import NS_PER_S
from uwm_core.data.store import EpisodeRecord, Store
from uwm_core.data.sync import Bins, StreamSync
from uwm_core.embodiment import Embodiment

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
    """

    index: int
    record: EpisodeRecord
    duration_s: float
    streams: dict[str, StreamSync]
    tracking: tuple[str, ...] = ()
    over_time: dict[str, Bins] = dataclasses.field(default_factory=dict, compare=False)

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
    summary = summarize(store)
    return Report(
        source=str(store.path),
        embodiment=store.embodiment,
        episodes=tuple(
            EpisodeReport(
                index=index,
                record=record,
                duration_s=record.steps / rate_hz,
                streams={key: StreamSync.from_json(e) for key, e in record.sync.items()},
            )
            for index, record in enumerate(store.episodes)
        ),
        ranges=summary.ranges,
        size_bytes=summary.size_bytes,
    )
