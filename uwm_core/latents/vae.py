# SPDX-License-Identifier: Apache-2.0
"""diffusers' AutoencoderKL, named and not stored: SDXL's VAE for the published set-up.

The weights are read by an explicit ``load`` call, from a local folder where there is no network.
They are no part of the world model's state dict: a checkpoint names them.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from uwm_core.config import CodecConfig
from uwm_core.errors import CheckpointError, UwmError, first_line
from uwm_core.latents.codec import Codec


class VaeCodec(Codec):
    """A frozen AutoencoderKL; latents are its means, scaled.

    Args:
        config: Source, revision and scaling.
    """

    def __init__(self, config: CodecConfig) -> None:
        super().__init__()
        self.config = config
        # In a list, so that it is no submodule and stays out of the state dict.
        self._held: list[torch.nn.Module] = []

    def load(self, source: str | Path | None = None) -> VaeCodec:
        """Read the weights.

        Args:
            source: Local folder or hub id instead of the config's; a folder needs no network.

        Returns:
            This codec.

        Raises:
            UwmError: diffusers is not installed.
            CheckpointError: There is no VAE there, or it has another number of channels.
        """
        try:
            from diffusers import AutoencoderKL
        except ImportError as error:
            raise UwmError("the VAE codec needs diffusers: pip install 'uwm_ros[vae]'") from error
        name = str(source or self.config.source)
        where: dict[str, Any] = {} if Path(name).is_dir() else {"revision": self.config.revision}
        try:
            vae: Any = AutoencoderKL.from_pretrained(name, **where)  # type: ignore[no-untyped-call]
        except (OSError, ValueError) as error:
            raise CheckpointError(
                f"no VAE at {name!r}: {first_line(error)} Give a folder with config.json and "
                "diffusion_pytorch_model.safetensors, or a hub id and a network."
            ) from error
        return self.hold(vae)

    def hold(self, vae: Any) -> VaeCodec:
        """Use this AutoencoderKL, frozen.

        Raises:
            CheckpointError: It has another number of latent channels than the config.
        """
        channels = int(vae.config.latent_channels)
        if channels != self.config.channels:
            raise CheckpointError(
                f"the VAE has {channels} latent channels, the model's config {self.config.channels}"
            )
        self._held = [vae.eval().requires_grad_(False)]
        return self

    def make_ready(self, device: torch.device) -> None:
        """Load the config's weights, unless some are held already."""
        if not self.loaded:
            self.load().to(device)

    @property
    def loaded(self) -> bool:
        """Whether the weights are there."""
        return bool(self._held)

    def _vae(self) -> Any:
        if not self._held:
            raise UwmError(
                f"the VAE {self.config.source!r} is not loaded; call codec.load(), or "
                "codec.load(folder) where there is no network"
            )
        return self._held[0]

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> VaeCodec:
        # .to(device) and .half() reach the VAE although it is no submodule.
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        for vae in self._held:
            vae._apply(fn)  # type: ignore[no-untyped-call]
        return self

    @torch.no_grad()
    def encode(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) in [0, 1] -> (N, C, H/8, W/8)."""
        mean: Tensor = self._vae().encode(images * 2 - 1).latent_dist.mode()
        return mean * (self.config.scaling / self.config.divisor)

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        """(N, C, h, w) -> (N, 3, 8 h, 8 w) in [0, 1]."""
        unscaled = latents * (self.config.divisor / self.config.scaling)
        image: Tensor = self._vae().decode(unscaled).sample
        return ((image + 1) / 2).clamp(0, 1)


def sdxl_vae() -> Any:
    """Diffusers' AutoencoderKL of SDXL's sizes, with random weights.

    Raises:
        UwmError: diffusers is not installed.
    """
    try:
        from diffusers import AutoencoderKL
    except ImportError as error:
        raise UwmError("the VAE needs diffusers: pip install 'uwm_ros[vae]'") from error
    return AutoencoderKL(  # type: ignore[no-untyped-call]
        block_out_channels=(128, 256, 512, 512),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=2,
        latent_channels=4,
        sample_size=1024,
        force_upcast=True,
    )
