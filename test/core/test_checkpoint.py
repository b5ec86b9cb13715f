# SPDX-License-Identifier: Apache-2.0
"""Laws of checkpoints: whole or absent, exact, and refused when anything is not as it should be."""

from __future__ import annotations

import dataclasses
import json
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from uwm_core.checkpoint import Checkpoint, find_checkpoint, load_checkpoint, save_checkpoint
from uwm_core.data.normalize import Affine, Normalizer
from uwm_core.errors import CheckpointError, SpecError, UnknownNameError


@pytest.fixture
def saved(tiny_checkpoint: Checkpoint, tmp_path: Path) -> Path:
    return save_checkpoint(tmp_path / "ckpt", tiny_checkpoint)


def test_everything_comes_back_as_it_was(tiny_checkpoint: Checkpoint, saved: Path) -> None:
    back = load_checkpoint(saved)
    assert back.config == tiny_checkpoint.config
    assert back.embodiment == tiny_checkpoint.embodiment
    assert back.training == tiny_checkpoint.training
    assert back.normalizer.dumps() == tiny_checkpoint.normalizer.dumps()
    assert back.weights.keys() == tiny_checkpoint.weights.keys()
    for key, value in tiny_checkpoint.weights.items():
        assert torch.equal(back.weights[key], value), key
    assert back.name == "ckpt"
    built = back.build().state_dict()
    assert all(torch.equal(built[key], value) for key, value in back.weights.items())


def test_half_precision_rounds_once_and_never_again(
    tiny_checkpoint: Checkpoint, tmp_path: Path
) -> None:
    first = save_checkpoint(tmp_path / "a", tiny_checkpoint, dtype=torch.float16)
    built = load_checkpoint(first).build()
    again = dataclasses.replace(tiny_checkpoint, weights=built.state_dict())
    second = save_checkpoint(tmp_path / "b", again, dtype=torch.float16)
    assert (first / "model.safetensors").read_bytes() == (second / "model.safetensors").read_bytes()
    for key, value in tiny_checkpoint.weights.items():
        torch.testing.assert_close(built.state_dict()[key], value, rtol=1e-3, atol=1e-6)


def test_a_new_checkpoint_replaces_the_old_one_whole(
    tiny_checkpoint: Checkpoint, saved: Path
) -> None:
    (saved / "stray.txt").write_text("of the old one")
    save_checkpoint(saved, dataclasses.replace(tiny_checkpoint, training={"step": 7}))
    assert load_checkpoint(saved).training == {"step": 7}
    assert sorted(path.name for path in saved.parent.iterdir()) == ["ckpt"]
    assert not (saved / "stray.txt").exists()


def test_version_follows_the_weights(tiny_checkpoint: Checkpoint, tmp_path: Path) -> None:
    one = load_checkpoint(save_checkpoint(tmp_path / "one", tiny_checkpoint))
    same = load_checkpoint(save_checkpoint(tmp_path / "same", tiny_checkpoint))
    weights = {key: value.clone() for key, value in tiny_checkpoint.weights.items()}
    first = next(key for key, value in weights.items() if value.is_floating_point())
    weights[first] += 1
    other = dataclasses.replace(tiny_checkpoint, weights=weights)
    different = load_checkpoint(save_checkpoint(tmp_path / "other", other))
    assert one.version == same.version != different.version
    assert len(one.version) == 12


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("normalizer.json", "no normaliser; it cannot drive a robot"),
        ("model.safetensors", r"no model\.safetensors"),
        ("config.json", r"no config\.json"),
        ("embodiment.yaml", r"no embodiment\.yaml"),
        ("training.json", r"no training\.json"),
    ],
)
def test_a_missing_file_is_refused_by_name(saved: Path, file: str, message: str) -> None:
    (saved / file).unlink()
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(saved)


def add_tensor(weights: dict[str, torch.Tensor]) -> None:
    weights["denoiser.stranger"] = torch.zeros(1)


def drop_tensor(weights: dict[str, torch.Tensor]) -> None:
    del weights["denoiser.position"]


def reshape_tensor(weights: dict[str, torch.Tensor]) -> None:
    weights["denoiser.position"] = weights["denoiser.position"][..., :-1].contiguous()


def spoil_tensor(weights: dict[str, torch.Tensor]) -> None:
    weights["denoiser.position"] = weights["denoiser.position"] * float("nan")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (add_tensor, "1 tensors that the model has not, the first is 'denoiser.stranger'"),
        (drop_tensor, "lacks 1 tensors, the first is 'denoiser.position'"),
        (reshape_tensor, r"denoiser\.position is \(.*\), the model's is"),
        (spoil_tensor, r"denoiser\.position has a value that is not finite"),
    ],
)
def test_weights_that_are_not_the_models_are_refused(
    saved: Path, change: Callable[[dict[str, torch.Tensor]], None], message: str
) -> None:
    weights = load_file(saved / "model.safetensors")
    change(weights)
    save_file(weights, saved / "model.safetensors")
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(saved).build()


def test_a_pickle_is_not_read(saved: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[Callable[[str], object], tuple[str]]:
            return (exec, ("raise SystemExit('executed')",))

    (saved / "model.safetensors").write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(CheckpointError, match="broken"):
        load_checkpoint(saved)


def test_truncated_weights_are_refused(saved: Path) -> None:
    whole = (saved / "model.safetensors").read_bytes()
    (saved / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CheckpointError, match="broken"):
        load_checkpoint(saved)


def test_unknown_setting_is_refused_with_a_hint(saved: Path) -> None:
    config = json.loads((saved / "config.json").read_text())
    config["dept"] = config.pop("depth")
    (saved / "config.json").write_text(json.dumps(config, indent=2))
    with pytest.raises(SpecError, match="Did you mean 'depth'"):
        load_checkpoint(saved)


def test_files_that_do_not_belong_together_are_refused(
    tiny_checkpoint: Checkpoint, saved: Path
) -> None:
    names = ("somewhere", *tiny_checkpoint.normalizer.action.names[1:])
    limits = np.zeros(len(names)), np.ones(len(names))
    foreign = Normalizer(Affine(names, *limits), tiny_checkpoint.normalizer.state)
    (saved / "normalizer.json").write_text(foreign.dumps())
    with pytest.raises(CheckpointError, match="disagree about actions"):
        load_checkpoint(saved)


def test_a_name_that_is_nothing_lists_what_would_have_worked(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="a path to a checkpoint folder"):
        find_checkpoint("no_such_checkpoint")
    with pytest.raises(UnknownNameError, match="checkpoint"):
        find_checkpoint(tmp_path / "nothing")


def test_model_card_says_what_it_drives(saved: Path) -> None:
    card = (saved / "README.md").read_text()
    assert card.startswith("---\nlicense: apache-2.0")
    assert "`fr3_sim`" in card
    assert "fr3_joint7, gripper_width" in card
    assert "| loss | 1 |" in card
