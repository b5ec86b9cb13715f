# SPDX-License-Identifier: Apache-2.0
"""Laws of the denoiser: shortcuts give the numbers of the long way."""

from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from uwm_core.model.blocks import Attention, Modulation
from uwm_core.model.denoiser import Denoiser
from uwm_core.model.embed import Patches
from uwm_core.presets import PRESETS

SMALL = replace(PRESETS["sim_small"], width=32, depth=2, time_width=16)


@pytest.fixture(params=[0, 8], ids=["full", "squeezed"])
def denoiser(request) -> Denoiser:
    torch.manual_seed(0)
    net = Denoiser(replace(SMALL, condition_rank=request.param))
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return net.requires_grad_(False)


def inputs(batch: int = 3):
    return (
        torch.randn(batch, SMALL.window.chunk, SMALL.action_size),
        torch.randn(batch, len(SMALL.views), *SMALL.latent_shape),
        (torch.rand(batch), torch.rand(batch)),
        torch.randn(batch, SMALL.condition_size),
    )


def test_modulation_split_equals_the_plain_form():
    torch.manual_seed(0)
    layer = Modulation(40, 24, 64)
    condition, time = torch.randn(5, 40), torch.randn(5, 24)
    plain = layer.linear(F.silu(torch.cat([condition, time], dim=1)))
    split = layer.of_condition(F.silu(condition)) + layer.of_time(F.silu(time))
    torch.testing.assert_close(split, plain, atol=1e-5, rtol=0)


@pytest.mark.parametrize("want", [(True, False), (False, True)])
def test_leaving_out_an_answer_does_not_change_the_other(denoiser, want):
    action, next_obs, times, condition = inputs()
    parts = denoiser.of_condition(condition)
    whole = denoiser(action, next_obs, times, parts)
    layers = [c + t for c, t in zip(parts, denoiser.of_time(*times), strict=True)]
    tokens = denoiser.action_tokens(action), denoiser.next_tokens(next_obs)
    answers = denoiser.trunk(*tokens, layers, want=want)
    for wanted, answer, expected in zip(want, answers, whole, strict=True):
        assert (answer is not None) is wanted
        if answer is not None:
            torch.testing.assert_close(answer, expected, atol=1e-5, rtol=0)


def test_rows_of_a_batch_do_not_see_each_other(denoiser):
    action, next_obs, times, condition = inputs()
    together = denoiser(action, next_obs, times, denoiser.of_condition(condition))
    alone = denoiser(
        action[1:2],
        next_obs[1:2],
        tuple(t[1:2] for t in times),
        denoiser.of_condition(condition[1:2]),
    )
    for one, all_of_them in zip(alone, together, strict=True):
        torch.testing.assert_close(one, all_of_them[1:2], atol=1e-5, rtol=0)


def test_a_squeeze_that_changes_nothing_leaves_the_answers_as_they_were():
    torch.manual_seed(0)
    size = SMALL.condition_size
    full, lean = Denoiser(SMALL), Denoiser(replace(SMALL, condition_rank=size))
    for parameter in full.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    same = {"squeeze.weight": torch.eye(size), "squeeze.bias": torch.zeros(size)}
    lean.load_state_dict(full.state_dict() | same)
    action, next_obs, times, condition = inputs()
    expected = full(action, next_obs, times, full.of_condition(condition))
    answers = lean(action, next_obs, times, lean.of_condition(condition))
    for ours, theirs in zip(answers, expected, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_only_the_squeezed_condition_reaches_the_answers():
    torch.manual_seed(0)
    net = Denoiser(replace(SMALL, condition_rank=8)).requires_grad_(False)
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    *_, condition = inputs()
    unseen = torch.linalg.svd(net.squeeze.weight)[2][8:]  # what the squeeze maps to zero
    moved = condition + torch.randn(len(condition), len(unseen)) @ unseen
    for ours, theirs in zip(net.of_condition(moved), net.of_condition(condition), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=0)


@pytest.mark.parametrize("rank", [0, 8])
def test_new_denoiser_answers_zero_and_yet_learns(rank):
    net = Denoiser(replace(SMALL, condition_rank=rank))
    action, next_obs, times, condition = inputs()
    answers = net(action, next_obs, times, net.of_condition(condition))
    assert all(not answer.any() for answer in answers)
    (answers[0] - action).square().mean().backward()
    assert net.action_out[-1].weight.grad.abs().sum() > 0


@pytest.mark.parametrize("bias", [True, False])
def test_attention_of_some_rows_is_those_rows_of_the_whole(bias):
    torch.manual_seed(0)
    layer, x = Attention(32, 4, qkv_bias=bias), torch.randn(2, 9, 32)
    torch.testing.assert_close(layer(x, slice(2, 5)), layer(x)[:, 2:5], atol=1e-5, rtol=0)


def test_patches_are_the_convolution_they_stand_for():
    torch.manual_seed(0)
    patches = Patches((4, 2, 8, 12), (2, 4, 4), 16)
    latents = torch.randn(3, 2, 4, 2, 8, 12)
    expected = patches.encoder(latents.flatten(0, 1)).flatten(2).transpose(1, 2)  # (B V, n, E)
    ours = patches.encode(latents)
    torch.testing.assert_close(ours, expected.reshape(3, -1, 16), atol=1e-5, rtol=0)


def test_patches_come_back_where_they_were():
    shape, patch = (4, 2, 8, 12), (2, 4, 4)
    patches = Patches(shape, patch, 128)  # 128 numbers per patch: the maps can be identities
    with torch.no_grad():
        patches.encoder.weight.copy_(torch.eye(128).reshape(patches.encoder.weight.shape))
        patches.decoder.weight.copy_(torch.eye(128))
        patches.encoder.bias.zero_()
        patches.decoder.bias.zero_()
    latents = torch.randn(3, 2, *shape)
    torch.testing.assert_close(patches.decode(patches.encode(latents)), latents)
