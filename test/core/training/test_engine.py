# SPDX-License-Identifier: Apache-2.0
"""Laws of how a step is computed: in whatever parts and with whatever is kept, it is the same step.

The oracle is the whole batch in float32, everything kept.
"""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from uwm_core.batch import EXPERT, PLAY, VIDEO, Batch
from uwm_core.data.plan import BatchPlan, Sampling
from uwm_core.data.windows import cut_windows
from uwm_core.parts import Part
from uwm_core.training.codec import cache_latents
from uwm_core.training.config import Compute, TrainConfig, model_config
from uwm_core.training.journal import read_journal
from uwm_core.training.loop import Data, train
from uwm_core.training.model_task import ModelTask
from uwm_core.training.optim import seeded
from uwm_core.world_model import WorldModel

Gradients = dict[str, Tensor]


@pytest.fixture(scope="module")
def config(tiny_config: TrainConfig) -> TrainConfig:
    """Batches of 8 with two draws, and shifts of what is observed."""
    model = replace(tiny_config.model, batch=8, draws=2)
    return replace(tiny_config, model=model, shift_px=2)


def fresh(config: TrainConfig, data: Data) -> WorldModel:
    """The same weights every time, none of them 0."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        model = WorldModel(model_config(config, data.embodiment))
        for parameter in model.parameters():
            parameter.data += 0.02 * torch.randn_like(parameter)
    return model


def step_of(
    config: TrainConfig, data: Data, compute: Compute
) -> tuple[dict[str, float], Gradients, WorldModel]:
    """Figures and gradients of step 1."""
    config = replace(config, compute=compute)
    model = fresh(config, data)
    task = ModelTask(model, data, cache_latents(model, data.steps, quiet=True), config)
    figures: dict[str, float] = {}
    for piece in task.pieces(1):
        piece.loss.backward()
        for name, value in {"loss": piece.loss.detach(), **piece.figures}.items():
            figures[name] = figures.get(name, 0.0) + float(value)
    return figures, gradients(model), model


def gradients(model: WorldModel) -> Gradients:
    return {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


def assert_close(one: Gradients, other: Gradients, relative: float) -> None:
    assert one.keys() == other.keys()
    for name, value in one.items():
        difference = torch.linalg.vector_norm(other[name] - value)
        assert difference <= relative * torch.linalg.vector_norm(value) + 1e-9, name


@pytest.fixture(scope="module")
def plain(config: TrainConfig, tiny_data: Data) -> tuple[dict[str, float], Gradients, WorldModel]:
    return step_of(config, tiny_data, Compute())


def test_losses_and_gradients_of_uneven_parts_sum_to_those_of_the_whole(
    config: TrainConfig, tiny_data: Data
) -> None:
    model = fresh(config, tiny_data).train()
    model.codec.requires_grad_(False).eval()
    # A part without an expert, and one without anything else: no mean of means would do.
    role = torch.tensor([EXPERT, EXPERT, EXPERT, PLAY, VIDEO, PLAY, EXPERT])
    parts = [[3, 4, 5], [0, 6], [1, 2]]
    steps, sizes = tiny_data.steps, model.config.window
    draw = torch.Generator().manual_seed(1)
    batch = Batch(
        images={
            name: torch.from_numpy(image[: 7 * sizes.history]).unflatten(0, (7, sizes.history))
            for name, image in steps.images.items()
        },
        role=role,
        state=torch.randn(7, sizes.history, model.config.state_size, generator=draw),
        action=torch.randn(7, sizes.chunk, model.config.action_size, generator=draw),
        next_latent=torch.randn(
            7, len(model.config.views), *model.config.latent_shape, generator=draw
        ),
    )
    whole = model.loss(batch, generator=seeded(0, 2, 5), draws=3)
    whole.total.backward()
    expected = gradients(model)
    model.zero_grad(set_to_none=True)
    sums = torch.zeros(2)
    for rows in parts:
        own = torch.tensor(rows)
        found = model.loss(
            Batch(
                images={name: image[own] for name, image in batch.images.items()},
                **{
                    name: getattr(batch, name)[own]
                    for name in ("role", "state", "action", "next_latent")
                },
            ),
            generator=seeded(0, 2, 5),
            draws=3,
            part=Part(rows=own, role=role),
        )
        found.total.backward()
        sums += torch.stack([found.action, found.next_obs]).detach()
    torch.testing.assert_close(sums, torch.stack([whole.action, whole.next_obs]).detach())
    assert_close(expected, gradients(model), 1e-5)


@given(st.integers(1, 4), st.integers(1, 3), st.integers(1, 4), st.integers(0, 9))
def test_pieces_of_all_ranks_are_the_batch_without_rest(
    tiny_data: Data, world: int, pieces: int, each: int, number: int
) -> None:
    windows = cut_windows(tiny_data.steps.episodes, history=2, chunk=3)
    asked = Sampling(batch=world * pieces * each, seed=2)
    whole = BatchPlan(windows, asked).batch(number)
    found = np.full_like(whole, -1)
    for rank in range(world):
        plan = BatchPlan(windows, replace(asked, rank=rank, world=world, pieces=pieces))
        for piece in range(pieces):
            own = plan.windows_of(number * pieces + piece)
            assert len(own) == each
            found[plan.places(piece)] = own
    np.testing.assert_array_equal(found, whole)


@pytest.mark.parametrize("pieces", [2, 8])
def test_micro_batches_add_up_to_the_batch(
    config: TrainConfig,
    tiny_data: Data,
    plain: tuple[dict[str, float], Gradients, WorldModel],
    pieces: int,
) -> None:
    figures, found, _ = step_of(config, tiny_data, Compute(accumulate=pieces))
    assert figures == pytest.approx(plain[0], rel=1e-5)
    assert_close(plain[1], found, 1e-5)


def test_what_is_computed_twice_gives_the_same_gradient(
    config: TrainConfig, tiny_data: Data, plain: tuple[dict[str, float], Gradients, WorldModel]
) -> None:
    calls = 0

    def count(*_: object) -> None:
        nonlocal calls
        calls += 1

    again = replace(config, compute=Compute(checkpointing=True))
    model = fresh(again, tiny_data)
    for block in model.denoiser.blocks:
        block.attn.register_forward_pre_hook(count)
    names = list(model.state_dict())
    task = ModelTask(model, tiny_data, cache_latents(model, tiny_data.steps, quiet=True), again)
    for piece in task.pieces(1):
        piece.loss.backward()
    assert calls == 2 * len(model.denoiser.blocks)
    assert list(model.state_dict()) == names
    assert_close(plain[1], gradients(model), 1e-6)


def test_bfloat16_rounds_the_step_and_nothing_that_is_kept(
    config: TrainConfig, tiny_data: Data, plain: tuple[dict[str, float], Gradients, WorldModel]
) -> None:
    figures, found, model = step_of(config, tiny_data, Compute(precision="bfloat16"))
    assert figures != plain[0]
    assert figures == pytest.approx(plain[0], rel=1e-2)
    ours, theirs = (torch.cat([g.flatten() for g in side.values()]) for side in (plain[1], found))
    assert torch.nn.functional.cosine_similarity(ours, theirs, dim=0) > 0.99
    assert {value.dtype for value in found.values()} == {torch.float32}
    assert {value.dtype for value in model.parameters()} == {torch.float32}


@pytest.mark.slow  # two minutes of compiling
@pytest.mark.skipif(shutil.which("c++") is None, reason="torch.compile needs a C++ compiler")
def test_a_compiled_network_takes_the_same_step(
    config: TrainConfig, tiny_data: Data, plain: tuple[dict[str, float], Gradients, WorldModel]
) -> None:
    figures, found, model = step_of(config, tiny_data, Compute(compile=True))
    assert figures == pytest.approx(plain[0], rel=1e-4)
    assert_close(plain[1], found, 1e-4)
    assert list(model.state_dict()) == list(plain[2].state_dict())


def test_a_run_in_micro_batches_is_the_run_and_the_diary_says_who_waited(
    config: TrainConfig, tiny_data: Data, tmp_path: Path
) -> None:
    parts = replace(config, compute=Compute(accumulate=4), workers=2)
    for name, asked in (("one", config), ("four", parts)):
        train(asked, tiny_data, tmp_path / name, quiet=True)
    one, four = (read_journal(tmp_path / name, timing=False) for name in ("one", "four"))
    for a, b in zip(one, four, strict=True):
        assert (b.pop("phase"), b) == (a.pop("phase"), pytest.approx(a, rel=1e-4))
    steps = [entry for entry in read_journal(tmp_path / "four") if entry["phase"] == "model"]
    assert all(0 < entry["wait_share"] < 1 and entry["step_s"] > 0 for entry in steps)
