# SPDX-License-Identifier: Apache-2.0
"""What may be given up for speed, and no more than was asked for."""

import dataclasses

import numpy as np
import pytest
import torch

from uwm_core.cli.published_model import PublishedFormulation
from uwm_core.config import DiffusionConfig
from uwm_core.diffusion.modes import Pair
from uwm_core.diffusion.quick import FAST, QUICK_STEPS, fast_kinds
from uwm_core.errors import UnknownNameError
from uwm_core.policy import Policy
from uwm_core.world_model import WorldModel

OBJECTIVES = {
    "flow": DiffusionConfig(objective="flow", sample_steps=8, next_obs_answer="clean"),
    "epsilon": DiffusionConfig(objective="epsilon", sample_steps=10),
}


@pytest.fixture(params=OBJECTIVES)
def config(request, tiny_checkpoint):
    return dataclasses.replace(tiny_checkpoint.config, diffusion=OBJECTIVES[request.param])


def model_of(config):
    """Weights of a size that trained ones have; new ones answer with zeros."""
    torch.manual_seed(3)
    model = WorldModel(config).eval()
    with torch.no_grad():
        for name, value in model.named_parameters():
            if not name.startswith("codec"):
                value.add_(0.05 * torch.randn_like(value))
    return model


def question(config, size=2):
    height, width = config.images.size
    generator = torch.Generator().manual_seed(0)
    images = {
        view: torch.randint(
            256, (size, config.window.history, height, width, 3), generator=generator
        ).to(torch.uint8)
        for view in config.views
    }
    state = torch.randn(size, config.window.history, config.state_size, generator=generator)
    start = Pair(
        torch.randn(size, config.window.chunk, config.action_size, generator=generator),
        torch.randn(size, len(config.views), *config.latent_shape, generator=generator),
    )
    return images, state if config.state_size else None, start


def answered(model, asked, steps=None):
    images, state, start = asked
    return model.sample(
        images, state, "policy", action_noise=start.action, next_noise=start.next_obs, steps=steps
    ).action


def test_the_exact_answer_is_that_of_the_published_formulation(config):
    """The plain one knows no split, no pruning, no own schedule."""
    model, asked = model_of(config), question(config)
    for steps in (config.diffusion.sample_steps, 5):
        plain = PublishedFormulation(model).policy(*asked, steps)
        assert (answered(model, asked, steps) - plain).abs().max() < 1e-4
        assert plain.std() > 0.1


def test_bf16_answers_within_its_bound(config):
    # A guess of the noise is divided by the little signal that there is at the first time.
    bound = {"flow": 1e-2, "epsilon": 1e-1}[config.diffusion.objective]
    exact, quick = model_of(config), model_of(config).quicken("bf16")
    asked = question(config)
    wanted, found = answered(exact, asked), answered(quick, asked)
    assert found.dtype == torch.float32
    error = ((found - wanted).square().mean() / wanted.square().mean()).sqrt().item()
    assert 0 < error < bound


def test_fewer_steps_ask_the_network_so_often(config):
    model, asked = model_of(config).quicken("fewer-steps"), question(config)
    calls = []
    through = model.denoiser.trunk
    model.denoiser.trunk = lambda *given, **more: calls.append(1) or through(*given, **more)
    few = answered(model, asked)
    assert len(calls) == model.sample_steps == QUICK_STEPS[config.diffusion.objective]
    assert torch.equal(answered(model, asked, QUICK_STEPS[config.diffusion.objective]), few)
    calls.clear()
    answered(model, asked, 7)
    assert len(calls) == 7


def test_nothing_is_given_up_unasked(config):
    asked = question(config)
    assert torch.equal(
        answered(model_of(config), asked), answered(model_of(config).quicken(), asked)
    )


def test_a_policy_takes_the_same_words(tiny_checkpoint):
    exact = Policy(tiny_checkpoint)
    quick = Policy(tiny_checkpoint, fast="fewer-steps, bf16")
    objective = tiny_checkpoint.config.diffusion.objective
    assert quick.sample_steps == min(exact.sample_steps, QUICK_STEPS[objective])
    assert Policy(tiny_checkpoint, fast="fewer-steps", sample_steps=5).sample_steps == 5
    chunk = quick.act(quick.blank_observation(), seed=0)
    assert np.isfinite(chunk.actions).all()
    assert quick.imagine(quick.blank_observation(), chunk, seed=0).images


def test_words():
    assert fast_kinds("exact") == fast_kinds("") == ()
    assert fast_kinds("bf16, fewer-steps") == FAST
    with pytest.raises(UnknownNameError, match="fewer-step"):
        fast_kinds("fewer-step")
