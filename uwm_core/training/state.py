# SPDX-License-Identifier: Apache-2.0
"""What a run needs to go on as if it had never stopped, in one file that is whole or absent.

Weights, averaged weights and AdamW's moments as safetensors, the step in its header. No state of
a random generator: everything random is drawn from the seed and the step (`optim.seeded`,
`BatchPlan`).
"""

from __future__ import annotations

import os
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from uwm_core.errors import CheckpointError
from uwm_core.training.optim import Ema

_MOMENTS = ("step", "exp_avg", "exp_avg_sq")


def save_state(
    path: Path,
    *,
    step: int,
    stamp: str,
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    ema: Ema,
) -> None:
    """Write everything after ``step`` steps were taken.

    Args:
        path: The file; an older one is replaced in one step.
        step: Steps that were taken.
        stamp: What the run must be to go on from here (config and data).
        module: The network.
        optimizer: AdamW over the module's learned parameters.
        ema: Averaged weights.
    """
    tensors = {f"module.{key}": value for key, value in module.state_dict().items()}
    tensors |= {f"ema.{key}": value for key, value in ema.shadow.items()}
    for name, parameter in _learned(module):
        moments = optimizer.state[parameter]
        tensors |= {f"{key}.{name}": moments[key] for key in _MOMENTS if key in moments}
    part = path.with_name(path.name + ".part")
    clean = {key: value.detach().cpu().contiguous() for key, value in tensors.items()}
    save_file(clean, str(part), metadata={"step": str(step), "stamp": stamp})
    os.replace(part, path)


def load_state(
    path: Path, *, stamp: str, module: nn.Module, optimizer: torch.optim.Optimizer, ema: Ema
) -> int:
    """Put back what `save_state` wrote.

    Returns:
        Steps that were taken.

    Raises:
        CheckpointError: The file is broken, or belongs to another run.
    """
    try:
        with safe_open(str(path), framework="pt") as file:
            header = file.metadata()
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path} cannot be resumed: {error}") from error
    if header.get("stamp") != stamp:
        raise CheckpointError(
            f"{path} was made with another config or store; train into another folder, or give "
            "the ones it was made with"
        )
    module.load_state_dict(_part(tensors, "module."))
    ema.shadow = _part(tensors, "ema.")
    moments = {key: _part(tensors, f"{key}.") for key in _MOMENTS}
    for name, parameter in _learned(module):
        if name in moments["exp_avg"]:
            optimizer.state[parameter] = {key: moments[key][name] for key in _MOMENTS}
    return int(header["step"])


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {
        key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)
    }


def _learned(module: nn.Module) -> list[tuple[str, nn.Parameter]]:
    return [(name, value) for name, value in module.named_parameters() if value.requires_grad]
