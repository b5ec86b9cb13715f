# SPDX-License-Identifier: Apache-2.0
"""Which rows of a store one training sample reads: windows that never leave their episode.

Map: `EpisodeSpan` (where an episode lies, and what it may teach), `Valid` (which rows are real),
`Steps` (a store's arrays as training reads them), `cut_windows` -> `Windows` (row numbers, nothing
is copied). No torch here; `uwm_core.data.plan` says which windows come when,
`uwm_core.data.dataset` reads the rows.

A window of history T and chunk A around the present step p reads the images and state of steps
p-T+1 .. p, the actions p .. p+A-1 and the images of p+A .. p+A+T-1. Rows beyond the end of an
*expert* episode repeat its last row: the attempt ends at rest, so the last target held is the
truth, and a policy that never saw it would not learn to hold. Play and video episodes end in the
middle of something and are never padded; no episode is padded at its beginning, because a robot
without history is not asked for actions either.

A row that was absent when it was recorded is marked so in the store, and no window pretends it
was there: without an image nothing is cut; without an action the window is *video* (it teaches
what comes next, never what to do); without state it is dropped unless it is video.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from uwm_core.errors import StoreError, UnknownNameError

if TYPE_CHECKING:
    from uwm_core.data.store import Store

ROLES: tuple[str, ...] = ("expert", "play", "video")
"""Episode roles; the position is the number that `Batch.role` carries."""

EXPERT, VIDEO = ROLES.index("expert"), ROLES.index("video")

MEMORY_BYTES = 4 << 30
"""Images of a run up to this size are kept in memory."""

Rows = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class EpisodeSpan:
    """One episode's place in the rows of a store.

    Attributes:
        start: First row.
        stop: Row after the last one.
        role: "expert", "play" or "video", as recorded.
        outcome: "success", "failure" or "discard".
        task: Task sentence.
        store: Number of its store in a mixture.
    """

    start: int
    stop: int
    role: str = "expert"
    outcome: str = "success"
    task: str = ""
    store: int = 0

    def __post_init__(self) -> None:
        if self.role not in ROLES:
            raise UnknownNameError("episode role", self.role, ROLES)
        if not 0 <= self.start < self.stop:
            raise StoreError(f"an episode needs rows, got [{self.start}, {self.stop})")

    @property
    def teaches(self) -> str | None:
        """The role that training gives it, or None for a discarded one.

        A failed attempt is true about the world but no example to follow: it becomes play.
        """
        if self.outcome == "discard":
            return None
        return "play" if self.role == "expert" and self.outcome != "success" else self.role


def spans_from_ends(
    ends: Sequence[int], roles: Sequence[str], outcomes: Sequence[str], tasks: Sequence[str]
) -> tuple[EpisodeSpan, ...]:
    """Spans of consecutive episodes.

    Args:
        ends: (E,) row after each episode's last one, as `meta/episode_ends` has it.
        roles: (E,) recorded roles.
        outcomes: (E,) outcomes.
        tasks: (E,) task sentences.

    Raises:
        StoreError: The ends do not rise.
        UnknownNameError: A role is not one of `ROLES`.
    """
    starts = [0, *list(ends)[:-1]]
    return tuple(
        EpisodeSpan(start=int(start), stop=int(stop), role=role, outcome=outcome, task=task)
        for start, stop, role, outcome, task in zip(
            starts, ends, roles, outcomes, tasks, strict=True
        )
    )


@dataclass(frozen=True, eq=False, kw_only=True)
class Valid:
    """Which of N rows are real; the others stand for something that was absent.

    Attributes:
        images: (N,) bool, whether every camera has its image.
        state: (N,) bool, whether every state vector is known.
        action: (N,) bool, whether the action was given.
    """

    images: Flags
    state: Flags
    action: Flags

    @classmethod
    def of_store(cls, store: Store, cameras: Iterable[str]) -> Valid:
        """The masks of a store; a step of an episode without actions has none, whatever it says."""
        rows = store.steps

        def every(keys: Iterable[str]) -> Flags:
            all_of: Flags = np.ones(rows, bool)
            for key in keys:
                all_of = all_of & store.mask(key)
            return all_of

        acting = [record.has_action for record in store.episodes]
        lengths = np.diff(store.episode_ends, prepend=0)
        return cls(
            images=every(f"obs.{name}" for name in cameras),
            state=every(f"obs.{key}" for key in store.embodiment.state),
            action=every(["action"]) & np.repeat(np.array(acting, bool), lengths),
        )


@dataclass(frozen=True, kw_only=True)
class Steps:
    """A store as training reads it: arrays of N rows and the episodes in them.

    The arrays only need `len` and indexing with an integer array, so numpy arrays in memory and
    arrays that decode on reading serve alike.

    Attributes:
        images: Per camera (N, H, W, 3) uint8; views are taken in sorted order everywhere.
        state: (N, S) float32, the embodiment's state vectors one after the other.
        action: (N, D) float32, the embodiment's action columns.
        episodes: Where the episodes lie.
        valid: Which rows are real; None where all are.
    """

    images: Mapping[str, Any]
    state: npt.NDArray[np.float32]
    action: npt.NDArray[np.float32]
    episodes: tuple[EpisodeSpan, ...]
    valid: Valid | None = None

    def __post_init__(self) -> None:
        rows = len(self.action)
        for name, array in {"state": self.state, **self.images}.items():
            if len(array) != rows:
                raise StoreError(f"{name} has {len(array)} rows, action has {rows}")
        if self.episodes and self.episodes[-1].stop > rows:
            raise StoreError(f"an episode ends at row {self.episodes[-1].stop} of {rows}")

    @classmethod
    def of_store(
        cls, store: Store, *, cameras: Iterable[str] = (), memory_bytes: int = MEMORY_BYTES
    ) -> Steps:
        """The arrays of a store.

        Args:
            store: A finished store.
            cameras: Those that are read; empty takes all.
            memory_bytes: Images up to this size are read into memory at once; of larger stores
                rows are read as they are asked for.
        """
        names = sorted(cameras) or store.embodiment.camera_names
        images: dict[str, Any] = {name: store.array(f"obs.{name}") for name in names}
        size = sum(int(np.prod(array.shape)) for array in images.values())
        if size <= memory_bytes:
            images = {name: array[:] for name, array in images.items()}
        episodes = spans_from_ends(
            [int(end) for end in store.episode_ends],
            [record.role if record.has_action else "video" for record in store.episodes],
            [record.outcome for record in store.episodes],
            [record.task for record in store.episodes],
        )
        return cls(
            images=images,
            state=store.state(),
            action=store.array("action")[:],
            episodes=episodes,
            valid=Valid.of_store(store, names),
        )

    @property
    def validity(self) -> Valid:
        """Which rows are real, said for every row."""
        real = np.ones(len(self.action), bool)
        return self.valid or Valid(images=real, state=real, action=real)

    @property
    def fingerprint(self) -> str:
        """First digits of a hash over episodes, state and actions."""
        ends = [(span.stop, span.role, span.outcome) for span in self.episodes]
        numbers = self.action.tobytes() + self.state.tobytes()
        return hashlib.sha256(str(ends).encode() + numbers).hexdigest()[:16]

    @property
    def cameras(self) -> tuple[str, ...]:
        """Camera names in the order of the model's views."""
        return tuple(sorted(self.images))


@dataclass(frozen=True, kw_only=True)
class Windows:
    """Row numbers of M windows.

    Attributes:
        present: (M,) row of the present step.
        last: (M,) last row of the window's episode; later rows repeat it.
        role: (M,) number of the role in `ROLES`.
        episode: (M,) number of the episode.
        store: (M,) number of its store in a mixture.
        history: Steps observed (T).
        chunk: Actions (A).
    """

    present: Rows
    last: Rows
    role: Rows
    episode: Rows
    store: Rows
    history: int
    chunk: int

    def __len__(self) -> int:
        return len(self.present)

    def observation_rows(self, index: Rows) -> Rows:
        """Rows of the observation: (B, T), the present step last."""
        return self.present[index, None] + np.arange(-self.history + 1, 1)

    def action_rows(self, index: Rows) -> Rows:
        """Rows of the action chunk: (B, A), the present step first."""
        return self._within(index, np.arange(self.chunk))

    def next_rows(self, index: Rows) -> Rows:
        """Rows of the next observation: (B, T), right after the chunk."""
        return self._within(index, self.chunk + np.arange(self.history))

    def of_role(self, role: str) -> Rows:
        """Numbers of the windows that teach as ``role``."""
        return np.flatnonzero(self.role == ROLES.index(role))

    def _within(self, index: Rows, offset: npt.NDArray[np.int64]) -> Rows:
        rows: Rows = np.minimum(self.present[index, None] + offset, self.last[index, None])
        return rows


def cut_windows(
    episodes: Sequence[EpisodeSpan],
    *,
    history: int,
    chunk: int,
    keep: Iterable[int] | None = None,
    hold: bool = True,
    valid: Valid | None = None,
) -> Windows:
    """Cut every window of the kept episodes.

    Args:
        episodes: All episodes of the store.
        history: Steps observed (T).
        chunk: Actions per chunk (A).
        keep: Numbers of the episodes to cut; None takes all. Discarded ones are never cut.
        hold: Whether expert episodes are continued by their last row (see the module).
        valid: Which rows are real (see the module); None takes all for real.

    Raises:
        ValueError: ``history`` or ``chunk`` is below 1.
    """
    if history < 1 or chunk < 1:
        raise ValueError(f"history and chunk must be at least 1, got {history} and {chunk}")
    columns: list[Rows] = []
    for number in sorted(range(len(episodes)) if keep is None else keep):
        span = episodes[number]
        role = span.teaches
        if role is None:
            continue
        present = np.arange(span.start + history - 1, span.stop)
        facts = (span.stop - 1, ROLES.index(role), number, span.store)
        columns.append(np.stack([present, *(np.full_like(present, fact) for fact in facts)]))
    present, last, roles, number_of, store = np.concatenate(
        [np.empty((5, 0), np.int64), *columns], axis=1
    )
    whole = np.ones(len(present), bool)
    if valid is not None:
        beyond_chunk = np.minimum(present + chunk, last + 1)
        acted = _all_real(valid.action, present, beyond_chunk)
        roles = np.where(acted, roles, VIDEO)
        whole = _all_real(valid.images, present - history + 1, present + 1)
        whole &= _all_real(
            valid.images,
            np.minimum(present + chunk, last),
            np.minimum(present + chunk + history, last + 1),
        )
        whole &= _all_real(valid.state, present - history + 1, present + 1) | (roles == VIDEO)
    inside = present + chunk + history - 1 <= last
    taken = whole & (inside | (hold & (roles == EXPERT)))
    return Windows(
        present=present[taken],
        last=last[taken],
        role=roles[taken],
        episode=number_of[taken],
        store=store[taken],
        history=history,
        chunk=chunk,
    )


def _all_real(real: Flags, start: Rows, stop: Rows) -> Flags:
    """Whether all of rows start..stop-1 are real, per pair: (M,)."""
    absent_before = np.concatenate([[0], np.cumsum(~real)])
    none: Flags = absent_before[stop] == absent_before[start]
    return none
