# SPDX-License-Identifier: Apache-2.0
"""Laws of starting from a checkpoint: what has a counterpart is kept bit for bit, the rest named.

The oracle for what a modulation's columns mean is what it computes: a camera or a number of the
state that is new has no say in it at first, one that is gone counts as zero.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor

from uwm_core.checkpoint import Checkpoint
from uwm_core.config import ModelConfig
from uwm_core.data.normalize import Affine, Normalizer
from uwm_core.errors import CheckpointError
from uwm_core.training.start import carry_over
from uwm_core.world_model import WorldModel

ACTION_TENSORS = {
    "denoiser.action_in.0.weight",
    "denoiser.action_out.2.weight",
    "denoiser.action_out.2.bias",
}


def affine(names: Sequence[str], reach: float = 1.0) -> Affine:
    return Affine(tuple(names), np.full(len(names), -reach), np.full(len(names), reach))


@pytest.fixture(
    params=["one step, encoders of their own", "two steps, one encoder", "two steps, squeezed"]
)
def given(request: pytest.FixtureRequest, tiny_checkpoint: Checkpoint) -> Checkpoint:
    """Checkpoints whose condition and tokens are laid out differently."""
    if request.param.startswith("one"):
        return tiny_checkpoint
    config = dataclasses.replace(
        tiny_checkpoint.config,
        window=dataclasses.replace(tiny_checkpoint.config.window, history=2),
        encoder=dataclasses.replace(tiny_checkpoint.config.encoder, shared=True),
        condition_rank=6 if request.param.endswith("squeezed") else 0,
    )
    torch.manual_seed(5)
    model = WorldModel(config)
    for parameter in model.parameters():
        parameter.data += 0.02 * torch.randn_like(parameter)
    return dataclasses.replace(tiny_checkpoint, config=config, weights=model.state_dict())


def born(config: ModelConfig) -> WorldModel:
    torch.manual_seed(8)
    return WorldModel(config)


def carried(
    checkpoint: Checkpoint,
    *,
    action: Sequence[str] | None = None,
    state: Sequence[str] | None = None,
    views: tuple[str, ...] | None = None,
) -> tuple[WorldModel, WorldModel, set[str]]:
    """The checkpoint's model, one of other sizes that continues it, and what is said to be new."""
    kept = checkpoint.normalizer
    assert kept.state is not None
    actions = kept.action.names if action is None else tuple(action)
    states = kept.state.names if state is None else tuple(state)
    config = dataclasses.replace(
        checkpoint.config,
        views=views or checkpoint.config.views,
        action_size=len(actions),
        state_size=len(states),
    )
    new = born(config)
    normalizer = Normalizer(affine(actions), affine(states) if states else None)
    weights, renewed = carry_over(
        checkpoint.weights, new, checkpoint.config, (checkpoint.normalizer, normalizer)
    )
    new.load_state_dict(weights)
    return checkpoint.build(), new.eval(), {tensor.name for tensor in renewed}


def unlike(checkpoint: Checkpoint, model: WorldModel) -> set[str]:
    """Tensors that are not the checkpoint's, bit for bit."""
    return {
        name
        for name, value in model.state_dict().items()
        if name not in checkpoint.weights or not torch.equal(value, checkpoint.weights[name])
    }


def features(config: ModelConfig) -> dict[str, Tensor]:
    """Made-up features per view, and of the state: (3, T F) and (3, T, S)."""
    generator = torch.Generator().manual_seed(4)
    size = config.window.history * config.encoder.features
    views = {view: torch.randn(3, size, generator=generator) for view in ("front", "side", "wrist")}
    return {**views, "state": torch.randn(3, config.window.history, 8, generator=generator)}


def conditioned(model: WorldModel, *parts: Tensor) -> Tensor:
    """All modulations of a condition, side by side."""
    condition = torch.cat([part.flatten(1) for part in parts], dim=1)
    return torch.cat(model.denoiser.of_condition(condition), dim=1)


def test_equal_sizes_keep_every_tensor(given: Checkpoint) -> None:
    _, new, renewed = carried(given)
    assert renewed == unlike(given, new) == set()


def test_another_action_size_renews_the_actions_own_tensors_alone(
    given: Checkpoint,
) -> None:
    names = given.normalizer.action.names
    old, new, renewed = carried(given, action=["extra", *reversed(names)])
    assert renewed == unlike(given, new) == ACTION_TENSORS
    # What bears the same name does the same: the new number unsaid, the others in their old order.
    actions = torch.randn(2, new.config.window.chunk, 9)
    actions[..., 0] = 0
    torch.testing.assert_close(
        new.denoiser.action_tokens(actions),
        old.denoiser.action_tokens(actions[..., 1:].flip(-1)),
    )
    tokens = torch.randn(2, 3, new.config.width)
    answered = new.denoiser.action_out(tokens)[..., 1:].flip(-1)
    torch.testing.assert_close(answered, old.denoiser.action_out(tokens))


def test_a_new_camera_has_no_say_in_the_condition_at_first(given: Checkpoint) -> None:
    old, new, renewed = carried(given, views=("front", "side", "wrist"))
    assert renewed == unlike(given, new)
    parts = features(new.config)
    ours = conditioned(new, *(parts[name] for name in ("front", "side", "wrist", "state")))
    theirs = conditioned(old, *(parts[name] for name in ("front", "wrist", "state")))
    torch.testing.assert_close(ours, theirs)
    times = torch.rand(3), torch.rand(3)
    for mine, other in zip(new.denoiser.of_time(*times), old.denoiser.of_time(*times), strict=True):
        torch.testing.assert_close(mine, other)


def test_tokens_of_known_cameras_stay_where_they_were_said_to_be(
    given: Checkpoint,
) -> None:
    old, new, _ = carried(given, views=("front", "side", "wrist"))
    latents = torch.randn(2, 3, *new.config.latent_shape)
    each = new.config.patches // 3
    tokens = new.denoiser.next_tokens(latents)
    known = torch.cat([tokens[:, :each], tokens[:, 2 * each :]], dim=1)
    torch.testing.assert_close(known, old.denoiser.next_tokens(latents[:, [0, 2]]))
    registers = new.config.registers
    assert torch.equal(new.denoiser.position[:, -registers:], old.denoiser.position[:, -registers:])
    images = torch.rand(2, 3, 32, 32)
    mine, theirs = (
        new.observer.encoders[-1],
        old.observer.encoders[-1],
    )  # the wrist's, or all views'
    torch.testing.assert_close(mine(images), theirs(images))


def test_a_camera_that_is_gone_counts_as_zero(given: Checkpoint) -> None:
    old, new, _ = carried(given, views=("wrist",))
    parts = features(new.config)
    ours = conditioned(new, parts["wrist"], parts["state"])
    theirs = conditioned(old, torch.zeros_like(parts["front"]), parts["wrist"], parts["state"])
    torch.testing.assert_close(ours, theirs)


def test_a_camera_of_another_name_takes_the_place_of_the_one_that_is_gone(
    given: Checkpoint,
) -> None:
    _, new, renewed = carried(given, views=("scene", "wrist"))
    assert renewed == unlike(given, new) == set()


def test_state_is_told_apart_by_its_names(given: Checkpoint) -> None:
    assert given.normalizer.state is not None
    names = given.normalizer.state.names
    old, new, _ = carried(given, state=["force", *reversed(names)])
    parts = features(new.config)
    ours = torch.cat(
        [torch.randn(3, new.config.window.history, 1), parts["state"].flip(-1)], dim=-1
    )
    torch.testing.assert_close(
        conditioned(new, parts["front"], parts["wrist"], ours),
        conditioned(old, parts["front"], parts["wrist"], parts["state"]),
    )
    old, new, _ = carried(given, state=[])
    torch.testing.assert_close(
        conditioned(new, parts["front"], parts["wrist"]),
        conditioned(old, parts["front"], parts["wrist"], torch.zeros_like(parts["state"])),
    )


def test_what_cannot_be_carried_over_is_refused_by_name(tiny_checkpoint: Checkpoint) -> None:
    wider = dataclasses.replace(tiny_checkpoint.config, heads=2, registers=5)
    normalizers = (tiny_checkpoint.normalizer, tiny_checkpoint.normalizer)
    with pytest.raises(
        CheckpointError, match=r"heads \(4, here 2\), registers \(4, here 5\); only"
    ):
        carry_over(tiny_checkpoint.weights, born(wider), tiny_checkpoint.config, normalizers)


def test_where_the_vae_lies_and_how_large_images_are_stored_does_not_matter(
    tiny_checkpoint: Checkpoint,
) -> None:
    config = tiny_checkpoint.config
    elsewhere = dataclasses.replace(
        config,
        name="another",
        images=dataclasses.replace(config.images, size=(64, 48), resize=config.images.seen),
        codec=dataclasses.replace(config.codec, source="/here/vae"),
    )
    normalizers = (tiny_checkpoint.normalizer, tiny_checkpoint.normalizer)
    carried_over = carry_over(tiny_checkpoint.weights, born(elsewhere), config, normalizers)
    assert carried_over[1] == ()
    wide = dataclasses.replace(config, images=dataclasses.replace(config.images, size=(48, 48)))
    with pytest.raises(CheckpointError, match="differs in images"):
        carry_over(tiny_checkpoint.weights, born(wide), config, normalizers)
