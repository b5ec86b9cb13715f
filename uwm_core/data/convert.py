# SPDX-License-Identifier: Apache-2.0
"""Bags to a store: every bag becomes one episode (or several, if it has holes and may be split).

A bad bag raises an error that names it and leaves no row behind; the bags before it stay in the
store. With ``skip_bad`` it is listed in the report. The same bags give the same bytes.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Literal

from uwm_core.data.bag import BagReader
from uwm_core.data.grid import BagGrid, Hole
from uwm_core.data.messages import NS_PER_S
from uwm_core.data.store import EpisodeRecord, StoreWriter
from uwm_core.data.store_format import Outcome, Role
from uwm_core.data.store_place import Mode
from uwm_core.embodiment import Embodiment
from uwm_core.errors import DataError, UwmError
from uwm_core.records import Step

# An episode shorter than this teaches nothing: no window has a next step.
MIN_STEPS = 2


@dataclasses.dataclass(frozen=True, kw_only=True)
class ConvertConfig:
    """How bags are converted.

    Attributes:
        embodiment: The robot; by default the one that the first bag names.
        namespace: Where the topics live; needed only where several namespaces fit.
        holes: What a hole longer than a stream's ``max_age_s`` does to its bag.
        skip_bad: List bad bags in the report instead of refusing all.
        overwrite: Replace a finished store of the same name.
        task: Task sentence of bags that have none.
        role: Role of bags that have none.
        outcome: Outcome of bags that have none.
    """

    embodiment: Embodiment | None = None
    namespace: str | None = None
    holes: Literal["refuse", "split"] = "refuse"
    skip_bad: bool = False
    overwrite: bool = False
    task: str = ""
    role: Role = "expert"
    outcome: Outcome = "success"


@dataclasses.dataclass(frozen=True)
class Progress:
    """How far a conversion is.

    Attributes:
        bytes_done: Bytes of bags behind it.
        bytes_total: Bytes of all bags.
        bag: The bag in work.
        steps: Steps written.
    """

    bytes_done: int
    bytes_total: int
    bag: Path
    steps: int


@dataclasses.dataclass(frozen=True)
class Report:
    """What a conversion did.

    Attributes:
        store: Folder or URL of the store that was written.
        bags: Bags that are in it.
        episodes: Episodes written.
        steps: Steps written.
        bytes_read: Bytes of those bags.
        duration_s: Recorded time of those bags.
        skipped: Bags that are not in it, each with the reason.
        notes: What was remarked, by bag.
    """

    store: str
    bags: int
    episodes: int
    steps: int
    bytes_read: int
    duration_s: float
    skipped: tuple[tuple[Path, str], ...]
    notes: tuple[tuple[Path, str], ...]


def find_bags(paths: Iterable[Path | str]) -> list[Path]:
    """Bags among paths: bags themselves, and folders that contain bags.

    Args:
        paths: Bag folders, ``.mcap`` or ``.db3`` files, or folders of bags.

    Returns:
        Bags in natural order (``ep_2`` before ``ep_10``) within each path.

    Raises:
        DataError: If a path does not exist or holds no bag.
    """
    found: list[Path] = []
    for path in map(Path, paths):
        if path.is_dir() and not _is_bag(path):
            # A folder without metadata.yaml but with a bag file is a bag that was cut off: it is
            # taken too, so that the reader can name it instead of it going missing.
            inside = sorted((p for p in path.rglob("*") if _is_bag(p) and p.is_dir()), key=_natural)
            if not inside:
                raise DataError(f"{path}: holds no bag")
            found += inside
        else:
            found.append(path)
    return list(dict.fromkeys(found))


def _is_bag(path: Path) -> bool:
    if not path.is_dir():
        return path.suffix in (".mcap", ".db3")
    files = (path / "metadata.yaml", *path.glob("*.mcap"), *path.glob("*.db3"))
    return not any(p.suffix == ".part" for p in (path, *path.parents)) and any(
        file.is_file() for file in files
    )


def _natural(path: Path) -> list[tuple[int, str]]:
    return [
        (int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", str(path))
    ]


def convert(
    bags: Sequence[Path | str],
    store_path: Path | str,
    config: ConvertConfig | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> Report:
    """Turn bags into a store.

    Args:
        bags: Bags, or folders of bags.
        store_path: The store to write.
        config: How.
        progress: Called after every few steps and after every bag.

    Returns:
        What was done.

    Raises:
        DataError: If a bag is bad (and ``skip_bad`` is off), or none is good.
        StoreError: If the store exists or is being written.
    """
    config = config or ConvertConfig()
    paths = find_bags(bags)
    embodiment = config.embodiment or _embodiment_of(paths, config)
    mode: Mode = "overwrite" if config.overwrite else "create"
    with StoreWriter(store_path, embodiment, mode=mode) as writer:
        work = _Conversion(config, embodiment, writer, paths, progress)
        for path in paths:
            work.bag(path)
        report = work.report()
        if not report.episodes:
            reasons = "; ".join(reason for _, reason in report.skipped[:3])
            raise DataError(f"none of {len(paths)} bags gave an episode: {reasons}")
    return report


def _embodiment_of(paths: Sequence[Path], config: ConvertConfig) -> Embodiment:
    """The embodiment that the first readable bag carries."""
    for path in paths:
        try:
            with BagReader(path) as reader:
                if text := reader.metadata.get("uwm.embodiment"):
                    return Embodiment.parse(text, f"{path}/embodiment")
        except UwmError:
            if not config.skip_bad:
                raise
            continue
        raise DataError(f"{path}: does not say its embodiment; name one (--embodiment fr3)")
    raise DataError(f"none of {len(paths)} bags can be read")


class _Conversion:
    """The state of one conversion: what is written, what was skipped and why."""

    def __init__(
        self,
        config: ConvertConfig,
        embodiment: Embodiment,
        writer: StoreWriter,
        paths: Sequence[Path],
        progress: Callable[[Progress], None] | None,
    ) -> None:
        self._config = config
        self._embodiment = embodiment
        self._writer = writer
        self._progress = progress
        self._sizes = {path: _size_bytes(path) for path in paths}
        self._total = sum(self._sizes.values())
        self._passed = self._read = 0
        self._bags = self._episodes = 0
        self._duration_s = 0.0
        self._parsed: dict[str, Embodiment] = {}
        self._skipped: list[tuple[Path, str]] = []
        self._notes: list[tuple[Path, str]] = []

    def bag(self, path: Path) -> None:
        """Convert one bag, wholly or not at all."""
        try:
            with BagReader(path) as reader:
                record = self._record(reader)
                if record.outcome == "discard":
                    self._skipped.append((path, f"{path}: was discarded by the operator"))
                else:
                    duration_s = (reader.end_ns - reader.start_ns) / NS_PER_S
                    self._bag_episodes(reader, record)
                    self._writer.commit()
                    self._bags += 1
                    self._read += self._sizes[path]
                    self._duration_s += duration_s
        except UwmError as error:
            self._writer.rollback()
            if not self._config.skip_bad:
                raise
            self._skipped.append((path, str(error)))
            self._notes = [note for note in self._notes if note[0] != path]
        self._passed += self._sizes[path]
        self._tell(path, 0.0)

    def _record(self, reader: BagReader) -> EpisodeRecord:
        metadata = reader.metadata
        try:
            return EpisodeRecord(
                task=metadata.get("uwm.task", self._config.task),
                role=metadata.get("uwm.role", self._config.role),  # type: ignore[arg-type]
                outcome=metadata.get("uwm.outcome", self._config.outcome),  # type: ignore[arg-type]
                source=reader.path.name,
            )
        except UwmError as error:
            raise DataError(f"{reader.path}: {error}") from None

    def _embodiment_for(self, reader: BagReader) -> Embodiment:
        """The bag's own wiring where it carries one that means the same as the store's."""
        text = reader.metadata.get("uwm.embodiment")
        if self._config.embodiment is not None or not text:
            return self._embodiment
        own = self._parsed.get(text)
        if own is None:
            own = self._parsed[text] = Embodiment.parse(text, f"{reader.path}/embodiment")
        if differences := own.difference(self._embodiment):
            raise DataError(f"{reader.path}: is of another embodiment: {differences[0]}")
        return own

    def _bag_episodes(self, reader: BagReader, record: EpisodeRecord) -> None:
        embodiment = self._embodiment_for(reader)
        actions = record.role != "video"
        grid = BagGrid(reader, embodiment, actions=actions, namespace=self._config.namespace)
        span_ns = max(1, reader.end_ns - reader.start_ns)

        def seen(log_ns: int) -> None:
            self._tell(reader.path, (log_ns - reader.start_ns) / span_ns)

        record = dataclasses.replace(record, has_action=actions, counts=grid.counts)
        pieces = steps = 0
        for item in grid.steps(seen):
            if isinstance(item, Step):
                self._writer.add(item)
                steps += 1
                continue
            self._hole(reader.path, item, first=steps > 0)
            pieces += self._end_piece(record, grid.notes, steps)
            steps = 0
        pieces += self._end_piece(record, grid.notes, steps)
        if not pieces:
            raise DataError(f"{reader.path}: is too short: fewer than {MIN_STEPS} steps")
        self._episodes += pieces
        self._notes += [(reader.path, note) for note in grid.notes]

    def _end_piece(self, record: EpisodeRecord, notes: tuple[str, ...], steps: int) -> int:
        """Make the rows added an episode if they are long enough; how many that made."""
        if steps < MIN_STEPS:
            self._writer.drop_episode()
            return 0
        self._writer.end_episode(dataclasses.replace(record, notes=notes))
        return 1

    def _hole(self, path: Path, hole: Hole, *, first: bool) -> None:
        where = f"{hole.offset_s:.3f} s after its first step: {hole.reason}"
        if self._config.holes == "refuse":
            raise DataError(f"{path}: has a hole {where} (--holes split would cut there)")
        if first:
            self._notes.append((path, f"cut {where}"))

    def _tell(self, path: Path, share: float) -> None:
        if self._progress is not None:
            done = self._passed + int(self._sizes[path] * min(max(share, 0.0), 1.0))
            self._progress(Progress(min(done, self._total), self._total, path, self._writer.steps))

    def report(self) -> Report:
        """What was done so far."""
        return Report(
            store=self._writer.location,
            bags=self._bags,
            episodes=self._episodes,
            steps=self._writer.steps,
            bytes_read=self._read,
            duration_s=self._duration_s,
            skipped=tuple(self._skipped),
            notes=tuple(self._notes),
        )


def _size_bytes(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())
