# SPDX-License-Identifier: Apache-2.0
"""Laws of metrics: 0 for a perfect answer, known values for known errors."""

from __future__ import annotations

import numpy as np
import torch

from uwm_core.training.metrics import action_error, latent_error, other_episode, pixel_error


def test_a_perfect_answer_has_no_error() -> None:
    latent, action = torch.randn(3, 2, 4, 1, 5, 5), torch.randn(3, 12, 8)
    images = {"front": torch.randint(0, 256, (3, 1, 6, 6, 3), dtype=torch.uint8)}
    assert latent_error(latent, latent) == 0
    assert action_error(action, action) == 0
    assert pixel_error(images, images) == 0


def test_errors_of_known_size() -> None:
    zero, dark = torch.zeros(2, 3, 4), torch.zeros(2, 1, 5, 5, 3, dtype=torch.uint8)
    assert latent_error(zero + 0.5, zero) == 0.25
    assert action_error(zero - 0.5, zero) == 0.5
    # No wrap-around of uint8: 0 against 255 is 255, whichever way round.
    assert pixel_error({"a": dark + 255, "b": dark}, {"a": dark, "b": dark}) == 127.5
    assert pixel_error({"a": dark}, {"a": dark + 255}) == 255


def test_partners_are_of_another_episode() -> None:
    episode = np.array([0, 0, 0, 4, 4, 7])
    partners = other_episode(episode, np.random.default_rng(0))
    assert (episode[partners] != episode).all()


def test_a_lone_episode_has_only_itself() -> None:
    np.testing.assert_array_equal(other_episode(np.array([2, 2]), np.random.default_rng(0)), [0, 1])
