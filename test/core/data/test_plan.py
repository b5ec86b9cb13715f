# SPDX-License-Identifier: Apache-2.0
"""Laws of the order of batches: a function of seed and number, exact in its shares, divisible."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from uwm_core.data.plan import BatchPlan, Sampling
from uwm_core.data.windows import ROLES, EpisodeSpan, Windows, cut_windows
from uwm_core.errors import StoreError, UnknownNameError

# (store, role, length) per episode.
EPISODES = st.lists(
    st.tuples(st.integers(0, 2), st.sampled_from(ROLES), st.integers(8, 30)),
    min_size=1,
    max_size=8,
).map(lambda found: sorted(found, key=lambda entry: entry[0]))


def windows_of(episodes: list[tuple[int, str, int]]) -> Windows:
    """Windows of episodes one after the other; stores are renumbered without gaps."""
    numbers = sorted({store for store, _, _ in episodes})
    spans, start = [], 0
    for store, role, length in episodes:
        place = numbers.index(store)
        spans.append(EpisodeSpan(start=start, stop=start + length, role=role, store=place))
        start += length
    return cut_windows(spans, history=2, chunk=4)


ONE = [(0, "expert", 20), (0, "play", 20), (0, "expert", 20)]
TWO = [(0, "expert", 30), (0, "play", 30), (1, "video", 50), (1, "video", 20)]


def test_one_epoch_shows_every_window_once() -> None:
    windows = windows_of(ONE)
    plan = BatchPlan(windows, Sampling(batch=7, shares={"expert": 1.0}, seed=3))
    experts = windows.of_role("expert")
    seen = np.concatenate([plan.windows_of(n) for n in range(len(experts))])
    for epoch in range(7):
        part = seen[epoch * len(experts) : (epoch + 1) * len(experts)]
        assert sorted(part) == sorted(experts)


@given(EPISODES, st.integers(1, 9), st.integers(0, 50), st.sampled_from(["windows", "episodes"]))
def test_batches_depend_on_seed_and_number_alone(
    episodes: list[tuple[int, str, int]], batch: int, number: int, balance: str
) -> None:
    windows = windows_of(episodes)
    sampling = Sampling(batch=batch, seed=3, balance=balance)  # type: ignore[arg-type]
    walked = BatchPlan(windows, sampling)
    for before in range(number):
        walked.windows_of(before)
    fresh = BatchPlan(windows, sampling)
    np.testing.assert_array_equal(walked.windows_of(number), fresh.windows_of(number))


def test_another_seed_is_another_order() -> None:
    windows = windows_of(ONE)
    first, second = (BatchPlan(windows, Sampling(batch=8, seed=s)).windows_of(0) for s in (3, 4))
    assert (first != second).any()


@given(EPISODES, st.integers(1, 9), st.integers(1, 4), st.integers(0, 20))
def test_ranks_divide_a_batch_without_rest(
    episodes: list[tuple[int, str, int]], each: int, world: int, number: int
) -> None:
    windows = windows_of(episodes)
    size = each * world
    whole = BatchPlan(windows, Sampling(batch=size)).windows_of(number)
    parts = [
        BatchPlan(windows, Sampling(batch=size, rank=rank, world=world)).windows_of(number)
        for rank in range(world)
    ]
    assert all(len(part) == each for part in parts)
    assert sorted(np.concatenate(parts)) == sorted(whole)


@given(
    EPISODES,
    st.integers(1, 9),
    st.integers(1, 60),
    st.dictionaries(st.sampled_from(ROLES), st.integers(1, 5)),
)
def test_shares_are_exact_to_a_few_windows_after_any_number_of_batches(
    episodes: list[tuple[int, str, int]], batch: int, count: int, shares: dict[str, int]
) -> None:
    windows = windows_of(episodes)
    try:
        plan = BatchPlan(windows, Sampling(batch=batch, shares=shares))
    except StoreError:
        drawable = [
            np.isin(windows.role[windows.store == s], wanted(shares)).any()
            for s in range(3)
            if (windows.store == s).any()
        ]
        assert not all(drawable) or len(windows) == 0
        return
    drawn = np.concatenate([plan.windows_of(n) for n in range(count)])
    groups = expected_shares(windows, shares)
    assert len(drawn) == batch * count
    for (store, role), share in groups.items():
        got = int(((windows.store[drawn] == store) & (windows.role[drawn] == role)).sum())
        assert abs(got - share * batch * count) <= Fraction(len(groups), 2)


def wanted(shares: dict[str, int]) -> list[int]:
    return [n for n, role in enumerate(ROLES) if not shares or role in shares]


def expected_shares(windows: Windows, shares: dict[str, int]) -> dict[tuple[int, int], Fraction]:
    """Stores by their drawable windows, roles in them by their shares or by their windows."""
    there = {
        (int(store), role): int(((windows.store == store) & (windows.role == role)).sum())
        for store in np.unique(windows.store)
        for role in wanted(shares)
    }
    there = {key: count for key, count in there.items() if count}
    total = sum(there.values())
    found = {}
    for store, role in there:
        of_store = {r: n for (s, r), n in there.items() if s == store}
        weight = {r: shares[ROLES[r]] if shares else n for r, n in of_store.items()}
        of_all = Fraction(sum(of_store.values()), total)
        found[store, role] = of_all * Fraction(weight[role], sum(weight.values()))
    return found


def test_a_given_share_of_a_store_is_kept_whatever_it_holds() -> None:
    windows = windows_of(TWO)
    plan = BatchPlan(windows, Sampling(batch=10, stores=(None, 0.25)))
    drawn = np.concatenate([plan.windows_of(n) for n in range(40)])
    assert int((windows.store[drawn] == 1).sum()) == 100


def test_a_store_that_joins_leaves_the_order_of_the_others() -> None:
    alone, joined = windows_of(TWO[:2]), windows_of(TWO)
    first = BatchPlan(alone, Sampling(batch=8, seed=5))
    both = BatchPlan(joined, Sampling(batch=16, seed=5, stores=(0.5, 0.5)))
    for number in range(9):
        drawn = both.windows_of(number)
        np.testing.assert_array_equal(drawn[joined.store[drawn] == 0], first.windows_of(number))


@given(st.lists(st.integers(8, 40), min_size=1, max_size=7), st.integers(1, 9), st.integers(0, 9))
def test_balanced_episodes_take_turns_and_show_all_their_windows(
    lengths: list[int], batch: int, seed: int
) -> None:
    windows = windows_of([(0, "expert", length) for length in lengths])
    plan = BatchPlan(windows, Sampling(batch=batch, balance="episodes", seed=seed))
    count = len(lengths)
    longest = np.bincount(windows.episode).max()
    batches = -(-int(longest) * count // batch)
    drawn = np.concatenate([plan.windows_of(n) for n in range(batches)])
    for start in range(0, len(drawn) - count + 1, count):
        assert sorted(windows.episode[drawn[start : start + count]]) == list(range(count))
    for episode in range(count):
        own = drawn[windows.episode[drawn] == episode]
        size = int((windows.episode == episode).sum())
        whole = own[: len(own) // size * size].reshape(-1, size)
        assert (np.sort(whole) == np.flatnonzero(windows.episode == episode)).all()
    assert set(drawn) == set(range(len(windows)))


def test_impossible_samplings_are_refused_by_name() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'expert'"):
        Sampling(batch=8, shares={"exper": 1})
    with pytest.raises(ValueError, match="multiple of the 3 processes, got 8"):
        Sampling(batch=8, world=3)
    with pytest.raises(ValueError, match="rank must be"):
        Sampling(batch=8, world=2, rank=2)
    with pytest.raises(ValueError, match="sum to 1 at most"):
        Sampling(batch=8, stores=(0.7, 0.6))
    windows = windows_of(TWO)
    with pytest.raises(StoreError, match="store 2 of the mixture has no window"):
        BatchPlan(windows, Sampling(batch=8, shares={"expert": 1}, stores=(None, 0.3)))
    with pytest.raises(StoreError, match="leave nothing"):
        BatchPlan(windows, Sampling(batch=8, stores=(1.0, None)))
    with pytest.raises(StoreError, match="no window to train on"):
        BatchPlan(windows_of([(0, "play", 3)]), Sampling(batch=8))
