# SPDX-License-Identifier: Apache-2.0
"""Observation to condition vector: features of every view and step, then the state."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from uwm_core.config import ModelConfig
from uwm_core.errors import ShapeError
from uwm_core.model.encoders import make_encoder


class Observer(nn.Module):
    """Turns what is seen and felt into the vector that conditions the denoiser.

    Args:
        config: Views, encoder and state size.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        count = 1 if config.encoder.shared else len(config.views)
        self.encoders = nn.ModuleList(make_encoder(config.encoder) for _ in range(count))

    def forward(self, images: Tensor, state: Tensor | None) -> Tensor:
        """Encode an observation.

        Args:
            images: (B, V, T, 3, H, W) in [0, 1].
            state: (B, T, S) normalised, or None where the model has no state.

        Returns:
            (B, condition size): ordered (view, step, feature), then (step, state).

        Raises:
            ShapeError: A state is missing, or there is one that the model does not know.
        """
        size = self.config.state_size
        if (state is None) != (size == 0) or (state is not None and state.shape[-1] != size):
            got = "none" if state is None else f"{state.shape[-1]} numbers"
            raise ShapeError(f"the model takes {size} numbers of state per step, got {got}")
        batch, views = images.shape[:2]
        if len(self.encoders) == 1:
            features = self.encoders[0](images.flatten(0, 2))  # (B V T, features)
            parts = [features.reshape(batch, -1)]
        else:
            parts = [
                encoder(images[:, v].flatten(0, 1)).reshape(batch, -1)
                for v, encoder in zip(range(views), self.encoders, strict=True)
            ]
        if state is not None:
            parts.append(state.flatten(1))
        return torch.cat(parts, dim=1)
