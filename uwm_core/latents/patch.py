# SPDX-License-Identifier: Apache-2.0
"""The codec without weights: average-pooled pixels. For tests, and to see what a codec is worth."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from uwm_core.config import CodecConfig
from uwm_core.latents.codec import Codec


class PatchCodec(Codec):
    """Mean colour of every cell, in [-1, 1].

    Args:
        config: ``factor`` is the side of a cell, px.
    """

    def __init__(self, config: CodecConfig) -> None:
        super().__init__()
        self.factor = config.factor

    def encode(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) in [0, 1] -> (N, 3, h, w)."""
        return F.avg_pool2d(images, self.factor) * 2 - 1

    def decode(self, latents: Tensor) -> Tensor:
        """(N, 3, h, w) -> (N, 3, H, W) in [0, 1]."""
        size = [n * self.factor for n in latents.shape[-2:]]
        image = F.interpolate(latents, size, mode="bilinear", align_corners=False)
        return ((image + 1) / 2).clamp(0, 1)
