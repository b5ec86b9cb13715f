# SPDX-License-Identifier: Apache-2.0
"""What a codec is: images in [0, 1] to latents of about unit scale, and back.

A codec is frozen while a world model trains. It works on single images; time and views are axes of
the caller.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from uwm_core.config import CodecConfig
from uwm_core.errors import UwmError


class Codec(nn.Module, ABC):
    """Images to latents and back.

    Attributes:
        trainable: Whether ``loss`` can train it here.
    """

    trainable = False

    @abstractmethod
    def encode(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) in [0, 1] -> (N, C, h, w) of about unit scale."""

    @abstractmethod
    def decode(self, latents: Tensor) -> Tensor:
        """(N, C, h, w) -> (N, 3, H, W) in [0, 1]."""

    def make_ready(self, device: torch.device) -> None:  # most have nothing to do
        """Read what is named in a checkpoint and not stored in it, once.

        Raises:
            UwmError: A package is missing.
            CheckpointError: There is no such thing, or it does not fit.
        """

    def loss(self, images: Tensor) -> Tensor:
        """Reconstruction loss of (N, 3, H, W) in [0, 1], a scalar; for trainable codecs.

        Raises:
            UwmError: This codec is not trained here.
        """
        raise UwmError(f"a {type(self).__name__} is not trained here; kind: conv is")


def make_codec(config: CodecConfig) -> Codec:
    """The codec that a config names. Downloads and reads nothing."""
    if config.kind == "conv":
        from uwm_core.latents.conv import ConvCodec

        return ConvCodec(config)
    if config.kind == "patch":
        from uwm_core.latents.patch import PatchCodec

        return PatchCodec(config)
    from uwm_core.latents.vae import VaeCodec

    return VaeCodec(config)
