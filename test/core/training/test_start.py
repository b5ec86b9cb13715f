# SPDX-License-Identifier: Apache-2.0
"""Laws of starting from a checkpoint: what has a counterpart is kept bit for bit, the rest named.

The oracle for what a modulation's columns mean is what it computes: a camera or a number of the
state that is new has no say in it at first, one that is gone counts as zero.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from uwm_core.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from uwm_core.config import ModelConfig
from uwm_core.data.normalize import Affine, Normalizer
from uwm_core.data.windows import Steps
from uwm_core.embodiment import Embodiment
from uwm_core.errors import CheckpointError, SpecError
from uwm_core.spec import dump_spec, parse_spec
from uwm_core.training.config import ModelTraining, TrainConfig
from uwm_core.training.loop import Data, train
from uwm_core.training.start import Start, carry_over, take_weights
from uwm_core.world_model import WorldModel

ACTION_TENSORS = {
    "denoiser.action_in.0.weight",
    "denoiser.action_out.2.weight",
    "denoiser.action_out.2.bias",
}


def affine(names: Sequence[str], reach: float = 1.0) -> Affine:
    return Affine(tuple(names), np.full(len(names), -reach), np.full(len(names), reach))


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


def test_equal_sizes_keep_every_tensor(tiny_checkpoint: Checkpoint) -> None:
    _, new, renewed = carried(tiny_checkpoint)
    assert renewed == unlike(tiny_checkpoint, new) == set()


def test_another_action_size_renews_the_actions_own_tensors_alone(
    tiny_checkpoint: Checkpoint,
) -> None:
    names = tiny_checkpoint.normalizer.action.names
    old, new, renewed = carried(tiny_checkpoint, action=["extra", *reversed(names)])
    assert renewed == unlike(tiny_checkpoint, new) == ACTION_TENSORS
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


def test_a_new_camera_has_no_say_in_the_condition_at_first(tiny_checkpoint: Checkpoint) -> None:
    old, new, renewed = carried(tiny_checkpoint, views=("front", "side", "wrist"))
    assert renewed == unlike(tiny_checkpoint, new)
    parts = features(new.config)
    ours = conditioned(new, *(parts[name] for name in ("front", "side", "wrist", "state")))
    theirs = conditioned(old, *(parts[name] for name in ("front", "wrist", "state")))
    torch.testing.assert_close(ours, theirs)
    times = torch.rand(3), torch.rand(3)
    for mine, other in zip(new.denoiser.of_time(*times), old.denoiser.of_time(*times), strict=True):
        torch.testing.assert_close(mine, other)


def test_tokens_of_known_cameras_stay_where_they_were_said_to_be(
    tiny_checkpoint: Checkpoint,
) -> None:
    old, new, _ = carried(tiny_checkpoint, views=("front", "side", "wrist"))
    latents = torch.randn(2, 3, *new.config.latent_shape)
    each = new.config.patches // 3
    tokens = new.denoiser.next_tokens(latents)
    known = torch.cat([tokens[:, :each], tokens[:, 2 * each :]], dim=1)
    torch.testing.assert_close(known, old.denoiser.next_tokens(latents[:, [0, 2]]))
    registers = new.config.registers
    assert torch.equal(new.denoiser.position[:, -registers:], old.denoiser.position[:, -registers:])
    images = torch.rand(1, 3, 1, 3, 32, 32)
    assert torch.equal(
        new.observer.encoders[2](images[0, 2]), old.observer.encoders[1](images[0, 2])
    )


def test_a_camera_that_is_gone_counts_as_zero(tiny_checkpoint: Checkpoint) -> None:
    old, new, _ = carried(tiny_checkpoint, views=("wrist",))
    parts = features(new.config)
    ours = conditioned(new, parts["wrist"], parts["state"])
    theirs = conditioned(old, torch.zeros_like(parts["front"]), parts["wrist"], parts["state"])
    torch.testing.assert_close(ours, theirs)


def test_a_camera_of_another_name_takes_the_place_of_the_one_that_is_gone(
    tiny_checkpoint: Checkpoint,
) -> None:
    _, new, renewed = carried(tiny_checkpoint, views=("scene", "wrist"))
    assert renewed == unlike(tiny_checkpoint, new) == set()


def test_what_goes_on_under_another_name_is_said(folder: Path, tiny_checkpoint: Checkpoint) -> None:
    config = dataclasses.replace(tiny_checkpoint.config, views=("scene", "wrist"))
    start = started(folder, config, tiny_checkpoint.normalizer, sizes="renew")
    assert start.renamed == ("scene goes on as front did",)
    assert start.renamed[0] in str(start)
    same = started(folder, tiny_checkpoint.config, tiny_checkpoint.normalizer)
    assert str(same).endswith("every tensor as it was")


def test_state_is_told_apart_by_its_names(tiny_checkpoint: Checkpoint) -> None:
    assert tiny_checkpoint.normalizer.state is not None
    names = tiny_checkpoint.normalizer.state.names
    old, new, _ = carried(tiny_checkpoint, state=["force", *reversed(names)])
    parts = features(new.config)
    ours = torch.cat([torch.randn(3, 1, 1), parts["state"].flip(-1)], dim=-1)
    torch.testing.assert_close(
        conditioned(new, parts["front"], parts["wrist"], ours),
        conditioned(old, parts["front"], parts["wrist"], parts["state"]),
    )
    old, new, _ = carried(tiny_checkpoint, state=[])
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


# The run's own choice


def refitted(normalizer: Normalizer) -> Normalizer:
    """The same names, other limits."""
    assert normalizer.state is not None
    return Normalizer(affine(normalizer.action.names, 3.0), affine(normalizer.state.names, 3.0))


def started(folder: Path, config: ModelConfig, fitted: Normalizer, **choice: str) -> Start:
    settings = parse_spec(dump_spec({"given": str(folder), **choice}), ModelTraining)
    return take_weights(born(config), settings, fitted, "the store")


@pytest.fixture(scope="module")
def folder(tiny_checkpoint: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_checkpoint(tmp_path_factory.mktemp("given") / "before", tiny_checkpoint)


def test_another_normaliser_is_refused_unless_one_is_chosen(
    folder: Path, tiny_checkpoint: Checkpoint
) -> None:
    config, kept = tiny_checkpoint.config, tiny_checkpoint.normalizer
    other = refitted(kept)
    with pytest.raises(CheckpointError, match=r"another normaliser than the store gives; .*keep"):
        started(folder, config, other)
    assert started(folder, config, kept).normalizer.dumps() == kept.dumps()
    assert started(folder, config, other, normalizer="keep").normalizer.dumps() == kept.dumps()
    assert started(folder, config, other, normalizer="refit").normalizer.dumps() == other.dumps()


def test_a_normaliser_of_other_names_cannot_be_kept(
    folder: Path, tiny_checkpoint: Checkpoint
) -> None:
    config, kept = tiny_checkpoint.config, tiny_checkpoint.normalizer
    assert kept.state is not None
    renamed = Normalizer(affine(["elsewhere", *kept.action.names[1:]]), kept.state)
    with pytest.raises(CheckpointError, match=r"cannot be kept: its actions .*'elsewhere'.*refit"):
        started(folder, config, renamed, normalizer="keep")
    stateless = dataclasses.replace(config, state_size=0)
    with pytest.raises(CheckpointError, match="cannot be kept: its state are"):
        started(folder, stateless, Normalizer(kept.action), normalizer="keep", sizes="renew")


def test_other_sizes_are_refused_unless_asked_for(
    folder: Path, tiny_checkpoint: Checkpoint
) -> None:
    kept = tiny_checkpoint.normalizer
    longer = Normalizer(affine([*kept.action.names, "extra"]), kept.state)
    config = dataclasses.replace(tiny_checkpoint.config, action_size=9)
    with pytest.raises(CheckpointError, match=r"action_size \(8, here 9\); sizes: renew"):
        started(folder, config, longer, normalizer="refit")
    start = started(folder, config, longer, normalizer="refit", sizes="renew")
    assert {tensor.name for tensor in start.renewed} == ACTION_TENSORS
    hidden = config.mlp_ratio * config.width
    assert f"denoiser.action_in.0.weight: {8 * hidden} of {9 * hidden} numbers kept" in str(start)


def test_choices_without_a_checkpoint_are_a_mistake() -> None:
    with pytest.raises(SpecError, match="normalizer is about the checkpoint that is given"):
        parse_spec("model: {normalizer: keep}", TrainConfig)
    assert "normalizer" not in dump_spec(TrainConfig())  # older runs can be resumed


@pytest.mark.parametrize("choice", ["keep", "refit"])
def test_a_run_scales_by_the_normaliser_of_its_choice(
    choice: str,
    folder: Path,
    tiny_checkpoint: Checkpoint,
    tiny_config: TrainConfig,
    tiny_steps: Steps,
    tiny_embodiment: Embodiment,
    tmp_path: Path,
) -> None:
    model = ModelTraining(
        given=str(folder), normalizer=choice, iterations=1, batch=4, draws=1, learning_rate=1e-9
    )
    config = dataclasses.replace(tiny_config, model=model)
    louder = dataclasses.replace(tiny_steps, action=tiny_steps.action * 2)
    data = Data.prepare(louder, tiny_embodiment, config)
    saved = train(config, data, tmp_path, quiet=True)
    written = (saved / "normalizer.json").read_bytes()
    kept = (folder / "normalizer.json").read_bytes()
    assert written == (kept if choice == "keep" else data.normalizer.dumps().encode())
    assert kept != data.normalizer.dumps().encode()


def test_a_run_with_another_camera_says_what_it_began_with(
    folder: Path,
    tiny_config: TrainConfig,
    tiny_steps: Steps,
    tiny_embodiment: Embodiment,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    model = ModelTraining(
        given=str(folder), sizes="renew", iterations=1, batch=4, draws=1, learning_rate=1e-9
    )
    config = dataclasses.replace(tiny_config, model=model)
    camera = tiny_embodiment.cameras["front"]
    robot = dataclasses.replace(
        tiny_embodiment,
        cameras={**tiny_embodiment.cameras, "side": dataclasses.replace(camera, topic="side")},
    )
    images = {**tiny_steps.images, "side": tiny_steps.images["front"]}
    data = Data.prepare(dataclasses.replace(tiny_steps, images=images), robot, config)
    saved = load_checkpoint(train(config, data, tmp_path))
    assert saved.config.views == ("front", "side", "wrist")
    before = load_checkpoint(folder)
    # A step at a rate of 1e-9 moves nothing far: what was kept is still there.
    shared = [n for n in before.weights if n.startswith("denoiser.blocks.") and ".attn." in n]
    assert all(torch.allclose(saved.weights[n], before.weights[n], atol=1e-6) for n in shared)
    start = saved.training["start"]
    assert (start["version"], start["normalizer"]) == (before.version, "same")
    assert any(line.startswith("denoiser.position: ") for line in start["renewed"])
    assert any(line == "observer.encoders.1.out.bias: new" for line in start["renewed"])
    printed = capsys.readouterr().out
    assert all(line in printed for line in start["renewed"])
