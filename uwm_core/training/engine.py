# SPDX-License-Identifier: Apache-2.0
"""How a step's loss is computed: device, precision, what is kept for the way back, what is shared.

None of it changes what is learned, but for the rounding of `precision`. Every rank computes its
rows' part of the loss (`uwm_core.parts`); DDP or FSDP bring the gradients together.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.checkpoint import checkpoint

from uwm_core.batch import Batch, Losses
from uwm_core.parts import Part
from uwm_core.training.config import Compute
from uwm_core.training.team import Team, whole
from uwm_core.world_model import WorldModel


class Engine:
    """A world model's losses, as one rank of a team computes them.

    Args:
        model: Is moved to the team's device, and changed in place as ``compute`` asks; its
            parameters keep their names.
        compute: What is asked.
        team: Who else computes.
    """

    def __init__(self, model: WorldModel, compute: Compute, team: Team) -> None:
        self.team = team
        model.to(team.device)
        if compute.checkpointing:
            for block in model.denoiser.blocks:
                # Kept as an attribute: a wrapping module would rename every parameter.
                block.forward = partial(checkpoint, block.forward, use_reentrant=False)
        if compute.compile:
            model.denoiser.compile()
            model.observer.compile()
        self.sharded = team.size > 1 and compute.parallel == "fsdp"
        self._forward: nn.Module = _Forward(model, compute, team.device)
        if self.sharded:
            _shard(self._forward, model)
        elif team.size > 1:
            self._forward = DistributedDataParallel(self._forward, gradient_as_bucket_view=True)

    def losses(self, batch: Batch, part: Part, generator: torch.Generator, draws: int) -> Losses:
        """What this rank's rows add to the losses of the whole; see `WorldModel.loss`."""
        action, next_obs = self._forward(batch, part, generator, draws)
        return Losses(total=action + next_obs, action=action, next_obs=next_obs)

    @contextmanager
    def step_ends(self, ends: bool) -> Iterator[None]:
        """Around forward and backward: gradients are brought together only where a step ends."""
        if ends or not isinstance(self._forward, DistributedDataParallel):
            yield
        else:
            with self._forward.no_sync():
                yield

    def here(self, batch: Batch) -> Batch:
        """The batch on this rank's device."""
        if self.team.device.type == "cpu":
            return batch
        moved: dict[str, Any] = {
            field.name: self._moved(getattr(batch, field.name)) for field in fields(batch)
        }
        return replace(batch, **moved)

    def _moved(self, value: dict[str, Tensor] | Tensor | None) -> dict[str, Tensor] | Tensor | None:
        if isinstance(value, dict):
            return {name: tensor.to(self.team.device) for name, tensor in value.items()}
        return None if value is None else value.to(self.team.device)


class _Forward(nn.Module):
    """The losses as a module's forward, which is what DDP and FSDP watch."""

    def __init__(self, model: WorldModel, compute: Compute, device: torch.device) -> None:
        super().__init__()
        self.model = model
        self._device, self._half = device.type, compute.precision == "bfloat16"

    def forward(
        self, batch: Batch, part: Part, generator: torch.Generator, draws: int
    ) -> tuple[Tensor, Tensor]:
        """Losses of actions and next observations."""
        with torch.autocast(self._device, torch.bfloat16, enabled=self._half):
            losses = self.model.loss(batch, generator=generator, draws=draws, part=part)
        return losses.action, losses.next_obs


def whole_weights(model: nn.Module) -> dict[str, Tensor]:
    """A module's weights on the CPU, put together where the ranks hold pieces: all must call it."""
    return {name: whole(value).detach().cpu() for name, value in model.state_dict().items()}


def _shard(forward: nn.Module, model: WorldModel) -> None:
    """Divide parameters, gradients and moments among the ranks, block by block."""
    from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method

    blocks: Any = model.denoiser.blocks
    for block in blocks:
        # The condition's and the times' parts are asked for before the block itself runs.
        fully_shard(block.modulation)
        for method in ("of_condition", "of_time"):
            register_fsdp_forward_method(block.modulation, method)
        fully_shard(block)
    # By default the outermost parameters stay whole after a forward that has no way back, as a
    # validation's has not.
    ignored = set(model.codec.parameters())
    fully_shard(forward, reshard_after_forward=True, ignored_params=ignored)
