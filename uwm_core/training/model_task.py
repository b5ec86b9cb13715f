# SPDX-License-Identifier: Apache-2.0
"""Phase 2: actions and next observations, in batches that ranks and micro-batches divide.

Batch ``step`` is one batch for the whole team. Its windows, their roles, crops, times and noise
follow from seed and step alone; every rank computes the rows that are its own.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from uwm_core.batch import Batch, Losses
from uwm_core.data.dataset import Loader, WindowBatch, WindowReader
from uwm_core.data.plan import BatchPlan
from uwm_core.data.windows import Rows
from uwm_core.parts import Part
from uwm_core.training.codec import next_latent
from uwm_core.training.config import TrainConfig
from uwm_core.training.engine import Engine
from uwm_core.training.optim import seeded
from uwm_core.training.optimise import Piece
from uwm_core.training.team import ALONE, Team
from uwm_core.world_model import WorldModel

if TYPE_CHECKING:
    from uwm_core.training.loop import Data

_HELD_DRAWS = 4  # noise draws per held-out window


class ModelTask:
    """Phase 2.

    Args:
        model: The world model; its codec is frozen.
        data: The store.
        latents: (N, V, C, h, w) of every row, on the CPU.
        config: Sizes of batches and validation, and how they are computed.
        team: Who shares the batches.
    """

    name = "model"
    divided = True
    figures: Mapping[str, float]
    """What the last validation gave."""
    loader: Loader
    """Reads the batches; to be closed at the end."""

    def __init__(
        self,
        model: WorldModel,
        data: Data,
        latents: Tensor,
        config: TrainConfig,
        team: Team = ALONE,
    ) -> None:
        self.module = model
        model.codec.requires_grad_(False)
        self._latents, self._settings, self._seed = latents, config.model, config.seed
        self._pieces = config.compute.accumulate
        self._windows = data.windows(model, data.split.train)
        sampling = replace(
            data.sampling(config), rank=team.rank, world=team.size, pieces=self._pieces
        )
        self._plan = BatchPlan(self._windows, sampling)
        self.loader = Loader(
            WindowReader(data.steps, self._windows, data.normalizer),
            self._plan,
            workers=config.workers,
            next_images=False,
        )
        held = data.windows(model, data.split.validation)
        self._held = WindowReader(data.steps, held, data.normalizer)
        self._held_index = _spread(len(held), config.validation_windows)
        self.figures = {}
        self._engine = Engine(model, config.compute, team)

    @property
    def sharded(self) -> bool:
        """Whether every rank holds a piece of each parameter."""
        return self._engine.sharded

    def pieces(self, step: int) -> Iterator[Piece]:
        """This rank's micro-batches of batch ``step``."""
        self.module.train()
        self.module.codec.eval()
        role = self._windows.role[self._plan.batch(step)]
        for piece in range(self._pieces):
            began = time.perf_counter()
            batch = self._batch(self.loader.batch(step * self._pieces + piece))
            wait_s = time.perf_counter() - began
            with self._engine.step_ends(piece == self._pieces - 1):
                places = self._plan.places(piece)
                losses = self._losses(batch, role, places, (2, step), self._settings.draws)
                yield Piece(
                    loss=self._settings.action_weight * losses.action + losses.next_obs,
                    figures={
                        "action": losses.action.detach(),
                        "next_obs": losses.next_obs.detach(),
                    },
                    wait_s=wait_s,
                )

    @torch.no_grad()
    def validate(self) -> Mapping[str, float]:
        """Losses with always the same noise, on the same windows of held-out episodes.

        The ranks divide every batch, and a rank goes through its rows as it does in training.
        """
        if not len(self._held_index):
            return {}
        self.module.eval()
        size, parts, counts = self._settings.batch, [], []
        for n, start in enumerate(range(0, len(self._held_index), size)):
            index = self._held_index[start : start + size]
            parts.append([self._held_losses(index, n, piece) for piece in range(self._pieces)])
            counts.append(len(index))
        mine = np.array(parts).sum(1)  # (batches, 2)
        sums = self._engine.team.gather(mine.ravel().tolist()).sum(0).reshape(-1, 2)
        weights = np.array(counts, dtype=np.float64)
        action, next_obs = (float(np.average(sums[:, k], weights=weights)) for k in (0, 1))
        self.figures = {"loss": action + next_obs, "action": action, "next_obs": next_obs}
        return self.figures

    def _held_losses(self, index: Rows, number: int, piece: int) -> npt.NDArray[np.float64]:
        """What one piece adds to the losses of held-out batch ``number``: (2,)."""
        places = self._plan.places(piece)
        mine = index[places]
        # Every rank goes through the network as often as the others: FSDP's exchanges need it.
        idle = not len(mine)
        batch = self._batch(self._held.read(index[:1] if idle else mine, next_images=False))
        role = self._held.windows.role[index]
        places = slice(0, 1) if idle else places
        losses = self._losses(batch, role, places, (3, number), _HELD_DRAWS)
        found = np.array([float(losses.action), float(losses.next_obs)])
        return np.zeros(2) if idle else found

    def _losses(
        self,
        batch: Batch,
        role: Rows,
        places: slice,
        use: tuple[int, int],
        draws: int,
    ) -> Losses:
        """Losses of the rows at ``places`` of a batch with these roles; ``use`` seeds the draws."""
        device = self._engine.team.device
        rows = torch.arange(len(role))[places]
        part = Part(rows=rows.to(device), role=torch.from_numpy(role).to(device))
        generator = seeded(self._seed, *use, device)
        return self._engine.losses(batch, part, generator, draws)

    def _batch(self, read: WindowBatch) -> Batch:
        batch = Batch(
            images=read.images,
            state=read.state,
            action=read.action,
            next_latent=next_latent(self._latents, read.next_rows),
            role=read.role,
        )
        return self._engine.here(batch)


def _spread(count: int, most: int) -> Rows:
    """At most ``most`` of ``count`` windows, evenly spread."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).astype(np.int64))
