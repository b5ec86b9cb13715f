# SPDX-License-Identifier: Apache-2.0
"""A small convolutional autoencoder that trains in minutes on two cores.

All convolutions run on maps of a quarter of the image's side or less, where a CPU is fast. A batch
norm without parameters at the bottleneck keeps every latent channel at unit scale, and a little
noise on the latents in training makes the decoder forgive the errors of a sampler.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from uwm_core.config import CodecConfig
from uwm_core.latents.codec import Codec

_LATENT_NOISE = 0.1  # of a channel's standard deviation
_EDGE_WEIGHT = 1.0


class _Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.a = nn.Conv2d(width, width, 3, 1, 1)
        self.b = nn.Conv2d(width, width, 3, 1, 1)
        nn.init.zeros_(self.b.weight)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.b(F.silu(self.a(F.silu(x))))
        return out


class ConvCodec(Codec):
    """Encoder and decoder of a few convolutions.

    Args:
        config: Latent channels, factor (4, 8 or 16) and inner width.
    """

    trainable = True

    def __init__(self, config: CodecConfig) -> None:
        super().__init__()
        width, halvings = config.width, {4: 0, 8: 1, 16: 2}[config.factor]
        down: list[nn.Module] = [nn.PixelUnshuffle(4), nn.Conv2d(48, width, 3, 1, 1)]
        up: list[nn.Module] = []
        for _ in range(halvings):
            down += [_Residual(width), nn.SiLU(), nn.Conv2d(width, width, 4, 2, 1)]
            up += [_Residual(width), nn.Conv2d(width, 4 * width, 1), nn.PixelShuffle(2)]
        self.encoder = nn.Sequential(
            *down, _Residual(width), nn.SiLU(), nn.Conv2d(width, config.channels, 3, 1, 1)
        )
        self.scale = nn.BatchNorm2d(config.channels, affine=False, momentum=0.05)
        self.decoder = nn.Sequential(
            nn.Conv2d(config.channels, width, 3, 1, 1),
            *up,
            _Residual(width),
            nn.SiLU(),
            nn.Conv2d(width, 64, 3, 1, 1),
            nn.PixelShuffle(2),  # 16 channels at half the image's side
            nn.SiLU(),
            nn.Conv2d(16, 12, 3, 1, 1),
            nn.PixelShuffle(2),
        )

    def encode(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) in [0, 1] -> (N, C, h, w), every channel of unit scale."""
        latents: Tensor = self.scale(self.encoder(images * 2 - 1))
        return latents

    def decode(self, latents: Tensor) -> Tensor:
        """(N, C, h, w) -> (N, 3, H, W) in [0, 1]."""
        return self._rebuild(latents).clamp(0, 1)

    def loss(self, images: Tensor) -> Tensor:
        """L1 of the pixels and of their differences, at full and at half size: a scalar."""
        latents = self.encode(images)
        noise = torch.randn_like(latents) * _LATENT_NOISE if self.training else 0.0
        rebuilt = self._rebuild(latents + noise)
        pairs = [(rebuilt, images), (F.avg_pool2d(rebuilt, 2), F.avg_pool2d(images, 2))]
        return torch.stack([_difference(a, b) for a, b in pairs]).sum()

    def _rebuild(self, latents: Tensor) -> Tensor:
        image: Tensor = self.decoder(latents)
        return (image + 1) / 2


def _difference(a: Tensor, b: Tensor) -> Tensor:
    error = a - b
    edges = error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean()
    return error.abs().mean() + _EDGE_WEIGHT * edges
