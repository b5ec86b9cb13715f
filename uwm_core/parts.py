# SPDX-License-Identifier: Apache-2.0
"""A batch in parts, one per process or micro-batch: each takes its rows of what the whole draws.

Losses and gradients of the parts sum to those of the whole, because randomness is drawn for the
whole and a mean is taken over the whole's rows. Who makes the parts is the training's business.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from uwm_core.config import ModelConfig
from uwm_core.model.images import Augmentation, draw_augmentation


@dataclass(frozen=True)
class Part:
    """Which samples of a larger batch a batch holds.

    Attributes:
        rows: (B,) int64, their places in the whole.
        role: (B of the whole,) int64, roles of all its samples.
    """

    rows: Tensor
    role: Tensor

    @classmethod
    def whole(cls, role: Tensor) -> Part:
        """All samples of a batch, given their roles (B,)."""
        return cls(rows=torch.arange(len(role), device=role.device), role=role)

    def augmentation(self, config: ModelConfig, generator: torch.Generator | None) -> Augmentation:
        """Crops, shifts and colours of these rows, on the CPU: they are indices there."""
        if generator is not None and generator.device.type != "cpu":
            generator = torch.Generator().manual_seed(generator.initial_seed())
        drawn = draw_augmentation(config.images, len(self.role), len(config.views), generator)
        rows = self.rows.cpu()
        return Augmentation(drawn.corner[rows], drawn.shift[rows], drawn.colour[rows])

    def rows_of_draws(self, draws: int) -> Tensor:
        """Places of these rows in the whole repeated ``draws`` times: (draws B,)."""
        first = torch.arange(draws, device=self.rows.device) * len(self.role)
        return (first[:, None] + self.rows).flatten()


def shares(rows: Tensor) -> Tensor:
    """Weights that make a sum the mean over the rows that count: (B,) bool -> (B,) float32.

    All are 0 where no row counts.
    """
    return rows.float() / rows.sum().clamp(min=1)


def noise_like(x: Tensor, count: int, generator: torch.Generator | None) -> Tensor:
    """Standard normal numbers for ``count`` rows like those of ``x``: (B, ...) -> (count, ...)."""
    return torch.randn((count, *x.shape[1:]), generator=generator, device=x.device)
