# SPDX-License-Identifier: Apache-2.0
"""A world small enough to learn in seconds: a robot with tiny images, a few made-up episodes."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from uwm_core.checkpoint import Checkpoint
from uwm_core.data.store import EpisodeRecord, StoreWriter
from uwm_core.data.windows import EpisodeSpan, Steps
from uwm_core.embodiment import Embodiment
from uwm_core.records import Step
from uwm_core.training.config import CodecTraining, ModelTraining, TrainConfig, fit_preset
from uwm_core.training.loop import Data
from uwm_core.world_model import WorldModel

LENGTHS = ((18, "expert"), (16, "expert"), (17, "expert"), (20, "play"), (19, "play"))


@pytest.fixture(scope="session")
def tiny_embodiment() -> Embodiment:
    """``fr3_sim`` with images just large enough for one token per view."""
    full = Embodiment.load("fr3_sim")
    config = fit_preset("sim_small", full)
    side = config.codec.factor * config.patch[1]
    cameras = {
        name: dataclasses.replace(camera, size=(side, side))
        for name, camera in full.cameras.items()
    }
    return dataclasses.replace(full, cameras=cameras)


@pytest.fixture(scope="session")
def tiny_steps(tiny_embodiment: Embodiment) -> Steps:
    """Five episodes: a spot that moves as the first joint is told to."""
    rng = np.random.default_rng(0)
    rows = sum(length for length, _ in LENGTHS)
    action = np.cumsum(rng.normal(0, 0.05, (rows, 8)), axis=0).astype(np.float32)
    state = np.roll(action, 1, axis=0)
    side = tiny_embodiment.cameras["front"].size[0]
    grid = np.arange(side)
    spot = (0.5 + 0.4 * np.sin(state[:, 0])) * side
    bright = 255 * np.exp(-((grid[None] - spot[:, None]) ** 2) / 20)  # (N, W)
    image = np.broadcast_to(bright[:, None, :, None], (rows, side, side, 3)).astype(np.uint8)
    episodes, start = [], 0
    for length, role in LENGTHS:
        episodes.append(EpisodeSpan(start=start, stop=start + length, role=role, task="move"))
        start += length
    return Steps(
        images={"front": image.copy(), "wrist": 255 - image},
        state=state,
        action=action,
        episodes=tuple(episodes),
    )


@pytest.fixture(scope="session")
def tiny_store(
    tiny_steps: Steps, tiny_embodiment: Embodiment, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The same episodes as a store on the disk; only to be read."""
    path = tmp_path_factory.mktemp("stores") / "tiny.zarr"
    with StoreWriter(path, tiny_embodiment) as writer:
        for span in tiny_steps.episodes:
            for row in range(span.start, span.stop):
                state, action = tiny_steps.state[row], tiny_steps.action[row]
                writer.add(
                    Step(
                        stamp_ns=row * tiny_embodiment.period_ns,
                        images={name: image[row] for name, image in tiny_steps.images.items()},
                        state={"joint_pos": state[:7], "gripper_width": state[7:]},
                        action={"joint_target": action[:7], "gripper_width": action[7:]},
                    )
                )
            writer.end_episode(EpisodeRecord(task=span.task, role=span.role))
        writer.commit()
    return path


@pytest.fixture(scope="session")
def vae_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny VAE as diffusers writes it: 4 channels, 2 px per latent cell."""
    diffusers = pytest.importorskip("diffusers")
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("vae")
    diffusers.AutoencoderKL(
        block_out_channels=(8, 16),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=4,
        norm_num_groups=4,
        sample_size=16,
    ).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_config() -> TrainConfig:
    """A run of a few steps."""
    return TrainConfig(
        seed=5,
        validation=0.3,
        codec=CodecTraining(iterations=4, batch=4, warmup=1),
        model=ModelTraining(iterations=6, batch=4, draws=1, warmup=2),
        validate_every=3,
        validation_windows=8,
        save_every=4,
        threads=1,
    )


@pytest.fixture(scope="session")
def tiny_data(tiny_steps: Steps, tiny_embodiment: Embodiment, tiny_config: TrainConfig) -> Data:
    """The episodes, split and measured."""
    return Data.prepare(tiny_steps, tiny_embodiment, tiny_config, "tiny")


@pytest.fixture(scope="session")
def tiny_checkpoint(tiny_data: Data) -> Checkpoint:
    """A checkpoint with random weights."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        model = WorldModel(fit_preset("sim_small", tiny_data.embodiment))
        # AdaLN-zero starts as a network that answers nothing: make every weight count.
        for parameter in model.parameters():
            parameter.data += 0.02 * torch.randn_like(parameter)
    return Checkpoint(
        config=model.config,
        embodiment=tiny_data.embodiment,
        normalizer=tiny_data.normalizer,
        weights=model.state_dict(),
        training={"data": {"steps": 90}, "metrics": {"loss": 1.0}},
        name="tiny",
    )
