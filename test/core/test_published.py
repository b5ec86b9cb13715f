# SPDX-License-Identifier: Apache-2.0
"""Every tensor of the published checkpoints has a place in our model, of the same shape."""

import json
from pathlib import Path

import pytest
import torch

from uwm_core.errors import CheckpointError
from uwm_core.presets import PRESETS
from uwm_core.published import place, sort_out
from uwm_core.world_model import WorldModel

MANIFESTS = Path(__file__).parents[1] / "data"


@pytest.mark.parametrize("name", ["libero", "droid"])
def test_every_published_tensor_has_a_place_and_every_place_a_tensor(name):
    manifest = json.loads((MANIFESTS / f"state_dict_manifest_{name}.json").read_text())
    published = {key: tuple(shape) for key, (_, shape) in manifest["tensors"].items()}
    config = PRESETS[f"published_{name}"]
    assert (len(config.views), *config.latent_shape) == tuple(manifest["latent_shape"])
    with torch.device("meta"):
        model = WorldModel(config)
    ours = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    sorted_out = sort_out(published)
    assert sorted_out["model"] == ours
    assert set(sorted_out["vae_scaling"]) == {"shift", "scale"}
    diffusers = pytest.importorskip("diffusers")
    with torch.device("meta"):
        vae = diffusers.AutoencoderKL(
            block_out_channels=(128, 256, 512, 512),
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            layers_per_block=2,
            latent_channels=4,
        )
    expected = {key: tuple(value.shape) for key, value in vae.state_dict().items()}
    assert sorted_out["vae"] == expected


def test_a_foreign_tensor_is_named():
    with pytest.raises(CheckpointError, match=r"'noise_pred_net\.oops' is no tensor"):
        place("noise_pred_net.oops")
