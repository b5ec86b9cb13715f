# SPDX-License-Identifier: Apache-2.0
"""Laws of the codecs: shapes, scale, way back, and where weights live."""

import pytest
import torch

from uwm_core.config import CodecConfig
from uwm_core.errors import CheckpointError, UwmError
from uwm_core.latents.codec import make_codec

CONV = CodecConfig(kind="conv", channels=8, factor=8, width=16)
PATCH = CodecConfig(kind="patch", channels=3, factor=4)


@pytest.mark.parametrize("factor", [4, 8, 16])
def test_conv_codec_has_the_promised_shapes(factor):
    codec = make_codec(CodecConfig(kind="conv", channels=5, factor=factor, width=16)).eval()
    latents = codec.encode(torch.rand(2, 3, 32, 64))
    assert latents.shape == (2, 5, 32 // factor, 64 // factor)
    rebuilt = codec.decode(latents)
    assert rebuilt.shape == (2, 3, 32, 64)
    assert rebuilt.min() >= 0 and rebuilt.max() <= 1


def test_conv_latents_have_unit_scale_per_channel():
    torch.manual_seed(0)
    codec = make_codec(CONV)
    images = torch.rand(16, 3, 32, 32)
    for _ in range(200):
        codec.loss(images)  # the running statistics settle
    latents = codec.eval().encode(images)
    torch.testing.assert_close(latents.mean(dim=(0, 2, 3)), torch.zeros(8), atol=0.15, rtol=0)
    torch.testing.assert_close(latents.std(dim=(0, 2, 3)), torch.ones(8), atol=0.15, rtol=0)


def test_conv_codec_learns_to_give_its_images_back():
    torch.manual_seed(0)
    codec = make_codec(CONV)
    images = torch.nn.functional.interpolate(torch.rand(8, 3, 4, 4), size=(32, 32))
    optimiser = torch.optim.Adam(codec.parameters(), 3e-3)
    first = codec.loss(images).item()
    for _ in range(60):
        loss = codec.loss(images)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert loss.item() < 0.5 * first


def test_patch_codec_gives_a_plain_image_back():
    codec = make_codec(PATCH)
    plain = torch.tensor([0.1, 0.5, 0.9]).view(1, 3, 1, 1).expand(2, 3, 16, 16)
    torch.testing.assert_close(codec.decode(codec.encode(plain)), plain)


def test_patch_codec_refuses_to_be_trained():
    with pytest.raises(UwmError, match="not trained here"):
        make_codec(PATCH).loss(torch.rand(1, 3, 8, 8))


@pytest.fixture(scope="module")
def vae(vae_folder):
    return pytest.importorskip("diffusers").AutoencoderKL.from_pretrained(vae_folder).eval()


def test_vae_is_loaded_from_a_folder_and_stays_out_of_the_state_dict(vae_folder, vae):
    codec = make_codec(CodecConfig(kind="vae", channels=4, factor=2))
    assert not codec.loaded
    codec.load(vae_folder)
    assert codec.loaded
    assert not codec.state_dict() and not list(codec.parameters())
    images = torch.rand(2, 3, 16, 16)
    latents = codec.encode(images)
    expected = vae.encode(images * 2 - 1).latent_dist.mean * 0.13025 / 3
    torch.testing.assert_close(latents, expected)
    rebuilt = (vae.decode(vae.encode(images * 2 - 1).latent_dist.mean).sample + 1) / 2
    torch.testing.assert_close(codec.decode(latents), rebuilt.clamp(0, 1))


def test_vae_follows_its_model_to_another_type(vae_folder):
    codec = make_codec(CodecConfig(kind="vae", channels=4, factor=2)).load(vae_folder)
    latents = codec.double().encode(torch.rand(1, 3, 16, 16, dtype=torch.float64))
    assert latents.dtype == torch.float64


def test_vae_that_is_not_loaded_says_what_to_call():
    codec = make_codec(CodecConfig())
    with pytest.raises(UwmError, match=r"sdxl-vae' is not loaded; call codec.load"):
        codec.encode(torch.rand(1, 3, 16, 16))


def test_vae_that_is_not_there_is_named(tmp_path):
    pytest.importorskip("diffusers")
    with pytest.raises(CheckpointError, match="no VAE at"):
        make_codec(CodecConfig()).load(tmp_path)


def test_vae_of_another_size_is_refused(vae_folder):
    with pytest.raises(CheckpointError, match="4 latent channels, the model's config 8"):
        make_codec(CodecConfig(kind="vae", channels=8, factor=2)).load(vae_folder)
