# SPDX-License-Identifier: Apache-2.0
"""Laws of the codec's phase: the cache holds what the codec says of every image, a VAE's included.

A run whose codec is a VAE used to end with "the VAE is not loaded": nothing loaded it.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from uwm_core.checkpoint import load_checkpoint
from uwm_core.config import CodecConfig
from uwm_core.errors import CheckpointError
from uwm_core.policy import Policy
from uwm_core.training.codec import cache_latents, next_latent
from uwm_core.training.config import TrainConfig, model_config
from uwm_core.training.loop import Data, train
from uwm_core.training.team import Team
from uwm_core.world_model import WorldModel


def test_the_cache_is_what_the_model_encodes(tiny_config: TrainConfig, tiny_data: Data) -> None:
    model = WorldModel(model_config(tiny_config, tiny_data.embodiment)).eval()
    latents = cache_latents(model, tiny_data.steps, quiet=True)
    history = model.config.window.history
    rows = np.array([[3, 4], [80, 81], [63, 64]])[:, :history]
    images = {name: torch.from_numpy(image[rows]) for name, image in tiny_data.steps.images.items()}
    torch.testing.assert_close(next_latent(latents, rows), model.encode(images))


def test_ranks_divide_the_images_without_rest(tiny_config: TrainConfig, tiny_data: Data) -> None:
    class Silent(Team):
        """A rank that hears nothing of the others, so that its own share is seen."""

        def add(self, values: torch.Tensor) -> torch.Tensor:
            return values

    model = WorldModel(model_config(tiny_config, tiny_data.embodiment)).eval()
    whole = cache_latents(model, tiny_data.steps, quiet=True)
    shares = [
        cache_latents(model, tiny_data.steps, quiet=True, team=Silent(rank=rank, size=3))
        for rank in range(3)
    ]
    torch.testing.assert_close(torch.stack(shares).sum(0), whole)
    filled = torch.stack([share.flatten(1).abs().sum(1) > 0 for share in shares])
    assert (filled.sum(0) == 1).all()


def config_size(data: Data) -> tuple[int, int]:
    return data.embodiment.cameras["front"].size


def test_a_vae_is_read_from_its_folder_and_named_in_the_checkpoint(
    tiny_config: TrainConfig, tiny_data: Data, vae_folder: Path, tmp_path: Path
) -> None:
    side = tiny_data.embodiment.cameras["front"].size[0] // 2
    config = dataclasses.replace(
        tiny_config,
        latents=CodecConfig(kind="vae", factor=2, source=str(vae_folder)),
        patch=(1, side, side),
        model=dataclasses.replace(tiny_config.model, iterations=1),
    )
    checkpoint = load_checkpoint(train(config, tiny_data, tmp_path / "run", quiet=True))
    assert checkpoint.config.codec == config.latents
    assert not [name for name in checkpoint.weights if name.startswith("codec.")]
    policy = Policy(checkpoint)
    seen = policy.blank_observation()
    images = policy.imagine(seen, policy.act(seen, seed=0), seed=0).images
    assert {image.shape[1:3] for image in images.values()} == {config_size(tiny_data)}
    assert policy.infer_actions(seen, images, seed=0).actions.shape == (
        policy.window.chunk,
        len(policy.embodiment.action_names),
    )
    nowhere = dataclasses.replace(config.latents, source=str(tmp_path / "run"))
    with pytest.raises(CheckpointError, match="no VAE at"):
        train(dataclasses.replace(config, latents=nowhere), tiny_data, tmp_path / "no", quiet=True)
