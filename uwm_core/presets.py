# SPDX-License-Identifier: Apache-2.0
"""Model configs by name: the two published models, one that trains on two cores, each leaner too.

The lean ones squeeze the condition before it modulates the blocks, and are told the times in a
narrower embedding. Nothing that a token goes through is smaller.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from uwm_core.config import (
    CodecConfig,
    DiffusionConfig,
    EncoderConfig,
    ImageConfig,
    ModelConfig,
    WindowConfig,
)
from uwm_core.errors import UnknownNameError


def _published(
    name: str, views: tuple[str, ...], rate_hz: float, images: ImageConfig
) -> ModelConfig:
    return ModelConfig(
        name=name,
        views=views,
        window=WindowConfig(rate_hz=rate_hz, history=2, chunk=16),
        images=images,
        action_size=7,
        diffusion=DiffusionConfig(objective="epsilon", sample_steps=10),
    )


_FULL: Mapping[str, ModelConfig] = MappingProxyType(
    {
        "published_libero": replace(
            _published(
                "published_libero",
                ("agentview_rgb", "eye_in_hand_rgb"),
                20.0,
                ImageConfig(size=(240, 240), resize=(240, 240), crop=(224, 224), jitter=0.2),
            ),
            registers=24,
        ),
        "published_droid": replace(
            _published(
                "published_droid",
                ("exterior_image_1_left", "exterior_image_2_left", "wrist_image_left"),
                15.0,
                ImageConfig(size=(180, 320), resize=(240, 320), crop=(224, 224), jitter=0.2),
            ),
            action_size=10,
        ),
        "sim_small": ModelConfig(
            name="sim_small",
            views=("front", "wrist"),
            window=WindowConfig(rate_hz=10.0, history=1, chunk=12),
            images=ImageConfig(size=(96, 96), shift_px=4),
            action_size=8,
            state_size=8,
            diffusion=DiffusionConfig(objective="flow", sample_steps=8, next_obs_answer="clean"),
            codec=CodecConfig(kind="conv", channels=8, factor=8, width=64),
            encoder=EncoderConfig(kind="conv", features=128, shared=False, width=48),
            patch=(1, 3, 3),
            width=128,
            depth=4,
            heads=4,
            registers=4,
            time_width=128,
        ),
    }
)


PRESETS: Mapping[str, ModelConfig] = MappingProxyType(
    {
        **_FULL,
        **{
            lean: replace(_FULL[full], name=lean, condition_rank=rank, time_width=rank)
            for lean, full, rank in (
                ("lean_libero", "published_libero", 256),
                ("lean_droid", "published_droid", 256),
                ("sim_lean", "sim_small", 64),
            )
        },
    }
)


def preset(name: str) -> ModelConfig:
    """Return the preset of that name.

    Raises:
        UnknownNameError: There is none; the message lists those that exist.
    """
    if name not in PRESETS:
        raise UnknownNameError("preset", name, PRESETS)
    return PRESETS[name]
