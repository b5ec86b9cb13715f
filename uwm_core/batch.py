# SPDX-License-Identifier: Apache-2.0
"""What goes into a world model and comes out of it, as tensors. Shape letters: ``uwm_core``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TypedDict

import torch
from torch import Tensor

from uwm_core.diffusion.sampler import Known

EXPERT, PLAY, VIDEO = 0, 1, 2
ROLES: Mapping[str, int] = MappingProxyType({"expert": EXPERT, "play": PLAY, "video": VIDEO})
"""An episode's role to its number in ``Batch.role``."""


@dataclass
class Batch:
    """Training samples, all on one device.

    Attributes:
        images: Per view (B, T, H, W, 3) uint8.
        role: (B,) int64, see ``ROLES``.
        state: (B, T, S) float32 normalised, or None where the model has no state.
        action: (B, A, D) float32 normalised; rows of role video are not read. None if all are.
        next_images: Per view (B, T, H, W, 3) uint8; not needed where there is ``next_latent``.
        next_latent: (B, V, C, T, h, w) float32, what ``WorldModel.encode`` gives; wins over
            ``next_images``.
    """

    images: dict[str, Tensor]
    role: Tensor
    state: Tensor | None = None
    action: Tensor | None = None
    next_images: dict[str, Tensor] | None = None
    next_latent: Tensor | None = None


@dataclass(frozen=True)
class Losses:
    """Scalars of one batch.

    Attributes:
        total: Sum of the two; what is minimised.
        action: Mean squared error over the rows that teach actions.
        next_obs: Mean squared error over the rows that teach the next observation.
    """

    total: Tensor
    action: Tensor
    next_obs: Tensor


@dataclass(frozen=True)
class Sample:
    """An answer; a modality that was given comes back as it was.

    Attributes:
        action: (B, A, D) normalised, or None where it was marginalised.
        next_latent: (B, V, C, T, h, w), or None where it was marginalised.
    """

    action: Tensor | None
    next_latent: Tensor | None


class SampleOptions(TypedDict, total=False):
    """What a caller may fix about a sample.

    Attributes:
        steps: Network calls; the config's number by default.
        generator: Source of the first noise.
        action_noise: (B, A, D) first noise of the action, instead of a draw.
        next_noise: (B, V, C, T, h, w) first noise of the next observation, instead of a draw.
        known: What is known of the action beforehand, in a mode that solves it.
    """

    steps: int | None
    generator: torch.Generator | None
    action_noise: Tensor | None
    next_noise: Tensor | None
    known: Known | None
