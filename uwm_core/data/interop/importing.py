# SPDX-License-Identifier: Apache-2.0
"""A foreign data set to a store, episode by episode.

An episode is committed when it is whole, and one that is in the store already (same source, same
content) is not read again: an interrupted import goes on where it was.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path

from uwm_core.data.interop.derive import derive
from uwm_core.data.interop.fit import Fit
from uwm_core.data.interop.source import Source, SourceEpisode
from uwm_core.data.store import StoreWriter
from uwm_core.data.store_format import EncodedStep, ImageCoding, Role
from uwm_core.data.store_images import encode_image
from uwm_core.data.store_place import Mode
from uwm_core.embodiment import Embodiment
from uwm_core.errors import DataError, UwmError


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImportConfig:
    """How a data set becomes a store.

    Attributes:
        embodiment: The robot; by default the one that the data carry, else one derived from them.
        names: The source's key by camera or state key, where they do not agree by themselves.
        only: Keys of the source that are wanted; all if empty.
        images: How a new store codes images; without loss by default.
        overwrite: Replace a store of this name instead of going on with it.
        skip_bad: List episodes that cannot be read instead of refusing all.
        task: Task sentence of episodes that have none.
        role: What the episodes may teach; those without actions are ``video`` in any case.
    """

    embodiment: Embodiment | None = None
    names: Mapping[str, str] = dataclasses.field(default_factory=dict)
    only: tuple[str, ...] = ()
    images: ImageCoding | None = None
    overwrite: bool = False
    skip_bad: bool = False
    task: str = ""
    role: Role | None = None


@dataclasses.dataclass(frozen=True)
class ImportReport:
    """What an import did.

    Attributes:
        store: The store.
        embodiment: Whose steps it holds.
        episodes: Episodes imported now.
        steps: Steps imported now.
        known: Episodes that were in the store already.
        skipped: Why, for each episode that could not be read.
        notes: What was left out or is absent.
    """

    store: Path | str
    embodiment: Embodiment
    episodes: int
    steps: int
    known: int
    skipped: tuple[str, ...]
    notes: tuple[str, ...]


def import_source(
    source: Source,
    store_path: Path | str,
    config: ImportConfig | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> ImportReport:
    """Write a store from a data set.

    Args:
        source: The data set, open.
        store_path: The store to write.
        config: How.
        progress: Called after every episode with the episodes and steps so far.

    Returns:
        What was done.

    Raises:
        DataError: If the data do not fit, an episode is bad (and ``skip_bad`` is off), or none is
            good.
        StoreError: If the store is of another embodiment or coding, or is being written.
    """
    config = config or ImportConfig()
    layout = source.layout.only(config.only) if config.only else source.layout
    carried = None if config.only or config.names else source.embodiment
    embodiment = config.embodiment or carried or derive(layout, config.names)
    fit = Fit.of(layout, embodiment, config.names)
    work = _Import(fit, config)
    mode: Mode = "overwrite" if config.overwrite else "append"
    with StoreWriter(store_path, embodiment, mode=mode, images=config.images) as writer:
        work.known = {(record.source, record.source_hash) for record in writer.episodes}
        for episode in source.episodes(fit.wanted):
            work.episode(writer, episode)
            if progress is not None:
                progress(work.episodes, work.steps)
        if not writer.episodes:
            why = f": {work.skipped[0]}" if work.skipped else ""
            raise DataError(f"{source.layout.name}: gave no episode{why}")
    return ImportReport(
        store=store_path,
        embodiment=embodiment,
        episodes=work.episodes,
        steps=work.steps,
        known=work.met,
        skipped=tuple(work.skipped),
        notes=(
            *source.notes,
            *fit.notes,
            *(f"{part} is absent in every step" for part in fit.absent),
        ),
    )


class _Import:
    """The state of one import: what is written, what was there, what was skipped and why."""

    def __init__(self, fit: Fit, config: ImportConfig) -> None:
        self._fit = fit
        self._config = config
        self.known: set[tuple[str, str]] = set()
        self.episodes = self.steps = self.met = 0
        self.skipped: list[str] = []

    def episode(self, writer: StoreWriter, episode: SourceEpisode) -> None:
        """Import one episode, wholly or not at all, unless it is there."""
        record = episode.record
        if (record.source, record.source_hash) in self.known:
            self.met += 1
            return
        before = writer.steps
        try:
            self._write(writer, episode)
            writer.commit()
        except UwmError as error:
            writer.rollback()
            if not self._config.skip_bad:
                raise DataError(f"{record.source}: {error}") from None
            self.skipped.append(f"{record.source}: {error}")
        else:
            self.episodes += 1
            self.steps += writer.steps - before

    def _write(self, writer: StoreWriter, episode: SourceEpisode) -> None:
        acts = False
        for row in episode.rows:
            step = self._fit.step(row)
            acts = acts or bool(step.action)
            images = {name: encode_image(writer.images, i) for name, i in step.images.items()}
            writer.add_encoded(EncodedStep(step.stamp_ns, images, step.state, step.action))
        record = episode.record
        writer.end_episode(
            dataclasses.replace(
                record,
                has_action=acts,
                role=self._config.role or record.role if acts else "video",
                task=record.task or self._config.task,
            )
        )
