# SPDX-License-Identifier: Apache-2.0
"""The numbers that the published model computes, reproduced by ours.

``UWM_REFERENCE_CASE`` names another file of the same form; every size and switch is read from it.
"""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from uwm_core.config import (
    CodecConfig,
    DiffusionConfig,
    EncoderConfig,
    ImageConfig,
    ModelConfig,
    WindowConfig,
)
from uwm_core.diffusion.modes import Pair
from uwm_core.published import sort_out
from uwm_core.world_model import WorldModel

TOLERANCE = 1e-4
CASE = Path(os.environ.get("UWM_REFERENCE_CASE") or Path(__file__).parents[1] / "data/case_a.npz")


class Case:
    """A reference file, the model that it describes, and its inputs."""

    def __init__(self, path: Path):
        with np.load(path, allow_pickle=False) as file:
            self.arrays = {key: file[key] for key in file.files}
        self.sizes = json.loads(self.arrays.pop("config").tobytes())
        self.low_dim = sorted(self.sizes.get("low_dim") or {})
        self.state = self._state()
        self.model = WorldModel(self._config()).eval()
        self.model.load_state_dict(self._weights(), strict=True)
        self.images = {view: self.tensor(f"input.obs.{view}") for view in self.sizes["views"]}

    def tensor(self, key: str) -> torch.Tensor:
        return torch.from_numpy(self.arrays[key])

    def pair(self, suffix: str) -> Pair[torch.Tensor]:
        return Pair(self.tensor(f"input.action{suffix}"), self.tensor(f"input.next_obs{suffix}"))

    def _config(self) -> ModelConfig:
        c = self.sizes
        views, channels, frames, *cells = c["latent_shape"]
        crop = tuple(c.get("crop_shape") or c.get("resize_shape") or c["image_shape"][:2])
        resize = c.get("resize_shape")
        assert views == len(c["views"]) and frames == c["obs_frames"]
        return ModelConfig(
            name="reference",
            views=tuple(sorted(c["views"])),
            window=WindowConfig(rate_hz=10.0, history=c["obs_frames"], chunk=c["action_len"]),
            images=ImageConfig(
                size=tuple(c["image_shape"][:2]), resize=resize and tuple(resize), crop=crop
            ),
            action_size=c["action_dim"],
            state_size=0 if self.state is None else self.state.shape[-1],
            diffusion=DiffusionConfig(
                objective="epsilon",
                sample_steps=c["num_inference_steps"],
                train_steps=c["num_train_steps"],
                clip_sample=c["clip_sample"],
            ),
            codec=CodecConfig(channels=channels, factor=crop[0] // cells[0]),
            encoder=EncoderConfig(features=c["encoder_embed_dim"]),
            patch=tuple(c["latent_patch_shape"]),
            width=c["embed_dim"],
            depth=c["depth"],
            heads=c["num_heads"],
            registers=c["num_registers"],
            time_width=c["timestep_embed_dim"],
            mlp_ratio=c["mlp_ratio"],
            qkv_bias=c["qkv_bias"],
        )

    def _state(self) -> torch.Tensor | None:
        if not self.low_dim:
            return None
        streams = [self.tensor(f"input.obs.{key}").float() for key in self.low_dim]
        batch, frames = streams[0].shape[:2]
        by_step = torch.cat([x.reshape(batch, frames, -1) for x in streams], dim=-1)
        # With several streams and steps, two orders are possible; the file says which one.
        by_stream = torch.cat([x.flatten(1) for x in streams], dim=1)
        tail = self.tensor("expect.obs_features")[:, -by_stream.shape[1] :]
        if torch.allclose(tail, by_stream) and not torch.allclose(tail, by_step.flatten(1)):
            return by_stream.reshape(by_step.shape)
        return by_step

    def _weights(self) -> dict[str, torch.Tensor]:
        published = {
            "noise_pred_net." + key.removeprefix("net."): torch.from_numpy(value)
            for key, value in self.arrays.items()
            if key.startswith("net.")
        }
        random = np.random.RandomState(self.sizes["seed"] + 1)
        for key, shape in sorted(self.sizes["encoder_state_dict"].items()):
            value = random.standard_normal(shape).astype(np.float32) * np.float32(0.05)
            if len(shape) == 1 and key.endswith("weight"):
                value = 1 + value
            published["obs_encoder.img_encoder.model." + key] = torch.from_numpy(value)
        return sort_out(published)["model"]


@pytest.fixture(scope="module")
def case() -> Case:
    return Case(CASE)


def compare(case: Case, name: str, ours: torch.Tensor) -> None:
    expected = case.tensor(f"expect.{name}")
    assert ours.shape == expected.shape
    error = (ours - expected).abs().max().item()
    assert error <= TOLERANCE, f"{name}: largest error {error:.2e}"


def test_every_expectation_of_the_file_has_a_law_here(case: Case):
    known = {
        *("obs_features", "eps_action", "eps_next_obs", "action_loss", "next_obs_loss"),
        *("policy_action", "video_next_obs", "forward_dynamics_next_obs"),
        *("inverse_dynamics_action", "joint_next_obs", "joint_action"),
    }
    found = {key.removeprefix("expect.") for key in case.arrays if key.startswith("expect.")}
    assert found <= known


@torch.inference_mode()
def test_condition_is_the_published_one(case: Case):
    compare(case, "obs_features", case.model.observe(case.images, case.state))


@torch.inference_mode()
def test_denoiser_answers_like_the_published_one(case: Case):
    times = Pair(case.tensor("input.action_t").float(), case.tensor("input.next_obs_t").float())
    condition = case.model.observe(case.images, case.state)
    answer = case.model.answer(case.pair("_query"), times, condition)
    compare(case, "eps_action", answer.action)
    compare(case, "eps_next_obs", answer.next_obs)


@torch.inference_mode()
def test_losses_are_the_published_ones(case: Case):
    times = Pair(case.tensor("input.action_t").float(), case.tensor("input.next_obs_t").float())
    condition = case.model.observe(case.images, case.state)
    losses = case.model.loss_at(condition, case.pair(""), case.pair("_noise"), times)
    compare(case, "action_loss", losses.action)
    compare(case, "next_obs_loss", losses.next_obs)


@pytest.mark.parametrize(
    ("mode", "given", "answers"),
    [
        ("policy", (), {"action": "policy_action"}),
        ("video", (), {"next_latent": "video_next_obs"}),
        ("forward_dynamics", ("action",), {"next_latent": "forward_dynamics_next_obs"}),
        ("inverse_dynamics", ("next_latent",), {"action": "inverse_dynamics_action"}),
        ("joint", (), {"action": "joint_action", "next_latent": "joint_next_obs"}),
    ],
)
def test_every_mode_samples_like_the_published_model(case: Case, mode, given, answers):
    clean, noise = case.pair(""), case.pair("_noise")
    known = {"action": clean.action, "next_latent": clean.next_obs}
    sample = case.model.sample(
        case.images,
        case.state,
        mode,
        action_noise=noise.action,
        next_noise=noise.next_obs,
        **{key: known[key] for key in given},
    )
    for attribute, name in answers.items():
        compare(case, name, getattr(sample, attribute))
