# SPDX-License-Identifier: Apache-2.0
"""Which windows make batch number n: a pure function of the sampling and n, nothing remembered.

So a run resumes from one number, whoever reads the batches and however many they are.

Every store gives its share of the draws, every role its share of its store's; what a share has had
after any number of batches is exact to a few windows, because the rounding is that of the sum, not
of each batch. Within a share windows come in shuffled order, each once before any comes twice
(``balance="windows"``), or each episode in turn gives one of its windows (``"episodes"``: a long
attempt counts no more than a short one).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal

import numpy as np
import numpy.typing as npt

from uwm_core.data.windows import ROLES, Rows, Windows
from uwm_core.errors import StoreError, UnknownNameError

Balance = Literal["windows", "episodes"]


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How batches are drawn.

    Attributes:
        batch: Windows per batch (B), of all ranks together.
        shares: Wanted share of a store's draws per role; roles not named get none. Empty takes
            every role as often as it is there.
        stores: Wanted share of all draws per store, in [0, 1]; None divides what the others leave
            by what is there. Empty is None for all.
        balance: Whether every window or every episode counts the same.
        seed: Draws the same batches again.
        rank: Which part of every batch this process gets, from 0.
        world: Processes that share a batch.
        pieces: Pieces in which a process reads its part, one after another.

    Raises:
        UnknownNameError: A share names no role.
        ValueError: A share is impossible, or the batch cannot be divided.
    """

    batch: int
    shares: Mapping[str, float] = field(default_factory=dict)
    stores: tuple[float | None, ...] = ()
    balance: Balance = "windows"
    seed: int = 0
    rank: int = 0
    world: int = 1
    pieces: int = 1

    def __post_init__(self) -> None:
        for name, share in self.shares.items():
            if name not in ROLES:
                raise UnknownNameError("episode role", name, ROLES)
            if not 0 <= share < math.inf:
                raise ValueError(f"the share of {name} must be 0 or more, got {share:g}")
        if self.world < 1 or not 0 <= self.rank < self.world:
            raise ValueError(f"rank must be in [0, world), got {self.rank} of {self.world}")
        if self.pieces < 1:
            raise ValueError(f"pieces must be at least 1, got {self.pieces}")
        if self.batch < 1 or self.batch % (self.world * self.pieces):
            each = f" with {self.pieces} pieces each" if self.pieces > 1 else ""
            raise ValueError(
                f"batch must be a multiple of the {self.world} processes{each}, got {self.batch}"
            )
        given = [share for share in self.stores if share is not None]
        if any(not 0 < share <= 1 for share in given) or sum(given) > 1 + 1e-9:
            raise ValueError(
                f"shares of stores must be in (0, 1] and sum to 1 at most, got {given}"
            )


class BatchPlan:
    """The order in which windows are drawn.

    Args:
        windows: What there is.
        sampling: How it is drawn.

    Raises:
        StoreError: There is no window to train on, or a store would never be drawn from.
    """

    def __init__(self, windows: Windows, sampling: Sampling) -> None:
        self.sampling = sampling
        found = int(windows.store.max(initial=0)) + 1
        self._groups = [
            group
            for store in range(max(found, len(sampling.stores)))
            for group in _groups_of_store(windows, store, sampling)
        ]
        weights = _weights(self._groups, sampling)
        # Shares of what is still left, store by store and role by role: see `_given_out`.
        self._ratios = [weight / math.fsum(weights[n:]) for n, weight in enumerate(weights)]

    def windows_of(self, number: int) -> Rows:
        """Window numbers of this rank's piece ``number`` (from 0): (B / world / pieces,).

        Pieces are counted through all batches; with one piece per batch their numbers are the
        batches'.
        """
        batch, piece = divmod(number, self.sampling.pieces)
        return self.batch(batch)[self.places(piece)]

    def batch(self, number: int) -> Rows:
        """Window numbers of batch ``number`` (from 0), all ranks' parts: (B,)."""
        size = self.sampling.batch
        before = _given_out(number * size, self._ratios)
        after = _given_out((number + 1) * size, self._ratios)
        drawn = [
            group.take(first, stop)
            for group, first, stop in zip(self._groups, before, after, strict=True)
        ]
        return np.concatenate(drawn)

    def places(self, piece: int = 0) -> slice:
        """Where in a batch this rank's piece ``piece`` lies."""
        asked = self.sampling
        return slice(piece * asked.world + asked.rank, None, asked.world * asked.pieces)


def _given_out(total: int, ratios: Sequence[float]) -> list[int]:
    """How many of the first ``total`` draws each share has had.

    Whole numbers that sum to ``total``, never fall as it grows, and are exact to half a draw per
    share: each share takes its ratio of what those before it have left.
    """
    counts = []
    for ratio in ratios:
        counts.append(math.floor(total * ratio + 0.5))
        total -= counts[-1]
    return counts


def _groups_of_store(windows: Windows, store: int, sampling: Sampling) -> list[_Group]:
    """The store's windows by role, those that are drawn from; in the order of `ROLES`."""
    wanted = [role for role in ROLES if not sampling.shares or sampling.shares.get(role, 0) > 0]
    of_store = windows.store == store
    groups = [
        _Group(
            store,
            role,
            np.flatnonzero(of_store & (windows.role == ROLES.index(role))),
            windows,
            sampling,
        )
        for role in wanted
    ]
    groups = [group for group in groups if group.size]
    if not groups:
        which = f"store {store + 1} of the mixture has" if len(sampling.stores) > 1 else "there is"
        raise StoreError(
            f"{which} no window to train on of role {' or '.join(wanted)}: its episodes are too "
            "short, left out, or of other roles (see shares)"
        )
    return groups


def _weights(groups: Sequence[_Group], sampling: Sampling) -> list[float]:
    """Share of all draws per group; they sum to 1 or are all that is given."""
    there: dict[int, int] = {}
    for group in groups:
        there[group.store] = there.get(group.store, 0) + group.size
    given = {n: share for n, share in enumerate(sampling.stores) if share is not None}
    rest = sum(size for store, size in there.items() if store not in given)
    left = 1 - math.fsum(given.values())
    if rest and left < 1e-9:
        raise StoreError("the given shares of stores leave nothing for the stores without a share")
    of_store = {
        store: given[store] if store in given else left * size / rest
        for store, size in there.items()
    }
    named = {
        store: math.fsum(sampling.shares[g.role] for g in groups if g.store == store)
        for store in (there if sampling.shares else ())
    }
    return [
        of_store[g.store]
        * (sampling.shares[g.role] / named[g.store] if named else g.size / there[g.store])
        for g in groups
    ]


class _Group:
    """Windows of one role of one store, in an endless shuffled order.

    Args:
        store: Number of the store.
        role: Their role.
        numbers: (n,) window numbers, episode by episode.
        windows: All windows.
        sampling: Balance and seed.
    """

    def __init__(
        self, store: int, role: str, numbers: Rows, windows: Windows, sampling: Sampling
    ) -> None:
        self.store, self.role = store, role
        self._numbers, self._seed = numbers, sampling.seed
        self._key = ROLES.index(role) + len(ROLES) * store
        self._by_episode = sampling.balance == "episodes"
        _, self._first, self._length = np.unique(
            windows.episode[numbers], return_index=True, return_counts=True
        )

    @property
    def size(self) -> int:
        """Windows, or episodes, that count the same."""
        return len(self._first) if self._by_episode else len(self._numbers)

    def take(self, first: int, stop: int) -> Rows:
        """Windows at places first..stop-1 of the order."""
        passes, turn = np.divmod(np.arange(first, stop), self.size)
        chosen = np.empty(len(turn), np.int64)
        for number in np.unique(passes):
            now = passes == number
            chosen[now] = self._order(self.size, int(number))[turn[now]]
        if self._by_episode:
            for n, (episode, visit) in enumerate(zip(chosen, passes, strict=True)):
                length = int(self._length[episode])
                again, place = divmod(int(visit), length)
                order = self._order(length, again, int(episode) + 1)
                chosen[n] = self._first[episode] + order[place]
        return self._numbers[chosen]

    def _order(self, length: int, number: int, *more: int) -> npt.NDArray[np.int64]:
        return _permutation((self._seed, self._key, number, *more), length)


@lru_cache(maxsize=64)
def _permutation(seed: tuple[int, ...], length: int) -> npt.NDArray[np.int64]:
    return np.random.default_rng(seed).permutation(length)
