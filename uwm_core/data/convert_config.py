# SPDX-License-Identifier: Apache-2.0
"""What a conversion is told, and what it tells: its options, its progress, its report."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Literal

from uwm_core.data.store_format import ImageCoding, Outcome, Role
from uwm_core.embodiment import Embodiment

Holes = Literal["refuse", "split", "mask"]
State = Literal["converted", "unchanged", "discarded", "bad", "cut off"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class ConvertConfig:
    """How bags are converted.

    Attributes:
        embodiment: The robot; by default the one that the first bag names.
        namespace: Where the topics live; needed only where several namespaces fit.
        holes: What a hole longer than a stream's ``max_age_s`` does to its episode: ``refuse`` it,
            ``split`` it, or ``mask`` what is absent and keep the rest.
        skip_bad: List bad bags in the report and go on, instead of stopping at the first.
        overwrite: Replace a store of the same name, instead of appending what it lacks.
        replace: Take bags that have changed since they were converted, instead of refusing them;
            their old episodes go to the store's trash.
        recover: Convert what is whole of bags that a killed recorder left.
        workers: Processes that decode and code images; 1 does it in this one.
        images: How images are coded in a new store; by default without loss.
        by_topic: Cut each bag at every message of this topic.
        by_gaps_s: Cut each bag where no message came for so long.
        whole: One episode per bag, whatever marks it has.
        task: Task sentence of episodes that have none.
        role: Role of episodes that have none.
        outcome: Outcome of episodes that have none.

    Raises:
        ValueError: If the options contradict one another.
    """

    embodiment: Embodiment | None = None
    namespace: str | None = None
    holes: Holes = "refuse"
    skip_bad: bool = False
    overwrite: bool = False
    replace: bool = False
    recover: bool = False
    workers: int = 1
    images: ImageCoding | None = None
    by_topic: str | None = None
    by_gaps_s: float | None = None
    whole: bool = False
    task: str = ""
    role: Role = "expert"
    outcome: Outcome = "success"

    def __post_init__(self) -> None:
        if self.workers < 1:
            raise ValueError(f"workers must be 1 or more, got {self.workers}")
        if (self.by_topic is not None) + (self.by_gaps_s is not None) + self.whole > 1:
            raise ValueError("episodes are cut by a topic, by gaps or not at all; choose one")
        if self.by_gaps_s is not None and not self.by_gaps_s > 0:
            raise ValueError(f"by_gaps_s must be above 0, got {self.by_gaps_s:g}")


@dataclasses.dataclass(frozen=True)
class Progress:
    """How far a conversion is.

    Attributes:
        bytes_done: Bytes of bags behind it.
        bytes_total: Bytes of all bags.
        seconds_done: Recorded time behind it.
        bag: The bag in work.
        steps: Steps in the store.
    """

    bytes_done: int
    bytes_total: int
    seconds_done: float
    bag: Path
    steps: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class BagResult:
    """What became of one bag.

    Attributes:
        path: The bag.
        state: ``converted``, ``unchanged`` (it was in the store), ``discarded`` (by the operator),
            ``cut off`` (a recorder has not finished it) or ``bad``.
        reason: Why it is not, or not wholly, in the store.
        episodes: Episodes written.
        steps: Steps written.
        bytes: Its size.
        duration_s: Its recorded time.
        elapsed_s: Time that it took.
        notes: What was remarked.
    """

    path: Path
    state: State
    reason: str = ""
    episodes: int = 0
    steps: int = 0
    bytes: int = 0
    duration_s: float = 0.0
    elapsed_s: float = 0.0
    notes: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Report:
    """What a conversion did.

    Attributes:
        store: The store that was written.
        results: What became of each bag, in order.
    """

    store: Path | str
    results: tuple[BagResult, ...]

    def _of(self, *states: State) -> list[BagResult]:
        return [result for result in self.results if result.state in states]

    @property
    def bags(self) -> int:
        """Bags that were converted."""
        return len(self._of("converted"))

    @property
    def unchanged(self) -> int:
        """Bags that were in the store already."""
        return len(self._of("unchanged"))

    @property
    def episodes(self) -> int:
        """Episodes written."""
        return sum(result.episodes for result in self.results)

    @property
    def steps(self) -> int:
        """Steps written."""
        return sum(result.steps for result in self.results)

    @property
    def bytes_read(self) -> int:
        """Bytes of the bags that were converted."""
        return sum(result.bytes for result in self._of("converted"))

    @property
    def duration_s(self) -> float:
        """Recorded time of the bags that were converted."""
        return sum(result.duration_s for result in self._of("converted"))

    @property
    def skipped(self) -> tuple[tuple[Path, str], ...]:
        """Bags that are not (wholly) in the store, each with the reason."""
        return tuple((r.path, r.reason) for r in self._of("bad", "discarded", "cut off"))

    @property
    def notes(self) -> tuple[tuple[Path, str], ...]:
        """What was remarked, by bag."""
        return tuple((result.path, note) for result in self.results for note in result.notes)
