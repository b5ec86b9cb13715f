# SPDX-License-Identifier: Apache-2.0
"""Laws of `from_pretrained` and `save_pretrained`: there and back is the same, bit for bit."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from uwm_core.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from uwm_core.data.normalize import Affine, Normalizer
from uwm_core.errors import CheckpointError, UnknownNameError
from uwm_core.policy import Policy
from uwm_core.world_model import WorldModel


def test_there_and_back_is_the_same_model(tiny_checkpoint: Checkpoint, tmp_path: Path) -> None:
    model = tiny_checkpoint.build()
    folder = model.save_pretrained(
        tmp_path / "model",
        embodiment=tiny_checkpoint.embodiment,
        normalizer=tiny_checkpoint.normalizer,
        training={"step": 3},
    )
    back = WorldModel.from_pretrained(folder)
    assert not back.training
    assert back.config == model.config
    mine, theirs = model.state_dict(), back.state_dict()
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)


def test_the_folder_is_the_one_that_a_checkpoint_writes(
    tiny_checkpoint: Checkpoint, tmp_path: Path
) -> None:
    folder = tiny_checkpoint.build().save_pretrained(
        tmp_path / "by_model",
        embodiment=tiny_checkpoint.embodiment,
        normalizer=tiny_checkpoint.normalizer,
        training=tiny_checkpoint.training,
    )
    other = save_checkpoint(tmp_path / "by_checkpoint", tiny_checkpoint)
    files = sorted(path.name for path in other.iterdir())
    assert files == sorted(path.name for path in folder.iterdir())
    assert "README.md" in files
    for name in files:
        assert (folder / name).read_bytes() == (other / name).read_bytes(), name
    assert Policy.load(folder).version == load_checkpoint(other).version


def test_a_bundled_name_is_enough_and_a_wrong_one_says_what_is_there() -> None:
    model = WorldModel.from_pretrained("sim_lift")
    stored = load_checkpoint("sim_lift").weights
    # The shipped weights are rounded to float16 in the file; loading rounds nothing more.
    assert all(
        torch.equal(value.float(), stored[name].float())
        for name, value in model.state_dict().items()
    )
    with pytest.raises(UnknownNameError, match=r"Known: .*sim_lift"):
        WorldModel.from_pretrained("sim_lfit")


def test_a_robot_that_is_not_the_models_is_not_saved_with_it(
    tiny_checkpoint: Checkpoint, tmp_path: Path
) -> None:
    model = tiny_checkpoint.build()
    names = tiny_checkpoint.embodiment.action_names
    shorter = Affine(names[:-1], np.zeros(7), np.ones(7))
    normalizer = Normalizer(shorter, tiny_checkpoint.normalizer.state)
    with pytest.raises(CheckpointError, match="disagree about actions"):
        model.save_pretrained(
            tmp_path / "x", embodiment=tiny_checkpoint.embodiment, normalizer=normalizer
        )
    slower = dataclasses.replace(tiny_checkpoint.embodiment, rate_hz=5.0)
    with pytest.raises(CheckpointError, match="disagree about rate_hz"):
        model.save_pretrained(
            tmp_path / "x", embodiment=slower, normalizer=tiny_checkpoint.normalizer
        )
    assert not (tmp_path / "x").exists()
