# SPDX-License-Identifier: Apache-2.0
"""Laws of batches: their order is a function of the seed, and rows arrive unmixed."""

from __future__ import annotations

import numpy as np
import pytest

from uwm_core.data.dataset import BatchPlan, WindowReader
from uwm_core.data.normalize import Affine, Normalizer
from uwm_core.data.windows import EpisodeSpan, Steps, Windows, cut_windows
from uwm_core.errors import StoreError, UnknownNameError

N = 60


@pytest.fixture
def steps() -> Steps:
    """Every row carries its own number, in every stream."""
    number = np.arange(N)
    image = np.broadcast_to(number[:, None, None, None], (N, 2, 2, 3)).astype(np.uint8)
    return Steps(
        images={"wrist": image + 100, "front": image},
        state=number[:, None].astype(np.float32),
        action=np.stack([number, number], axis=1).astype(np.float32),
        episodes=(
            EpisodeSpan(start=0, stop=20),
            EpisodeSpan(start=20, stop=40, role="play"),
            EpisodeSpan(start=40, stop=60),
        ),
    )


@pytest.fixture
def windows(steps: Steps) -> Windows:
    return cut_windows(steps.episodes, history=2, chunk=4)


def test_one_epoch_shows_every_window_once(windows: Windows) -> None:
    plan = BatchPlan(windows, batch=7, shares={"expert": 1.0}, seed=3)
    experts = windows.of_role("expert")
    seen = np.concatenate([plan.windows_of(n) for n in range(len(experts))])
    for epoch in range(7):
        part = seen[epoch * len(experts) : (epoch + 1) * len(experts)]
        assert sorted(part) == sorted(experts)


def test_batches_depend_on_seed_and_number_alone(windows: Windows) -> None:
    one = BatchPlan(windows, batch=8, shares={}, seed=3)
    other = BatchPlan(windows, batch=8, shares={}, seed=3)
    [one.windows_of(n) for n in range(9)]
    np.testing.assert_array_equal(one.windows_of(11), other.windows_of(11))
    different = BatchPlan(windows, batch=8, shares={}, seed=4)
    assert (different.windows_of(11) != other.windows_of(11)).any()


def test_shares_are_kept_in_every_batch(windows: Windows) -> None:
    plan = BatchPlan(windows, batch=10, shares={"expert": 3, "play": 1}, seed=0)
    assert sum(plan.counts.values()) == 10
    for number in range(20):
        roles = windows.role[plan.windows_of(number)]
        assert (roles == 1).sum() == plan.counts["play"]
    assert plan.counts["play"] in (2, 3)


def test_wrong_shares_are_refused(windows: Windows) -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'expert'"):
        BatchPlan(windows, batch=8, shares={"exper": 1}, seed=0)
    with pytest.raises(StoreError, match="no window"):
        BatchPlan(windows, batch=8, shares={"video": 1}, seed=0)


def test_rows_of_one_sample_belong_together(steps: Steps, windows: Windows) -> None:
    unit = Affine(("x", "y"), np.full(2, -1.0), np.full(2, 1.0))
    reader = WindowReader(steps, windows, Normalizer(unit, Affine(("s",), -np.ones(1), np.ones(1))))
    index = np.array([5, 17, 0])
    batch = reader.read(index, next_images=True)
    before, after = windows.observation_rows(index), windows.next_rows(index)
    assert list(batch.images) == ["front", "wrist"]
    assert batch.images["front"].shape == (3, 2, 2, 2, 3)
    np.testing.assert_array_equal(batch.images["front"][..., 0, 0, 0].numpy(), before)
    np.testing.assert_array_equal(batch.images["wrist"][..., 1, 1, 2].numpy(), before + 100)
    assert batch.next_images is not None
    assert batch.state is not None
    np.testing.assert_array_equal(batch.next_images["front"][..., 0, 0, 0].numpy(), after)
    np.testing.assert_array_equal(batch.state[..., 0].numpy(), before)
    np.testing.assert_array_equal(batch.action[..., 1].numpy(), windows.action_rows(index))
    np.testing.assert_array_equal(batch.role.numpy(), windows.role[index])


def test_no_next_image_is_read_unasked(steps: Steps, windows: Windows) -> None:
    class Counting:
        """An array that counts the rows that are read."""

        shape = (N, 2, 2, 3)
        rows = 0

        def __len__(self) -> int:
            return N

        def __getitem__(self, index: np.ndarray) -> np.ndarray:
            self.rows += len(index)
            return np.zeros((len(index), 2, 2, 3), np.uint8)

    counting = Counting()
    lean = Steps(
        images={"front": counting}, state=steps.state, action=steps.action, episodes=steps.episodes
    )
    unit = Affine(("x", "y"), np.full(2, -1.0), np.full(2, 1.0))
    reader = WindowReader(lean, windows, Normalizer(unit))
    assert reader.read(np.array([1, 2, 3]), next_images=False).next_images is None
    assert counting.rows == 3 * 2
