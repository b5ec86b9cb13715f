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
from uwm_core.data.store_format import Role
from uwm_core.embodiment import Embodiment
from uwm_core.errors import DataError, UwmError


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImportConfig:
    """How a data set becomes a store.

    Attributes:
        embodiment: The robot; by default the one that the data carry, else one derived from them.
        names: The source's key by camera or state key, where they do not agree by themselves.
        overwrite: Replace a store of this name.
        skip_bad: List episodes that cannot be read instead of refusing all.
        task: Task sentence of episodes that have none.
        role: What the episodes may teach; those without actions are ``video`` in any case.
    """

    embodiment: Embodiment | None = None
    names: Mapping[str, str] = dataclasses.field(default_factory=dict)
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
        StoreError: If the store exists or is being written.
    """
    config = config or ImportConfig()
    embodiment = config.embodiment or source.embodiment or derive(source.layout)
    fit = Fit.of(source.layout, embodiment, config.names)
    episodes = steps = 0
    skipped: list[str] = []
    with StoreWriter(store_path, embodiment, overwrite=config.overwrite) as writer:
        for episode in source.episodes(fit.wanted):
            try:
                steps += _write(writer, fit, episode, config)
                writer.commit()
                episodes += 1
            except UwmError as error:
                writer.rollback()
                if not config.skip_bad:
                    raise DataError(f"{episode.record.source}: {error}") from None
                skipped.append(f"{episode.record.source}: {error}")
            if progress is not None:
                progress(episodes, steps)
        if not episodes:
            why = f": {skipped[0]}" if skipped else ""
            raise DataError(f"{source.layout.name}: gave no episode{why}")
    notes = (*source.notes, *(f"{part} is absent in every step" for part in fit.absent))
    return ImportReport(store_path, embodiment, episodes, steps, 0, tuple(skipped), notes)


def _write(writer: StoreWriter, fit: Fit, episode: SourceEpisode, config: ImportConfig) -> int:
    """Add one episode; returns its number of steps."""
    start = writer.steps
    acts = False
    for row in episode.rows:
        step = fit.step(row)
        acts = acts or bool(step.action)
        writer.add(step)
    record = episode.record
    role = "video" if not acts else config.role or record.role
    task = record.task or config.task
    writer.end_episode(dataclasses.replace(record, has_action=acts, role=role, task=task))
    return writer.steps - start
