# SPDX-License-Identifier: Apache-2.0
"""What the benches of two formulations share: random samples, and calls that take turns."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from uwm_core.config import ModelConfig


def by_turns_s(
    calls: Mapping[str, Callable[[], object]], runs: int, warm_up: int, device: str = "cpu"
) -> dict[str, list[float]]:
    """Times of calls that take turns, so that a busy moment of the machine meets all of them.

    Args:
        calls: By name.
        runs: Measured calls of each.
        warm_up: Calls of each before these.
        device: Where they compute; a GPU is waited for.

    Returns:
        Per name ``runs`` times, s.
    """
    times_s: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(warm_up + runs):
        for name, call in calls.items():
            begin_s = time.perf_counter()
            call()
            if device.startswith("cuda"):
                torch.cuda.synchronize(device)
            if turn >= warm_up:
                times_s[name].append(time.perf_counter() - begin_s)
    return times_s


def random_observation(
    config: ModelConfig, size: int, generator: torch.Generator
) -> tuple[dict[str, Tensor], Tensor | None]:
    """Pictures V x (B, T, H, W, 3) uint8, and state (B, T, S) or None, of ``size`` samples."""
    steps = config.window.history
    shape = (size, steps, *config.images.size, 3)
    images = {
        view: torch.randint(256, shape, generator=generator, dtype=torch.uint8)
        for view in config.views
    }
    state = torch.randn(size, steps, config.state_size, generator=generator)
    return images, state if config.state_size else None


def random_action(config: ModelConfig, size: int, generator: torch.Generator) -> Tensor:
    """Standard normal actions (B, A, D) of ``size`` samples."""
    return torch.randn(size, config.window.chunk, config.action_size, generator=generator)
