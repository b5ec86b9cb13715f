# SPDX-License-Identifier: Apache-2.0
"""Laws of the split: by whole episodes, stratified, drawn again from its seed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from uwm_core.data.split import split_episodes
from uwm_core.data.windows import EpisodeSpan

ROLES = st.lists(st.sampled_from(["expert", "play", "video"]), min_size=1, max_size=40)


def episodes_of(roles: list[str]) -> list[EpisodeSpan]:
    return [EpisodeSpan(start=i, stop=i + 1, role=role) for i, role in enumerate(roles)]


@given(ROLES, st.floats(0.0, 0.9), st.integers(0, 99))
def test_every_episode_is_in_exactly_one_part(roles: list[str], share: float, seed: int) -> None:
    split = split_episodes(episodes_of(roles), validation=share, seed=seed)
    assert sorted(split.train + split.validation) == list(range(len(roles)))


@given(ROLES, st.floats(0.01, 0.9), st.integers(0, 99))
def test_each_role_trains_and_validates_if_it_can(
    roles: list[str], share: float, seed: int
) -> None:
    split = split_episodes(episodes_of(roles), validation=share, seed=seed)
    for role in set(roles):
        held = sum(roles[i] == role for i in split.validation)
        assert held < roles.count(role)
        assert held >= 1 or roles.count(role) == 1


def test_split_follows_its_seed() -> None:
    episodes = episodes_of(["expert"] * 30)
    first = split_episodes(episodes, validation=0.2, seed=1)
    assert first == split_episodes(episodes, validation=0.2, seed=1)
    assert first != split_episodes(episodes, validation=0.2, seed=2)
    assert len(first.validation) == 6


def test_share_must_leave_something_to_train() -> None:
    with pytest.raises(ValueError, match=r"\[0, 1\)"):
        split_episodes(episodes_of(["expert"]), validation=1.0, seed=0)
