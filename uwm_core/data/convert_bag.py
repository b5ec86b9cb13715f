# SPDX-License-Identifier: Apache-2.0
"""One bag to episodes of a store: its grid, cut where episodes begin and end, images coded.

An episode is committed as soon as the next one is sure to follow, or the bag is at its end: its
record then says truly whether the bag holds more, so that an interrupted conversion can go on.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Callable, Iterator
from typing import NamedTuple

from uwm_core.data.actions import complete
from uwm_core.data.bag import BagReader
from uwm_core.data.convert_config import Holes, State
from uwm_core.data.convert_images import Coded, ImageCoder, Row
from uwm_core.data.episodes import Span, Spans
from uwm_core.data.grid import BagGrid, Hole, Trouble, sentences
from uwm_core.data.messages import NS_PER_S
from uwm_core.data.store import StoreWriter
from uwm_core.data.store_format import EncodedStep, EpisodeRecord
from uwm_core.data.sync import SyncMeter
from uwm_core.embodiment import Embodiment
from uwm_core.errors import DataError
from uwm_core.records import Step

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


class _Ready(NamedTuple):
    """A row as the store takes it, with the sizes that its images had before."""

    row: EncodedStep
    sizes: dict[str, tuple[int, int]]


class Episodes:
    """Rows to committed episodes: each whole, or not there at all.

    Args:
        writer: The store.
        sync: Has measured the streams, at least up to the newest row.
        resumed: Whether the bag has episodes in the store already.

    Attributes:
        count: Episodes written.
        steps: Their steps.
    """

    def __init__(self, writer: StoreWriter, sync: SyncMeter, *, resumed: bool) -> None:
        self.count = self.steps = 0
        self._writer = writer
        self._sync = sync
        self._resumed = resumed
        self._waiting: list[_Ready] = []  # too few yet to be an episode
        self._record: EpisodeRecord | None = None  # of the one in the writer
        self._growing = False  # whether that one may still get rows
        self._stamps: list[int] = []
        self._known: Trouble = {}  # that was told with an episode before
        self._sizes: dict[str, collections.Counter[tuple[int, int]]] = {}

    def add(self, ready: _Ready, record: EpisodeRecord, trouble: Trouble) -> None:
        """Append a row to the episode in progress, or begin one with it."""
        if self._growing:
            self._write(ready)
            return
        self._waiting.append(ready)
        if len(self._waiting) < MIN_STEPS:
            return
        self.settle(trouble, goes_on=True)
        self._record, self._growing = record, True
        for waiting in self._waiting:
            self._write(waiting)
        self._waiting = []

    def _write(self, ready: _Ready) -> None:
        self._writer.add_encoded(ready.row)
        self._stamps.append(ready.row.stamp_ns)
        for camera, size in ready.sizes.items():
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
        if record is not None:
            several = goes_on or self._resumed or self.count > 0
            begin_ns, end_ns = self._stamps[0], self._stamps[-1]
            measured = self._sync.streams(begin_ns, end_ns)
            self._sync.forget_before(end_ns)
            self._writer.end_episode(
                dataclasses.replace(
                    record,
                    source_span=(begin_ns, end_ns) if several else None,
                    source_goes_on=goes_on,
                    notes=(*record.notes, *self._notes(trouble)),
                    sync={key: s.to_json() for key, s in measured.items() if s.messages},
                )
            )
            self._writer.commit()
            self.count += 1
            self.steps += len(self._stamps)
        if record is not None or self._resumed:
            self._known = trouble
        self._stamps, self._sizes = [], {}

    def _notes(self, trouble: Trouble) -> Iterator[str]:
        news = {what: count - self._known.get(what, 0) for what, count in trouble.items()}
        yield from sentences({what: count for what, count in news.items() if count})
        for camera, sizes in self._sizes.items():
            if len(sizes) > 1:
                shown = ", ".join(f"{count} x {h}x{w}" for (h, w), count in sizes.items())
                yield f"camera/{camera}: images change size: {shown}"

    def give_up(self, trouble: Trouble) -> None:
        """Keep what is whole, drop the episode in progress."""
        if self._growing:
            self._record = None
            self._stamps = []
            self._writer.drop_episode()
        self.end()
        self.settle(trouble, goes_on=True)


class BagConversion:
    """One bag on its way into the store.

    Args:
        plan: What is to be done.
        writer: The store.
        coder: Codes the images.
        seen: Called now and then with the log time that was reached.

    Attributes:
        episodes: What came of it so far.
        notes: What was remarked.
    """

    def __init__(
        self,
        plan: BagPlan,
        writer: StoreWriter,
        coder: ImageCoder,
        seen: Callable[[int], None],
    ) -> None:
        self._plan = plan
        self._coder = coder
        self._seen = seen
        self.episodes = Episodes(writer, plan.grid.grid.sync, resumed=plan.after_ns is not None)
        self.notes: list[str] = list(plan.spans.notes)
        self._span: Span | None = None
        self._record = EpisodeRecord()
        self._holes: list[Hole] = []  # since the last step
        self._masked: list[Hole] = []  # of the span
        self._steps = 0  # of the span
        self._discarded = False
        slowest_s = max(stream.max_age_s for stream in plan.embodiment.streams.values())
        # Streams never begin or end at the same moment: so much may be missing at either end.
        self._ragged_ns = round(slowest_s * NS_PER_S) + plan.embodiment.period_ns

    def run(self) -> None:
        """Convert the bag; episodes are committed one by one.

        Raises:
            DataError: If something is wrong with it; the episodes before that are committed.
        """
        trouble: Trouble = {}
        grid = self._plan.grid.grid
        try:
            for row, images in self._coder.through(self._rows()):
                if row.span is not self._span:
                    self._end_span()
                    self._span, self._record = row.span, self._plan.record_of(row.span)
                self._take(row, images)
                trouble = row.trouble
            self._end_span()
        except BaseException:
            self.episodes.give_up(trouble)
            raise
        self.episodes.settle(grid.trouble(), goes_on=False)
        self.notes += sentences(grid.trouble())

    def _rows(self) -> Iterator[Row]:
        """Ticks that are in an episode which is wanted and is not in the store yet."""
        grid, after_ns = self._plan.grid.grid, self._plan.after_ns
        for item in complete(self._plan.embodiment, self._plan.grid.steps(self._seen)):
            span = self._plan.spans.at(item.stamp_ns + grid.shift_ns)
            if span is None or (after_ns is not None and item.stamp_ns <= after_ns):
                continue
            if self._plan.record_of(span).outcome == "discard":
                self._discarded = True
                continue
            yield Row(item, span, grid.trouble())

    def why_nothing(self) -> tuple[State, str]:
        """Why a bag without trouble gave no episode.

        Raises:
            DataError: If there was no good reason.
        """
        path = self._plan.reader.path
        if self._discarded:
            return "discarded", f"{path}: was discarded by the operator"
        why = f": {self.notes[0]}" if self.notes else ""
        raise DataError(f"{path}: is too short: fewer than {MIN_STEPS} steps{why}")

    def _take(self, row: Row, images: dict[str, Coded]) -> None:
        item: Step | Hole = row.item
        good = {name: coded for name, coded in images.items() if not coded.fault}
        faults = [f"camera/{name}: {coded.fault}" for name, coded in images.items() if coded.fault]
        if faults and isinstance(item, Step):
            item = self._plan.grid.grid.hole(item.stamp_ns, faults[0], partial=item)
        if isinstance(item, Hole):
            self._hole(item, good, row.trouble)
            return
        if self._holes:
            self._bridge()
        self._add(item, good, row.trouble)

    def _add(self, step: Step, images: dict[str, Coded], trouble: Trouble) -> None:
        ready = _Ready(
            EncodedStep(
                stamp_ns=step.stamp_ns,
                images={name: coded.data for name, coded in images.items()},
                state=step.state,
                action=step.action,
            ),
            {name: coded.size for name, coded in images.items()},
        )
        self.episodes.add(ready, self._record, trouble)
        self._steps += 1

    def _hole(self, hole: Hole, images: dict[str, Coded], trouble: Trouble) -> None:
        """Keep what is there if that is wanted, else wait for what follows."""
        if self._plan.holes == "mask" and self._steps and hole.partial is not None:
            relative = any(channel.relative_to for channel in self._plan.embodiment.action.values())
            # A difference to a state that may be absent is not what was recorded.
            action = {} if relative else hole.partial.action
            self._add(dataclasses.replace(hole.partial, action=action), images, trouble)
            self._masked.append(dataclasses.replace(hole, partial=None))
            return
        self._holes.append(dataclasses.replace(hole, partial=None))

    def _bridge(self) -> None:
        """A step comes after holes: they were within the episode, or just before its first step."""
        inside = self._steps > 0
        lasted_ns = self._holes[-1].stamp_ns - self._holes[0].stamp_ns
        if inside or lasted_ns > self._ragged_ns:
            self._refuse_or_cut("cut" if inside else "begins late")
        self._holes = []

    def _end_span(self) -> None:
        """No more steps come: holes were at the end of the episode."""
        if self._holes:
            lasted_ns = self._holes[-1].stamp_ns - self._holes[0].stamp_ns
            if self._holes[-1].final or lasted_ns > self._ragged_ns:
                self._refuse_or_cut("ends early")
        if self._masked:
            first = self._masked[0]
            self.notes.append(
                f"{len(self._masked)} steps lack something, first {first.offset_s:.3f} s after the "
                f"first step: {first.reason}"
            )
        self._holes, self._masked, self._steps = [], [], 0
        self.episodes.end()

    def _refuse_or_cut(self, what: str) -> None:
        path, first = self._plan.reader.path, self._holes[0]
        where = f"{first.offset_s:.3f} s after its first step: {first.reason}"
        if self._plan.holes == "refuse":
            raise DataError(f"{path}: has a hole {where} (--holes split would cut there)")
        self.notes.append(f"{what} {where} ({len(self._holes)} steps lost)")
        self.episodes.end()
