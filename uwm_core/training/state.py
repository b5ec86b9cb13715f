# SPDX-License-Identifier: Apache-2.0
"""What a run needs to go on as if it had never stopped: whole or absent, for any number of ranks.

Weights, averaged weights and AdamW's moments by name, and the step. No state of a random
generator: everything random is drawn from the seed and the step (`optim.seeded`, `BatchPlan`).
One safetensors file; `training.shards` writes a file per rank where no rank has the whole.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from uwm_core.errors import CheckpointError
from uwm_core.training.optim import Ema
from uwm_core.training.team import Team, is_piece

_MOMENTS = ("step", "exp_avg", "exp_avg_sq")


@dataclass(frozen=True, eq=False)
class Learner:
    """A network on its way.

    Attributes:
        module: The network.
        optimizer: AdamW over the module's learned parameters.
        ema: Averaged weights.
    """

    module: nn.Module
    optimizer: torch.optim.Optimizer
    ema: Ema

    def tensors(self) -> dict[str, Tensor]:
        """Everything by name; on a sharded module every rank's own pieces.

        Moments that there are not yet are 0, as AdamW makes them.
        """
        found = {f"module.{name}": value for name, value in self.module.state_dict().items()}
        found |= {f"ema.{name}": value for name, value in self.ema.shadow.items()}
        for name, parameter in self._learned():
            moments = self.optimizer.state[parameter]
            for key in _MOMENTS:
                value = moments.get(key)
                if value is None and key == "step":
                    value = torch.zeros((), device=parameter.device)
                elif value is None:
                    value = torch.zeros_like(parameter)
                found[f"{key}.{name}"] = value
        return {name: value.detach() for name, value in found.items()}

    def put(self, tensors: dict[str, Tensor]) -> None:
        """Take what `tensors` gave, whole or in pieces, on whatever device."""
        own = self.module.state_dict()
        weights = _part(tensors, "module.")
        self.module.load_state_dict({name: _like(weights[name], own[name]) for name in own})
        averages = _part(tensors, "ema.")
        for name, shadow in self.ema.shadow.items():
            self.ema.shadow[name] = _like(averages[name], shadow)
        for name, parameter in self._learned():
            self.optimizer.state[parameter] = {
                "step": tensors[f"step.{name}"].to(parameter.device),
                **{key: _like(tensors[f"{key}.{name}"], parameter) for key in _MOMENTS[1:]},
            }

    def _learned(self) -> list[tuple[str, nn.Parameter]]:
        return [(n, value) for n, value in self.module.named_parameters() if value.requires_grad]


class Keeper(Protocol):
    """Where a run's state goes."""

    def save(self, step: int) -> None:
        """Keep everything after ``step`` steps were taken; called on every rank."""
        ...

    def load(self) -> int:
        """Put back what was kept last, of either kind; the steps that were taken, 0 if none.

        Raises:
            CheckpointError: It is broken, or belongs to another run.
        """
        ...

    def finish(self) -> None:
        """Go on when what was saved is on the disk."""
        ...


@dataclass(frozen=True)
class Place:
    """Where a phase's state lies.

    Attributes:
        folder: The run's.
        name: The phase's.
        stamp: What the run must be to go on from here (config and data).
    """

    folder: Path
    name: str
    stamp: str

    @property
    def file(self) -> Path:
        """The state in one file."""
        return self.folder / f"state_{self.name}.safetensors"

    @property
    def shards(self) -> Path:
        """Folder of states in one file per rank."""
        return self.folder / f"state_{self.name}.shards"

    def check(self, path: Path, stamp: str | None) -> None:
        """Refuse the state of another run."""
        if stamp != self.stamp:
            raise CheckpointError(
                f"{path} was made with another config or store; train into another folder, or "
                "give the ones it was made with"
            )


def any_state(folder: Path) -> bool:
    """Whether a folder holds a run that could go on."""
    return any(folder.glob("state_*"))


class FileKeeper:
    """One safetensors file, written by rank 0."""

    def __init__(self, place: Place, learner: Learner, team: Team) -> None:
        self._place, self._learner, self._team = place, learner, team

    def save(self, step: int) -> None:
        """See `Keeper`."""
        if not self._team.first:
            return
        path = self._place.file
        part = path.with_name(path.name + ".part")
        clean = {name: value.cpu().contiguous() for name, value in self._learner.tensors().items()}
        save_file(clean, str(part), metadata={"step": str(step), "stamp": self._place.stamp})
        os.replace(part, path)
        shutil.rmtree(self._place.shards, ignore_errors=True)

    def load(self) -> int:
        """See `Keeper`."""
        return load_state(self._place, self._learner)

    def finish(self) -> None:
        """See `Keeper`."""


def keeper_of(
    folder: Path, name: str, learner: Learner, stamp: str, team: Team, *, sharded: bool
) -> Keeper:
    """The keeper for a phase of a run.

    Args:
        folder: The run's.
        name: The phase's.
        learner: What is kept.
        stamp: What the run must be to go on.
        team: Who keeps it.
        sharded: Whether every rank holds a piece of each parameter.
    """
    place = Place(folder, name, stamp)
    if not sharded:
        return FileKeeper(place, learner, team)
    from uwm_core.training.shards import ShardKeeper

    return ShardKeeper(place, learner, team)


def load_state(place: Place, learner: Learner) -> int:
    """Put back a state of either kind; the steps that were taken, 0 if there is none.

    Raises:
        CheckpointError: It is broken, or belongs to another run.
    """
    from uwm_core.training.shards import load_shards, newest

    header = _read_header(place.file) if place.file.exists() else None
    number, shards = newest(place)
    if shards is not None and (header is None or number > int(header["step"])):
        return load_shards(place, shards, learner)
    if header is None:
        return 0
    place.check(place.file, header.get("stamp"))
    with safe_open(str(place.file), framework="pt") as file:
        learner.put({key: file.get_tensor(key) for key in file.keys()})  # noqa: SIM118
    return int(header["step"])


def _read_header(path: Path) -> dict[str, str]:
    try:
        with safe_open(str(path), framework="pt") as file:
            header: dict[str, str] = file.metadata()
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path} cannot be resumed: {error}") from error
    return header


def _like(value: Tensor, like: Tensor) -> Tensor:
    """The value on the other's device, and divided among the ranks as the other is."""
    if is_piece(like) and not is_piece(value):
        from torch.distributed.tensor import distribute_tensor

        return distribute_tensor(
            value.to(like.device),
            like.device_mesh,  # type: ignore[attr-defined]
            like.placements,  # type: ignore[attr-defined]
        )
    return value.to(like.device)


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {
        key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)
    }
