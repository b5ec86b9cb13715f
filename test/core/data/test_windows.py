# SPDX-License-Identifier: Apache-2.0
"""Laws of windows: what one training sample may and may not read."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from uwm_core.data.windows import ROLES, EpisodeSpan, Steps, Valid, cut_windows, spans_from_ends
from uwm_core.errors import StoreError, UnknownNameError

LENGTHS = st.lists(st.integers(1, 40), min_size=1, max_size=6)
ROLE_NAMES = st.sampled_from(["expert", "play", "video"])


def spans(lengths: list[int], roles: list[str]) -> tuple[EpisodeSpan, ...]:
    count = len(lengths)
    return spans_from_ends(np.cumsum(lengths), roles, ["success"] * count, [""] * count)


def slow_windows(
    episodes: tuple[EpisodeSpan, ...], valid: Valid, history: int, chunk: int, hold: bool
) -> list[tuple[list[int], list[int], list[int], str]]:
    """Every window the way one would explain it: rows observed, acted, seen next, and the role."""
    found = []
    for span in episodes:
        rows = list(range(span.start, span.stop))
        for place in range(len(rows)):
            before = [place - k for k in reversed(range(history))]
            acted = [place + k for k in range(chunk)]
            after = [place + chunk + k for k in range(history)]
            if before[0] < 0 or span.outcome == "discard":
                continue
            role = span.role
            if role == "expert" and span.outcome == "failure":
                role = "play"

            def inside(places: list[int], rows: list[int] = rows) -> list[int]:
                return [rows[min(p, len(rows) - 1)] for p in places]

            if not all(valid.action[inside(acted)]):
                role = "video"
            past_the_end = after[-1] >= len(rows)
            if past_the_end and not (hold and role == "expert"):
                continue
            if not all(valid.images[inside(before + after)]):
                continue
            if role != "video" and not all(valid.state[inside(before)]):
                continue
            found.append((inside(before), inside(acted), inside(after), role))
    return found


@given(LENGTHS, st.data(), st.integers(1, 3), st.integers(1, 6), st.booleans())
def test_windows_are_those_of_the_plain_slow_rule(
    lengths: list[int], data: st.DataObject, history: int, chunk: int, hold: bool
) -> None:
    roles = [data.draw(ROLE_NAMES) for _ in lengths]
    outcomes = [data.draw(st.sampled_from(["success", "failure", "discard"])) for _ in lengths]
    episodes = spans_from_ends(np.cumsum(lengths), roles, outcomes, [""] * len(lengths))
    share = data.draw(st.sampled_from([0.0, 0.02, 0.2]))
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    images, state, action = (rng.random(sum(lengths)) >= share for _ in range(3))
    valid = Valid(images=images, state=state, action=action)
    windows = cut_windows(episodes, history=history, chunk=chunk, hold=hold, valid=valid)
    every = np.arange(len(windows))
    found = zip(
        windows.observation_rows(every).tolist(),
        windows.action_rows(every).tolist(),
        windows.next_rows(every).tolist(),
        [ROLES[number] for number in windows.role],
        strict=True,
    )
    assert list(found) == slow_windows(episodes, valid, history, chunk, hold)


@given(LENGTHS, st.data(), st.integers(1, 3), st.integers(1, 16))
def test_window_never_crosses_an_episode(
    lengths: list[int], data: st.DataObject, history: int, chunk: int
) -> None:
    roles = [data.draw(ROLE_NAMES) for _ in lengths]
    episodes = spans(lengths, roles)
    windows = cut_windows(episodes, history=history, chunk=chunk)
    every = np.arange(len(windows))
    for rows in (
        windows.observation_rows(every),
        windows.action_rows(every),
        windows.next_rows(every),
    ):
        starts = np.array([span.start for span in episodes])[windows.episode]
        stops = np.array([span.stop for span in episodes])[windows.episode]
        assert (rows >= starts[:, None]).all()
        assert (rows < stops[:, None]).all()


@given(LENGTHS, ROLE_NAMES, st.integers(1, 3), st.integers(1, 16))
def test_only_expert_episodes_are_continued(
    lengths: list[int], role: str, history: int, chunk: int
) -> None:
    windows = cut_windows(spans(lengths, [role] * len(lengths)), history=history, chunk=chunk)
    expected = [
        max(0, length - history + 1 - (0 if role == "expert" else chunk + history - 1))
        for length in lengths
    ]
    assert len(windows) == sum(expected)


def test_steps_of_the_contract_for_two_histories() -> None:
    episodes = spans([40], ["play"])
    one = cut_windows(episodes, history=1, chunk=12)
    first = np.array([0])
    assert one.observation_rows(first).tolist() == [[0]]
    assert one.action_rows(first).tolist() == [list(range(12))]
    assert one.next_rows(first).tolist() == [[12]]
    two = cut_windows(episodes, history=2, chunk=16)
    assert two.observation_rows(first).tolist() == [[0, 1]]
    assert two.action_rows(first).tolist() == [list(range(1, 17))]
    assert two.next_rows(first).tolist() == [[17, 18]]


def test_expert_holds_its_last_action_at_the_end() -> None:
    windows = cut_windows(spans([5], ["expert"]), history=1, chunk=4)
    last = np.array([len(windows) - 1])
    assert windows.action_rows(last).tolist() == [[4, 4, 4, 4]]
    assert windows.next_rows(last).tolist() == [[4]]


def test_failed_attempt_teaches_as_play_and_discarded_not_at_all() -> None:
    episodes = (
        EpisodeSpan(start=0, stop=30, outcome="failure"),
        EpisodeSpan(start=30, stop=60, outcome="discard"),
    )
    windows = cut_windows(episodes, history=1, chunk=4)
    assert set(windows.episode.tolist()) == {0}
    assert len(windows.of_role("play")) == len(windows)


def test_only_kept_episodes_are_cut() -> None:
    windows = cut_windows(spans([9, 9, 9], ["expert"] * 3), history=1, chunk=2, keep=[2, 0])
    assert set(windows.episode.tolist()) == {0, 2}


def test_unknown_role_and_uneven_arrays_are_refused() -> None:
    with pytest.raises(UnknownNameError, match="expert"):
        EpisodeSpan(start=0, stop=1, role="exprt")
    with pytest.raises(StoreError, match="front has 3 rows"):
        Steps(
            images={"front": np.zeros((3, 2, 2, 3), np.uint8)},
            state=np.zeros((4, 1), np.float32),
            action=np.zeros((4, 1), np.float32),
            episodes=(),
        )
