# SPDX-License-Identifier: Apache-2.0
"""Laws of a run that starts from a checkpoint: what may differ is chosen, and the run says it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from uwm_core.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from uwm_core.config import EncoderConfig, ModelConfig
from uwm_core.data.normalize import Affine, Normalizer
from uwm_core.data.windows import Steps
from uwm_core.embodiment import Embodiment
from uwm_core.errors import CheckpointError, SpecError
from uwm_core.model.encoders import ResNet18
from uwm_core.spec import dump_spec, parse_spec
from uwm_core.training.config import ModelTraining, TrainConfig
from uwm_core.training.loop import Data, train
from uwm_core.training.start import Start, take_weights
from uwm_core.world_model import WorldModel


def affine(names: Sequence[str], reach: float = 1.0) -> Affine:
    return Affine(tuple(names), np.full(len(names), -reach), np.full(len(names), reach))


def refitted(normalizer: Normalizer) -> Normalizer:
    """The same names, other limits."""
    assert normalizer.state is not None
    return Normalizer(affine(normalizer.action.names, 3.0), affine(normalizer.state.names, 3.0))


def started(folder: Path, config: ModelConfig, fitted: Normalizer, **choice: str) -> Start:
    settings = parse_spec(dump_spec({"given": str(folder), **choice}), ModelTraining)
    return take_weights(WorldModel(config), settings, fitted, "the store")


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
    assert {tensor.name for tensor in start.renewed} == {
        *("denoiser.action_in.0.weight", "denoiser.action_out.2.weight"),
        "denoiser.action_out.2.bias",
    }
    hidden = config.mlp_ratio * config.width
    assert f"denoiser.action_in.0.weight: {8 * hidden} of {9 * hidden} numbers kept" in str(start)


def test_what_goes_on_under_another_name_is_said(folder: Path, tiny_checkpoint: Checkpoint) -> None:
    config = dataclasses.replace(tiny_checkpoint.config, views=("scene", "wrist"))
    start = started(folder, config, tiny_checkpoint.normalizer, sizes="renew")
    assert start.renamed == ("scene goes on as front did",)
    assert start.renamed[0] in str(start)
    same = started(folder, tiny_checkpoint.config, tiny_checkpoint.normalizer)
    assert str(same).endswith("every tensor as it was")


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


def test_a_run_begins_with_imagenets_convolutions(
    tiny_config: TrainConfig, tiny_data: Data, tmp_path: Path
) -> None:
    encoder = EncoderConfig(kind="resnet18", features=8)
    weights = {
        name: torch.randn_like(value)
        for name, value in ResNet18(8).state_dict().items()
        if value.ndim == 4
    }
    save_file(weights, tmp_path / "resnet18.safetensors")
    model = ModelTraining(
        encoder_weights=str(tmp_path / "resnet18.safetensors"),
        iterations=1,
        batch=4,
        draws=1,
        learning_rate=1e-9,
    )
    config = dataclasses.replace(tiny_config, encoder=encoder, model=model)
    saved = load_checkpoint(train(config, tiny_data, tmp_path / "run", quiet=True))
    for name, value in weights.items():
        found = saved.weights[f"observer.encoders.0.{name}"]
        torch.testing.assert_close(found, value, atol=1e-6, rtol=0)
    with pytest.raises(SpecError, match="encoder_weights would replace what given brings"):
        parse_spec("model: {given: sim_lift, encoder_weights: a.pth}", TrainConfig)
