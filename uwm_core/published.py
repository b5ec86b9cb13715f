# SPDX-License-Identifier: Apache-2.0
"""Where every tensor of a published checkpoint goes: published state-dict names to ours.

Names only; reading the file is another matter. The VAE's tensors are named beside the model's, as
ours keeps the VAE outside: they belong to diffusers' AutoencoderKL, and two numbers that scale it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal, NamedTuple, TypeVar

from uwm_core.errors import CheckpointError

Value = TypeVar("Value")
Owner = Literal["model", "vae", "vae_scaling"]

_RULES: tuple[tuple[str, Owner, str], ...] = (
    (r"obs_encoder\.img_encoder\.model\.(.+)", "model", r"observer.encoders.0.\1"),
    (r"obs_encoder\.vae\.vae\.(.+)", "vae", r"\1"),
    (r"obs_encoder\.vae\.(shift|scale)", "vae_scaling", r"\1"),
    (r"noise_pred_net\.registers", "model", "denoiser.registers"),
    (r"noise_pred_net\.pos_embed", "model", "denoiser.position"),
    (r"noise_pred_net\.action_encoder\.(.+)", "model", r"denoiser.action_in.\1"),
    (r"noise_pred_net\.action_decoder\.(.+)", "model", r"denoiser.action_out.\1"),
    (r"noise_pred_net\.obs_patchifier\.patch_(.+)", "model", r"denoiser.next_obs.\1"),
    (r"noise_pred_net\.timestep_embedding\.proj\.(.+)", "model", r"denoiser.time.mlp.\1"),
    (
        r"noise_pred_net\.(blocks\.\d+|head)\.adaLN_modulation\.1\.(.+)",
        "model",
        r"denoiser.\1.modulation.linear.\2",
    ),
    (r"noise_pred_net\.(blocks\.\d+\.attn\..+)", "model", r"denoiser.\1"),
    (r"noise_pred_net\.(blocks\.\d+)\.mlp\.(.+)", "model", r"denoiser.\1.\2"),
    (r"noise_pred_net\.(head\.linear\..+)", "model", r"denoiser.\1"),
)


class Place(NamedTuple):
    """Where a published tensor goes.

    Attributes:
        owner: Our model, diffusers' VAE, or the VAE's scaling.
        name: Its name in the owner's state dict.
    """

    owner: Owner
    name: str


def place(name: str) -> Place:
    """The place of one published tensor.

    Raises:
        CheckpointError: The published models have no such tensor.
    """
    for pattern, owner, target in _RULES:
        if match := re.fullmatch(pattern, name):
            return Place(owner, match.expand(target))
    raise CheckpointError(f"{name!r} is no tensor of a published world model")


def sort_out(tensors: Mapping[str, Value]) -> dict[Owner, dict[str, Value]]:
    """Published state dict to one state dict per owner, values untouched."""
    sorted_out: dict[Owner, dict[str, Value]] = {"model": {}, "vae": {}, "vae_scaling": {}}
    for name, value in tensors.items():
        owner, ours = place(name)
        sorted_out[owner][ours] = value
    return sorted_out
