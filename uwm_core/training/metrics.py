# SPDX-License-Identifier: Apache-2.0
"""Errors between what a model answered and what happened; every one is 0 for a perfect answer."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor


def latent_error(answer: Tensor, truth: Tensor) -> float:
    """Mean squared error of latents (B, V, C, T, h, w), whose channels have about unit scale."""
    return float((answer - truth).square().mean())


def pixel_error(answer: Mapping[str, Tensor], truth: Mapping[str, Tensor]) -> float:
    """Mean absolute error of a channel value, of 255; per view (B, T, H, W, 3) uint8."""
    errors = [
        (answer[view].to(torch.int16) - truth[view].to(torch.int16)).abs().float().mean()
        for view in truth
    ]
    return float(torch.stack(errors).mean())


def action_error(answer: Tensor, truth: Tensor) -> float:
    """Mean absolute error of normalised actions (B, A, D), of a range of 2."""
    return float((answer - truth).abs().mean())


def other_episode(
    episode: npt.NDArray[np.int64], rng: np.random.Generator
) -> npt.NDArray[np.int64]:
    """For each window, one of another episode: (B,) -> (B,); itself only where there is none.

    Args:
        episode: (B,) episode of each window.
        rng: Draws the partners.
    """
    everyone = np.arange(len(episode))
    partners = everyone.copy()
    for number in np.unique(episode):
        strangers = everyone[episode != number]
        mine = everyone[episode == number]
        if len(strangers):
            partners[mine] = rng.choice(strangers, len(mine))
    return partners
