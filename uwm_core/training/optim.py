# SPDX-License-Identifier: Apache-2.0
"""Learning rate over a run, averaged weights, and randomness that knows its step."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn


def learning_rate(step: int, *, peak: float, warmup: int, total: int) -> float:
    """Learning rate of ``step`` (from 0): linear up to ``peak``, then a cosine down to 0.

    Args:
        step: Step about to be taken, from 0.
        peak: Largest learning rate, reached at step ``warmup``.
        warmup: Steps of the rise.
        total: Steps of the run.
    """
    if step < warmup:
        return peak * (step + 1) / (warmup + 1)
    progress = (step - warmup) / max(total - warmup, 1)
    return peak * 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))


def seeded(
    seed: int, stream: int, step: int, device: torch.device | str = "cpu"
) -> torch.Generator:
    """A generator for one step: a resumed run draws what an uninterrupted one would have drawn.

    Args:
        seed: Seed of the run.
        stream: Number of the use, so that two uses in one step differ.
        step: Step of the run.
        device: Where it draws; a CPU and a GPU draw different numbers.
    """
    # One multiplication by a large odd number each; torch mixes the bits further.
    mixed = (seed * 0x9E3779B1 + stream * 0x85EBCA77 + step * 0xC2B2AE3D) % 2**63
    return torch.Generator(device).manual_seed(mixed)


class Ema:
    """Exponential moving average of a module's parameters.

    The decay rises from 0.1 towards ``decay`` so that short runs are not averages of their start.

    Args:
        module: Whose parameters are averaged; frozen ones are left out.
        decay: Decay of a long run, in [0, 1).
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self._decay = decay
        self.shadow = {name: value.detach().clone() for name, value in _learned(module)}

    def update(self, module: nn.Module, step: int) -> None:
        """Take in the parameters after ``step`` (from 0)."""
        decay = min(self._decay, (1 + step) / (10 + step))
        for name, value in _learned(module):
            self.shadow[name].lerp_(value.detach(), 1 - decay)

    @contextmanager
    def applied(self, module: nn.Module) -> Iterator[None]:
        """The module with averaged parameters; its own come back at the end."""
        own = {name: value.detach().clone() for name, value in _learned(module)}
        self.put_into(module)
        try:
            yield
        finally:
            _put(module, own)

    def put_into(self, module: nn.Module) -> None:
        """Give the module the averaged parameters for good."""
        _put(module, self.shadow)


def _put(module: nn.Module, values: Mapping[str, Tensor]) -> None:
    with torch.no_grad():
        for name, parameter in _learned(module):
            parameter.copy_(values[name])


def _learned(module: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    return ((name, value) for name, value in module.named_parameters() if value.requires_grad)
