# SPDX-License-Identifier: Apache-2.0
"""Numbers to tokens and back: timesteps, actions, latent patches."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class TimeEmbedding(nn.Module):
    """The two timesteps as one vector: sinusoids of both, then an MLP.

    Args:
        width: Size of each sinusoidal embedding and of the result.
        scale: Factor on a time before the sinusoids, unitless.
    """

    def __init__(self, width: int, scale: float) -> None:
        super().__init__()
        self.width, self.scale = width, scale
        self.mlp = nn.Sequential(
            nn.Linear(2 * width, 4 * width), nn.Mish(), nn.Linear(4 * width, width)
        )

    def forward(self, action_time: Tensor, next_time: Tensor) -> Tensor:
        """Embed a time per modality and row: (B,), (B,) -> (B, time width)."""
        both = torch.stack([action_time, next_time], dim=1) * self.scale  # (B, 2)
        half = self.width // 2
        steps = torch.arange(half, device=both.device, dtype=torch.float32)
        rates = torch.exp(-math.log(10000) / (half - 1) * steps)
        angles = both[..., None] * rates  # (B, 2, width/2)
        waves = torch.cat([angles.sin(), angles.cos()], dim=-1)  # (B, 2, width)
        # Angles reach 1000: bfloat16 would not tell one time from the next.
        dtype = next(self.mlp.parameters()).dtype
        embedded: Tensor = self.mlp(waves.flatten(1).to(dtype))
        return embedded  # (B, time width)


def mlp(size_in: int, hidden: int, size_out: int) -> nn.Sequential:
    """The two-layer MLP that turns actions into tokens and back."""
    return nn.Sequential(nn.Linear(size_in, hidden), nn.Mish(), nn.Linear(hidden, size_out))


class Patches(nn.Module):
    """Cuts the latents of all views into patches, and joins them again.

    Tokens are ordered (view, time, row, column). The convolution of the published model has a
    stride equal to its kernel, so it is a linear map of each patch and computed as one.

    Args:
        latent: (C, T, h, w) of one view.
        patch: Cells per patch along (time, row, column).
        width: Width of a token.
    """

    def __init__(
        self, latent: tuple[int, int, int, int], patch: tuple[int, int, int], width: int
    ) -> None:
        super().__init__()
        self.latent, self.patch = latent, patch
        channels = latent[0]
        self.encoder = nn.Conv3d(channels, width, kernel_size=patch, stride=patch)
        self.decoder = nn.Linear(width, channels * math.prod(patch))

    def encode(self, latents: Tensor) -> Tensor:
        """(B, V, C, T, h, w) -> (B, patches, E)."""
        batch, views = latents.shape[:2]
        channels = self.latent[0]
        (t, p), (h, q), (w, r) = self._grid()
        x = latents.reshape(batch, views, channels, t, p, h, q, w, r)
        x = x.permute(0, 1, 3, 5, 7, 2, 4, 6, 8).reshape(batch, views * t * h * w, -1)
        return F.linear(x, self.encoder.weight.flatten(1), self.encoder.bias)

    def decode(self, tokens: Tensor) -> Tensor:
        """(B, patches, E) -> (B, V, C, T, h, w)."""
        batch = tokens.shape[0]
        channels, *cells = self.latent
        (t, p), (h, q), (w, r) = self._grid()
        x: Tensor = self.decoder(tokens).reshape(batch, -1, t, h, w, channels, p, q, r)
        return x.permute(0, 1, 5, 2, 6, 3, 7, 4, 8).reshape(batch, -1, channels, *cells)

    def _grid(self) -> list[tuple[int, int]]:
        return [(n // p, p) for n, p in zip(self.latent[1:], self.patch, strict=True)]
