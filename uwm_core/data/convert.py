# SPDX-License-Identifier: Apache-2.0
"""Bags to a store, by whole episodes: what is committed stays, what is there already is not redone.

A bag is known by its content (``BagReader.identity``), so the same command may be given again: bags
that are in the store are passed over, an interrupted one goes on after its last whole episode, new
ones are appended. The same bags give the same bytes, however many workers and interruptions.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

from uwm_core.data.bag import BagReader
from uwm_core.data.convert_bag import BagConversion, BagPlan
from uwm_core.data.convert_config import BagResult, ConvertConfig, Progress, Report, State
from uwm_core.data.convert_images import ImageCoder, image_coder
from uwm_core.data.convert_replace import drop_changed
from uwm_core.data.convert_sources import Source, find_bags, find_sources, size_bytes
from uwm_core.data.episodes import (
    GapSpans,
    ListedSpans,
    Span,
    Spans,
    spans_by_marks,
    spans_by_topic,
)
from uwm_core.data.grid import BagGrid
from uwm_core.data.messages import NS_PER_S
from uwm_core.data.store import EpisodeRecord, StoreWriter
from uwm_core.data.topics import embodiment_of
from uwm_core.embodiment import Embodiment
from uwm_core.errors import DataError, UwmError

__all__ = ["BagResult", "ConvertConfig", "Progress", "Report", "convert", "find_bags"]

Tell = Callable[[Progress], None]
T = TypeVar("T")


def convert(
    bags: Sequence[Path | str | Source],
    store_path: Path | str,
    config: ConvertConfig | None = None,
    progress: Tell | None = None,
    finished: Callable[[BagResult], None] | None = None,
) -> Report:
    """Put bags into a store; those that are in it already are not read again.

    Args:
        bags: Bags, or folders of bags.
        store_path: The store, a folder or an fsspec URL; made if it is not there.
        config: How.
        progress: Called after every few steps and after every bag.
        finished: Called with what became of a bag.

    Returns:
        What was done.

    Raises:
        DataError: If a bag is bad (and ``skip_bad`` is off), or none gave an episode; episodes
            that were committed before are in the store.
        StoreError: If the store is of another embodiment or coding, or is being written.
    """
    config = config or ConvertConfig()
    sources = find_sources(bags)
    embodiment = config.embodiment or _embodiment_of(sources, config)
    mode: Literal["append", "overwrite"] = "overwrite" if config.overwrite else "append"
    if config.replace and not config.overwrite:
        mode = drop_changed(sources, store_path)
    with StoreWriter(store_path, embodiment, mode=mode, images=config.images) as writer:
        with contextlib.closing(image_coder(writer.images, config.workers)) as coder:
            work = _Conversion(config, writer, coder, sources, progress)
            for source in sources:
                work.bag(source)
                if finished is not None:
                    finished(work.results[-1])
        report = Report(writer.location, tuple(work.results))
        if not writer.episodes:
            reasons = "; ".join(reason for _, reason in report.skipped[:3])
            raise DataError(f"none of {len(sources)} bags gave an episode: {reasons}")
    return report


def _embodiment_of(sources: Sequence[Source], config: ConvertConfig) -> Embodiment:
    """The embodiment that the first readable bag carries."""
    for source in sources:
        if source.cut_off and not config.recover:
            continue
        try:
            return read_bag(source, config.recover, lambda reader, _: embodiment_of(reader))
        except UwmError:
            if not config.skip_bad:
                raise
    raise DataError(f"none of {len(sources)} bags can be read")


def read_bag(source: Source, recover: bool, work: Callable[[BagReader, bool], T]) -> T:
    """Do something with a bag, and if need be again with what is whole of it.

    Args:
        source: The bag.
        recover: Whether a damaged one is read as far as it goes.
        work: Gets the open bag, and whether it is one that was cut off or damaged.

    Raises:
        DataError: If it cannot be read.
    """
    try:
        with BagReader(source.path, recover=source.cut_off) as reader:
            return work(reader, source.cut_off)
    except DataError:
        if source.cut_off or not recover:
            raise
    with BagReader(source.path, recover=True) as reader:
        return work(reader, True)


def records_of(
    source: Source, identity: str, episodes: Iterable[EpisodeRecord]
) -> list[EpisodeRecord]:
    """Episodes of a bag that are in a store, by the bag's content.

    Raises:
        DataError: If the store has episodes of another bag of that name.
    """
    known = []
    for record in episodes:
        if record.source_hash == identity:
            known.append(record)
        elif record.source == source.name and record.source_hash:
            raise DataError(
                f"{source.path}: is not what was converted as {source.name!r} into this store; "
                "--replace takes it instead, under another name it is added"
            )
    return known


class _Conversion:
    """The state of one conversion: what became of the bags so far."""

    def __init__(
        self,
        config: ConvertConfig,
        writer: StoreWriter,
        coder: ImageCoder,
        sources: Sequence[Source],
        progress: Tell | None,
    ) -> None:
        self.results: list[BagResult] = []
        self._config = config
        self._writer = writer
        self._coder = coder
        self._progress = progress
        self._sizes = {source.path: size_bytes(source.path) for source in sources}
        self._passed_bytes, self._passed_s = 0, 0.0
        self._parsed: dict[str, Embodiment] = {}

    def bag(self, source: Source) -> None:
        """Convert one bag.

        Raises:
            DataError: If it is bad and bad ones are not to be skipped.
        """
        if source.cut_off and not self._config.recover:
            reason = (
                f"{source.path}: was cut off, or is being recorded; --recover takes what it has"
            )
            self._done(source, BagResult(path=source.path, state="cut off", reason=reason))
            return
        before = len(self._writer.episodes)
        try:
            result = read_bag(source, self._config.recover, functools.partial(self._read, source))
        except UwmError as error:
            kept = len(self._writer.episodes) - before
            reason = (
                f"{error}; {kept} episodes before that are in the store" if kept else str(error)
            )
            if not self._config.skip_bad:
                raise (DataError(reason) if kept else error) from None
            steps = sum(record.steps for record in self._writer.episodes[before:])
            result = BagResult(
                path=source.path, state="bad", reason=reason, episodes=kept, steps=steps
            )
        self._done(source, result)

    def _done(self, source: Source, result: BagResult) -> None:
        self.results.append(result)
        self._passed_bytes += self._sizes[source.path]
        self._passed_s += result.duration_s
        self._tell(source.path, 0.0, 0.0)

    def _read(self, source: Source, reader: BagReader, damaged: bool) -> BagResult:
        identity = reader.identity
        known = records_of(source, identity, self._writer.episodes)
        if known and not known[-1].source_goes_on:
            return BagResult(path=source.path, state="unchanged", bytes=self._sizes[source.path])
        base = self._base(source, reader, identity)
        if damaged:
            base = dataclasses.replace(base, notes=("of a recording that was cut off",))
        if base.outcome == "discard":
            reason = f"{source.path}: was discarded by the operator"
            return BagResult(path=source.path, state="discarded", reason=reason)
        after_ns = known[-1].source_span[1] if known and known[-1].source_span else None
        return self._convert(reader, base, after_ns)

    def _base(self, source: Source, reader: BagReader, identity: str) -> EpisodeRecord:
        """What the bag says of itself as a whole, and the configuration where it says nothing."""
        metadata = reader.metadata
        try:
            return EpisodeRecord(
                task=metadata.get("uwm.task", self._config.task),
                role=metadata.get("uwm.role", self._config.role),  # type: ignore[arg-type]
                outcome=metadata.get("uwm.outcome", self._config.outcome),  # type: ignore[arg-type]
                source=source.name,
                source_hash=identity,
                dropped=_read_json(metadata.get("uwm.dropped"), dict),
                remarks=tuple(_read_json(metadata.get("uwm.remarks"), list)),
            )
        except UwmError as error:
            raise DataError(f"{source.path}: {error}") from None

    def _convert(self, reader: BagReader, base: EpisodeRecord, after_ns: int | None) -> BagResult:
        begin_s = time.monotonic()
        embodiment = self._embodiment_for(reader)
        actions = base.role != "video"
        later = [key for key, channel in embodiment.action.items() if channel.at == "next_tick"]
        if self._config.holes == "mask" and later and actions:
            raise DataError(
                f"{reader.path}: action {later[0]} is the state of the next tick, which a hole has "
                "not; use --holes split"
            )
        grid = BagGrid(
            reader,
            embodiment,
            actions=actions,
            namespace=self._config.namespace,
            partial=self._config.holes == "mask",
        )
        base = dataclasses.replace(base, has_action=actions, counts=grid.counts)
        plan = BagPlan(
            reader=reader,
            embodiment=embodiment,
            grid=grid,
            spans=self._spans(reader, grid),
            record_of=_Labels(base, reader.metadata),
            holes=self._config.holes,
            after_ns=after_ns,
        )
        span_ns = max(1, reader.end_ns - reader.start_ns)

        def seen(log_ns: int) -> None:
            passed_ns = log_ns - reader.start_ns
            self._tell(reader.path, passed_ns / span_ns, passed_ns / NS_PER_S)

        work = BagConversion(plan, self._writer, self._coder, seen)
        state: State = "converted"
        reason = ""
        work.run()
        if not work.episodes.count and after_ns is None:
            state, reason = work.why_nothing()
        return BagResult(
            path=reader.path,
            state=state,
            reason=reason,
            episodes=work.episodes.count,
            steps=work.episodes.steps,
            bytes=self._sizes[reader.path],
            duration_s=span_ns / NS_PER_S,
            elapsed_s=time.monotonic() - begin_s,
            notes=tuple(work.notes),
        )

    def _embodiment_for(self, reader: BagReader) -> Embodiment:
        """The bag's own wiring where it carries one that means the same as the store's."""
        text = reader.metadata.get("uwm.embodiment")
        if self._config.embodiment is not None or not text:
            return self._config.embodiment or self._writer.embodiment
        own = self._parsed.get(text)
        if own is None:
            own = self._parsed[text] = Embodiment.parse(text, f"{reader.path}/embodiment")
        if differences := own.difference(self._writer.embodiment):
            raise DataError(f"{reader.path}: is of another embodiment: {differences[0]}")
        return own

    def _spans(self, reader: BagReader, grid: BagGrid) -> Spans:
        """Where the bag's episodes begin and end."""
        if self._config.by_topic is not None:
            return spans_by_topic(reader, self._config.by_topic)
        if self._config.by_gaps_s is not None:
            return GapSpans(grid.grid.pauses, round(self._config.by_gaps_s * NS_PER_S))
        return ListedSpans([Span()]) if self._config.whole else spans_by_marks(reader)

    def _tell(self, path: Path, share: float, seconds: float) -> None:
        if self._progress is not None:
            done = self._passed_bytes + int(self._sizes.get(path, 0) * min(max(share, 0.0), 1.0))
            self._progress(
                Progress(
                    bytes_done=min(done, sum(self._sizes.values())),
                    bytes_total=sum(self._sizes.values()),
                    seconds_done=self._passed_s + max(seconds, 0.0),
                    bag=path,
                    steps=self._writer.steps,
                )
            )


def _read_json(text: str | None, kind: type[Any]) -> Any:
    """A label that is JSON; empty where it is not what it should be, for it decides nothing."""
    try:
        found = json.loads(text or "null")
    except ValueError:
        found = None
    return found if isinstance(found, kind) else kind()


class _Labels:
    """The record of each episode of a bag.

    What stands on the bag wins, because it can be corrected after the recording; then comes what
    was marked in it, then the configuration.
    """

    def __init__(self, base: EpisodeRecord, metadata: Mapping[str, str]) -> None:
        self._base = base
        self._said = {key for key in ("task", "role", "outcome") if f"uwm.{key}" in metadata}
        self._records: dict[int, EpisodeRecord] = {}

    def __call__(self, span: Span) -> EpisodeRecord:
        record = self._records.get(id(span))
        if record is None:
            marked: dict[str, Any] = {
                key: text for key, text in span.labels.items() if key not in self._said
            }
            remarks = self._base.remarks or span.remarks
            record = dataclasses.replace(self._base, remarks=remarks, **marked)
            self._records[id(span)] = record
        return record
