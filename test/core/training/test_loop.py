# SPDX-License-Identifier: Apache-2.0
"""Laws of a run: a resumed one is the uninterrupted one, and nothing is half-done.

The interruption comes from the images themselves: an array that raises SIGINT when it is read for
the n-th time, which is the same moment in every run.
"""

from __future__ import annotations

import dataclasses
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from uwm_core.checkpoint import load_checkpoint
from uwm_core.errors import CheckpointError, StoreError, UwmError
from uwm_core.training.config import CodecTraining, Compute, TrainConfig
from uwm_core.training.journal import read_journal
from uwm_core.training.loop import Data, train
from uwm_core.training.optimise import Interrupted, Piece, Plan, optimise


class Interrupting:
    """Images that press Ctrl-C when they are read for the ``fatal``-th time."""

    def __init__(self, images: np.ndarray, fatal: int) -> None:
        self._images, self._left = images, fatal
        self.shape = images.shape

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: np.ndarray) -> np.ndarray:
        self._left -= 1
        if self._left == 0:
            signal.raise_signal(signal.SIGINT)
        return self._images[index]


def interrupted_after(data: Data, reads: int) -> Data:
    images = {**data.steps.images, "front": Interrupting(data.steps.images["front"], reads)}
    return dataclasses.replace(data, steps=dataclasses.replace(data.steps, images=images))


@pytest.fixture(scope="module")
def whole(
    tiny_config: TrainConfig, tiny_data: Data, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """An uninterrupted run."""
    out = tmp_path_factory.mktemp("whole")
    train(tiny_config, tiny_data, out, quiet=True)
    return out


@pytest.mark.parametrize("reads", [2, 3, 10, 12], ids=["codec", "codec2", "model", "model2"])
def test_resumed_run_equals_the_uninterrupted_one(
    tiny_config: TrainConfig, tiny_data: Data, whole: Path, tmp_path: Path, reads: int
) -> None:
    with pytest.raises(Interrupted, match="--resume goes on"):
        train(tiny_config, interrupted_after(tiny_data, reads), tmp_path, quiet=True)
    assert len(read_journal(tmp_path)) < len(read_journal(whole))
    train(tiny_config, tiny_data, tmp_path, resume=True, quiet=True)
    assert read_journal(tmp_path, timing=False) == read_journal(whole, timing=False)
    for name in ("model.safetensors", "normalizer.json", "training.json"):
        same = (tmp_path / "checkpoint" / name).read_bytes()
        assert same == (whole / "checkpoint" / name).read_bytes(), name


def test_every_step_is_in_the_diary_once(tiny_config: TrainConfig, whole: Path) -> None:
    entries = read_journal(whole)
    steps = {
        phase: [entry["step"] for entry in entries if entry["phase"] == phase]
        for phase in ("codec", "model", "codec_validation", "model_validation")
    }
    assert steps["codec"] == list(range(tiny_config.codec.iterations))
    assert steps["model"] == list(range(tiny_config.model.iterations))
    assert steps["codec_validation"] == [2, 3]
    assert steps["model_validation"] == [2, 5]
    assert list(whole.glob("events.out.tfevents.*")) or list((whole / "tensorboard").glob("*"))


def test_checkpoint_remembers_its_held_out_episodes(tiny_data: Data, whole: Path) -> None:
    checkpoint = load_checkpoint(whole / "checkpoint")
    assert checkpoint.training["held_out"] == list(tiny_data.split.validation)
    assert checkpoint.training["step"] == 6
    assert set(checkpoint.training["metrics"]) == {"loss", "action", "next_obs"}
    checkpoint.build()


def test_a_run_is_not_written_over(tiny_config: TrainConfig, tiny_data: Data, whole: Path) -> None:
    with pytest.raises(StoreError, match="already holds a run; --resume"):
        train(tiny_config, tiny_data, whole, quiet=True)


def test_another_run_is_not_resumed(tiny_config: TrainConfig, tiny_data: Data, whole: Path) -> None:
    other = dataclasses.replace(tiny_config, seed=6)
    with pytest.raises(CheckpointError, match="another config or store"):
        train(other, tiny_data, whole, resume=True, quiet=True)
    elsewhere = dataclasses.replace(
        tiny_config, threads=2, compute=Compute(accumulate=2, checkpointing=True)
    )
    train(elsewhere, tiny_data, whole, resume=True, quiet=True)
    rounded = dataclasses.replace(tiny_config, compute=Compute(precision="bfloat16"))
    with pytest.raises(CheckpointError, match="another config or store"):
        train(rounded, tiny_data, whole, resume=True, quiet=True)


def test_a_given_codec_is_taken_as_it_is(
    tiny_config: TrainConfig, tiny_data: Data, whole: Path, tmp_path: Path
) -> None:
    given = CodecTraining(given=str(whole / "checkpoint"))
    train(dataclasses.replace(tiny_config, codec=given), tiny_data, tmp_path, quiet=True)
    first, second = (load_checkpoint(out / "checkpoint").weights for out in (whole, tmp_path))
    names = [name for name in first if name.startswith("codec.")]
    assert names
    assert all(torch.equal(first[name], second[name]) for name in names)
    assert {entry["phase"] for entry in read_journal(tmp_path)} == {"model", "model_validation"}


def test_a_run_can_start_from_given_weights_of_its_own_units_alone(
    tiny_config: TrainConfig, tiny_data: Data, whole: Path, tmp_path: Path
) -> None:
    given = dataclasses.replace(
        tiny_config.model, given=str(whole / "checkpoint"), iterations=1, learning_rate=1e-9
    )
    config = dataclasses.replace(tiny_config, model=given)
    train(config, tiny_data, tmp_path / "on", quiet=True)
    first, second = (
        load_checkpoint(out / "checkpoint").weights for out in (whole, tmp_path / "on")
    )
    assert all(torch.allclose(first[key], second[key], atol=1e-6) for key in first)
    other = Data.prepare(
        dataclasses.replace(tiny_data.steps, action=tiny_data.steps.action * 2),
        tiny_data.embodiment,
        config,
    )
    with pytest.raises(CheckpointError, match="another normaliser"):
        train(config, other, tmp_path / "off", quiet=True)


class Scalar:
    """Learn one number: (weight - 3)^2, or worse."""

    name = "scalar"
    divided = True
    sharded = False

    def __init__(self, scale: float = 1.0) -> None:
        self.module: nn.Module = nn.Linear(1, 1, bias=False)
        self._scale = scale

    def pieces(self, step: int) -> Iterator[Piece]:
        weight = next(self.module.parameters())
        for _ in range(2):
            yield Piece(loss=self._scale * (weight - 3).square().sum() / 2)

    def validate(self) -> dict[str, float]:
        return {}


PLAN = Plan(
    iterations=200,
    learning_rate=0.2,
    warmup=5,
    weight_decay=0.0,
    clip_norm=10.0,
    ema_decay=0.9,
    validate_every=50,
    save_every=200,
    stamp="x",
)


def test_the_loop_finds_a_minimum_that_is_known(tmp_path: Path) -> None:
    task = Scalar()
    optimise(task, PLAN, tmp_path, quiet=True)
    assert next(task.module.parameters()).item() == pytest.approx(3.0, abs=0.02)


def test_a_loss_that_is_not_finite_stops_the_run_and_saves_nothing(tmp_path: Path) -> None:
    with pytest.raises(UwmError, match="diverged at step 0"):
        optimise(Scalar(float("inf")), PLAN, tmp_path, quiet=True)
    assert not list(tmp_path.glob("state_*"))
