# SPDX-License-Identifier: Apache-2.0
"""What a question must bring: given modalities and first noises, of the model's shapes."""

from __future__ import annotations

import torch
from torch import Tensor

from uwm_core.batch import SampleOptions
from uwm_core.config import ModelConfig
from uwm_core.diffusion.modes import Mode, Pair, Role
from uwm_core.diffusion.sampler import Known
from uwm_core.errors import ShapeError, check_shape


def check_known(config: ModelConfig, asked: Mode, known: Known | None) -> None:
    """Refuse actions known beforehand where a mode does not solve actions, or of another shape.

    Raises:
        ShapeError: That is so.
    """
    if known is None:
        return
    if asked.action is not Role.SOLVE:
        raise ShapeError(f"this mode takes no known actions (their role is {asked.action.value})")
    check_shape("known.value", known.value, f"B {config.window.chunk} {config.action_size}")
    check_shape("known.weight", known.weight, f"{config.window.chunk}")


def first_values(
    config: ModelConfig,
    asked: Mode,
    given: Pair[Tensor | None],
    condition: Tensor,
    options: SampleOptions,
) -> Pair[Tensor]:
    """Given values and first noises.

    Args:
        config: Sizes.
        asked: Which modality is given.
        given: (B, A, D) and (B, V, C, T, h, w), where they are.
        condition: (B, condition size); noises are drawn where it is.
        options: First noises or the generator that draws them.

    Returns:
        (B, A, D) and (B, V, C, T, h, w), float32.

    Raises:
        ShapeError: A given modality is missing, superfluous or of another shape.
    """
    size = len(condition)
    shapes = Pair(
        (size, config.window.chunk, config.action_size),
        (size, len(config.views), *config.latent_shape),
    )
    noises = Pair(options.get("action_noise"), options.get("next_noise"))
    start = []
    for name, role, shape, known, noise in zip(
        ("action", "next_latent"), asked.roles, shapes, given, noises, strict=True
    ):
        if (role is Role.GIVEN) != (known is not None):
            verb = "needs" if role is Role.GIVEN else "takes no"
            raise ShapeError(f"this mode {verb} {name} (its role is {role.value})")
        value = known if known is not None else noise
        if value is None:
            where = condition.device
            value = torch.randn(shape, generator=options.get("generator"), device=where)
        check_shape(name, value, " ".join(map(str, shape)))
        start.append(value)
    return Pair(*start)
