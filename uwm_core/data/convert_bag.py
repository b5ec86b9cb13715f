# SPDX-License-Identifier: Apache-2.0
"""One bag to episodes of a store: its grid, cut where episodes begin and end, images coded.

An episode is committed as soon as the next one is sure to follow, or the bag is at its end: its
record then says truly whether the bag holds more, so that an interrupted conversion can go on.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Callable, Iterator
from typing import Literal

from uwm_core.data.bag import BagReader
from uwm_core.data.convert_images import Coded, ImageCoder, Row
from uwm_core.data.episodes import Span, Spans
from uwm_core.data.grid import BagGrid, Hole, Trouble, sentences
from uwm_core.data.messages import NS_PER_S
from uwm_core.data.store import StoreWriter
from uwm_core.data.store_format import EncodedStep, EpisodeRecord
from uwm_core.embodiment import Embodiment
from uwm_core.errors import DataError
from uwm_core.records import Step

Holes = Literal["refuse", "split"]

# An episode shorter than this teaches nothing: no window has a next step.
MIN_STEPS = 2


@dataclasses.dataclass(frozen=True)
class BagPlan:
    """What is to be done with one bag.

    Attributes:
        reader: The open bag.
        embodiment: Streams and rate, as wired in this bag.
        grid: Its ticks.
        spans: Its episodes.
        record_of: The record of an episode, as far as it is known before conversion.
        holes: What a hole does.
        after_ns: Ticks up to this one are in the store already.
    """

    reader: BagReader
    embodiment: Embodiment
    grid: BagGrid
    spans: Spans
    record_of: Callable[[Span], EpisodeRecord]
    holes: Holes
    after_ns: int | None = None


class Episodes:
    """Rows to committed episodes: each whole, or not there at all.

    Args:
        writer: The store.
        resumed: Whether the bag has episodes in the store already.

    Attributes:
        count: Episodes written.
    """

    def __init__(self, writer: StoreWriter, *, resumed: bool) -> None:
        self.count = 0
        self._writer = writer
        self._resumed = resumed
        self._waiting: list[EncodedStep] = []  # too few yet to be an episode
        self._record: EpisodeRecord | None = None  # of the one in the writer
        self._growing = False  # whether that one may still get rows
        self._stamps = (0, 0)
        self._trouble: Trouble = {}
        self._sizes: dict[str, collections.Counter[tuple[int, int]]] = {}

    def add(self, row: EncodedStep, record: EpisodeRecord, trouble: Trouble) -> None:
        """Append a row to the episode in progress, or begin one with it."""
        if self._growing:
            self._write(row)
            return
        self._waiting.append(row)
        if len(self._waiting) < MIN_STEPS:
            return
        self.settle(trouble, goes_on=True)
        self._record, self._growing = record, True
        self._stamps = (self._waiting[0].stamp_ns, 0)
        for waiting in self._waiting:
            self._write(waiting)
        self._waiting = []

    def _write(self, row: EncodedStep) -> None:
        self._writer.add_encoded(row)
        self._stamps = (self._stamps[0], row.stamp_ns)

    def sized(self, camera: str, size: tuple[int, int]) -> None:
        """Note the size that an image of the episode in progress had."""
        self._sizes.setdefault(camera, collections.Counter())[size] += 1

    def end(self) -> None:
        """The episode in progress gets no more rows; what was too short to be one is dropped."""
        self._growing = False
        self._waiting = []

    def settle(self, trouble: Trouble, *, goes_on: bool) -> None:
        """Commit the episode that has ended, if there is one.

        Args:
            trouble: All that was wrong with messages up to here.
            goes_on: Whether the bag has more episodes.
        """
        record, self._record = self._record, None
        if record is None:
            return
        several = goes_on or self._resumed or self.count > 0
        self._writer.end_episode(
            dataclasses.replace(
                record,
                source_span=self._stamps if several else None,
                source_goes_on=goes_on,
                notes=(*record.notes, *self._notes(trouble)),
            )
        )
        self._writer.commit()
        self.count += 1
        self._trouble, self._sizes = trouble, {}

    def _notes(self, trouble: Trouble) -> Iterator[str]:
        news = {what: count - self._trouble.get(what, 0) for what, count in trouble.items()}
        yield from sentences({what: count for what, count in news.items() if count})
        for camera, sizes in self._sizes.items():
            if len(sizes) > 1:
                shown = ", ".join(f"{count} x {h}x{w}" for (h, w), count in sizes.items())
                yield f"camera/{camera}: images change size: {shown}"

    def give_up(self, trouble: Trouble) -> None:
        """Keep what is whole, drop the episode in progress."""
        if self._growing:
            self._record = None
            self._writer.drop_episode()
        self.end()
        self.settle(trouble, goes_on=True)
