# SPDX-License-Identifier: Apache-2.0
"""Laws of schedule, averaging and seeded randomness."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import nn

from uwm_core.training.optim import Ema, learning_rate, seeded


def test_learning_rate_rises_to_its_peak_and_falls_to_zero() -> None:
    rates = [learning_rate(step, peak=1e-3, warmup=10, total=100) for step in range(100)]
    assert rates[10] == pytest.approx(1e-3)
    assert max(rates) == rates[10]
    assert all(a < b for a, b in itertools.pairwise(rates[:11]))
    assert all(a > b for a, b in itertools.pairwise(rates[10:]))
    assert 0 < rates[-1] < 1e-5
    assert rates[55] == pytest.approx(0.5e-3)  # half way down a cosine


def test_average_of_a_constant_is_the_constant() -> None:
    module = nn.Linear(3, 2)
    ema = Ema(module, 0.9)
    for step in range(5):
        ema.update(module, step)
    for name, value in module.named_parameters():
        torch.testing.assert_close(ema.shadow[name], value.detach())


def test_average_follows_its_recursion() -> None:
    module = nn.Linear(1, 1, bias=False)
    ema = Ema(module, 0.5)
    expected = module.weight.item()
    for step, value in enumerate((1.0, -2.0, 4.0, 0.5)):
        nn.init.constant_(module.weight, value)
        ema.update(module, step)
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * value
    assert ema.shadow["weight"].item() == pytest.approx(expected)


def test_averaged_weights_are_lent_and_given_back() -> None:
    module = nn.Linear(2, 2)
    ema = Ema(module, 0.9)
    own = module.weight.detach().clone()
    nn.init.zeros_(module.weight)
    with ema.applied(module):
        torch.testing.assert_close(module.weight.detach(), own)
    assert not module.weight.any()


def test_frozen_parameters_are_not_averaged() -> None:
    module = nn.Linear(2, 2)
    module.bias.requires_grad_(False)
    assert set(Ema(module, 0.9).shadow) == {"weight"}


def test_randomness_is_a_function_of_seed_use_and_step() -> None:
    draws = {
        key: torch.rand(4, generator=seeded(*key)).tolist()
        for key in [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (0, 1, 1)]
    }
    assert len({tuple(value) for value in draws.values()}) == len(draws)
    assert torch.rand(4, generator=seeded(0, 1, 1)).tolist() == draws[0, 1, 1]
