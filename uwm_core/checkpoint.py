# SPDX-License-Identifier: Apache-2.0
"""A checkpoint: one folder with all that is needed to drive, whole or absent, never a pickle.

    model.safetensors   weights; those of a small codec too, a frozen VAE is only named
    config.json         `ModelConfig`
    embodiment.yaml     the robot that it was trained for
    normalizer.json     statistics of the training episodes
    training.json       data, step, metrics
    README.md           model card

Map: `Checkpoint` (the folder in memory), `save_checkpoint`, `load_checkpoint` (path, bundled name
or hub id), `Checkpoint.build` (strict: every tensor has its place and every place its tensor).
float32 weights come back bit for bit; float16 rounds each weight once, when it is saved, and
what is then loaded, measured and driven is the same.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from uwm_core.config import ModelConfig
from uwm_core.data.normalize import Normalizer
from uwm_core.embodiment import Embodiment
from uwm_core.errors import CheckpointError, UnknownNameError
from uwm_core.hub import from_hub, is_hub_id
from uwm_core.model_card import model_card
from uwm_core.resources import bundled
from uwm_core.spec import parse_spec
from uwm_core.world_model import WorldModel

WEIGHTS = "model.safetensors"
CONFIG = "config.json"
EMBODIMENT = "embodiment.yaml"
NORMALIZER = "normalizer.json"
TRAINING = "training.json"
CARD = "README.md"


@dataclass(frozen=True, eq=False, kw_only=True)
class Checkpoint:
    """What a checkpoint folder holds.

    Attributes:
        config: Sizes and switches of the model.
        embodiment: The robot that it was trained for.
        normalizer: Statistics of the training episodes.
        weights: Tensors by name, as `WorldModel.state_dict` names them.
        training: Plain values about data, steps and metrics.
        name: Name of the folder.
        version: First digits of the weights' SHA-256; "" before it was saved.
    """

    config: ModelConfig
    embodiment: Embodiment
    normalizer: Normalizer
    weights: Mapping[str, Tensor]
    training: Mapping[str, Any] = field(default_factory=dict)
    name: str = ""
    version: str = ""

    def check(self) -> None:
        """Refuse parts that do not belong together.

        Raises:
            CheckpointError: Config, embodiment and normaliser disagree about a name or a size.
        """
        _check_sizes(self.name or "checkpoint", self.config, self.embodiment, self.normalizer)

    def build(self, device: str = "cpu") -> WorldModel:
        """The model with these weights, in evaluation mode.

        Raises:
            CheckpointError: A tensor is missing, foreign, of another shape, or not finite.
        """
        model = WorldModel(self.config)
        wanted = model.state_dict()
        compare_shapes(
            self.name,
            {key: value.shape for key, value in wanted.items()},
            {key: value.shape for key, value in self.weights.items()},
        )
        check_finite(self.name, self.weights)
        model.load_state_dict({key: self.weights[key].to(wanted[key].dtype) for key in wanted})
        return model.to(device).eval()


def save_checkpoint(
    path: Path | str, checkpoint: Checkpoint, *, dtype: torch.dtype = torch.float32
) -> Path:
    """Write a checkpoint folder; an older one of that name is replaced as a whole.

    Args:
        path: The folder.
        checkpoint: What to write.
        dtype: Number type of floating weights in the file.

    Returns:
        The folder.
    """
    path = Path(path)
    part, old = path.with_name(path.name + ".part"), path.with_name(path.name + ".old")
    for leftover in (part, old):
        shutil.rmtree(leftover, ignore_errors=True)
    part.mkdir(parents=True)
    weights = {key: _stored(value, dtype) for key, value in sorted(checkpoint.weights.items())}
    save_file(weights, str(part / WEIGHTS), metadata={"format": "pt"})
    (part / WEIGHTS).chmod(0o644)  # safetensors keeps it to its owner; a share is for all
    config = json.dumps(dataclasses.asdict(checkpoint.config), indent=2)
    texts = {
        CONFIG: config + "\n",
        EMBODIMENT: checkpoint.embodiment.to_yaml(),
        NORMALIZER: checkpoint.normalizer.dumps(),
        TRAINING: json.dumps(dict(checkpoint.training), indent=2, sort_keys=True) + "\n",
        CARD: model_card(
            checkpoint.config,
            checkpoint.embodiment,
            checkpoint.training,
            parameters=sum(value.numel() for value in weights.values()),
        ),
    }
    for name, text in texts.items():
        (part / name).write_text(text, encoding="utf-8")
    # A folder cannot replace a full one in one step; between these two the new one is whole
    # under its .part name and the old one under .old, so nothing can be lost.
    if path.exists():
        os.replace(path, old)
    os.replace(part, path)
    shutil.rmtree(old, ignore_errors=True)
    return path


def load_checkpoint(name: Path | str) -> Checkpoint:
    """Read a checkpoint.

    Args:
        name: A folder, the name of a checkpoint that ships with the project, or a hub id.

    Raises:
        CheckpointError: A file is missing or broken.
        UnknownNameError: There is no such folder, bundled checkpoint or hub id.
    """
    path = find_checkpoint(name)
    texts = {key: _read(path, key) for key in (CONFIG, EMBODIMENT, NORMALIZER, TRAINING)}
    weights_path = path / WEIGHTS
    if not weights_path.is_file():
        raise CheckpointError(f"{path} has no {WEIGHTS}")
    try:
        weights = load_file(str(weights_path))
        training = json.loads(texts[TRAINING])
    except (SafetensorError, json.JSONDecodeError, OSError) as error:
        raise CheckpointError(f"{path} is broken: {error}") from error
    digest = hashlib.sha256(weights_path.read_bytes()).hexdigest()
    config = parse_spec(texts[CONFIG], ModelConfig, source=str(path / CONFIG))
    embodiment = Embodiment.parse(texts[EMBODIMENT], source=str(path / EMBODIMENT))
    normalizer = Normalizer.loads(texts[NORMALIZER], source=str(path / NORMALIZER))
    _check_sizes(path, config, embodiment, normalizer)
    return Checkpoint(
        config=config,
        embodiment=embodiment,
        normalizer=normalizer,
        weights=weights,
        training=training,
        name=path.resolve().name,
        version=digest[:12],
    )


def find_checkpoint(name: Path | str) -> Path:
    """The folder that ``name`` means: a path, a bundled name, or a hub id (downloaded).

    Raises:
        CheckpointError: The hub has it not, or cannot be reached.
        UnknownNameError: Nothing is called so.
    """
    path = Path(name)
    if path.is_dir():
        return path
    known = bundled("checkpoints")
    if str(name) in known:
        return known[str(name)]
    if isinstance(name, Path) or not is_hub_id(name):
        raise UnknownNameError("checkpoint", str(name), [*known, "a path to a checkpoint folder"])
    return from_hub(name)


def _read(path: Path, name: str) -> str:
    file = path / name
    if not file.is_file():
        if name == NORMALIZER:
            raise CheckpointError(f"{path} has no normaliser; it cannot drive a robot")
        raise CheckpointError(f"{path} has no {name}; a checkpoint is a folder with it")
    return file.read_text(encoding="utf-8")


def _stored(value: Tensor, dtype: torch.dtype) -> Tensor:
    value = value.detach().cpu().contiguous()
    return value.to(dtype) if value.is_floating_point() else value


def compare_shapes(
    name: str, wanted: Mapping[str, Sequence[int]], found: Mapping[str, Sequence[int]]
) -> None:
    """Refuse tensors that are not exactly those of a model, naming the first difference.

    Args:
        name: What has been found, for errors.
        wanted: Shapes of the model's tensors by name.
        found: Shapes of what was found.

    Raises:
        CheckpointError: A tensor is missing, foreign, or of another shape.
    """
    if missing := sorted(set(wanted) - set(found)):
        raise CheckpointError(f"{name} lacks {len(missing)} tensors, the first is {missing[0]!r}")
    if foreign := sorted(set(found) - set(wanted)):
        raise CheckpointError(
            f"{name} has {len(foreign)} tensors that the model has not, the first is {foreign[0]!r}"
        )
    for key, shape in wanted.items():
        if tuple(shape) != tuple(found[key]):
            raise CheckpointError(
                f"{name}: {key} is {tuple(found[key])}, the model's is {tuple(shape)}"
            )


def check_finite(name: str, weights: Mapping[str, Tensor]) -> None:
    """Refuse weights of which one is not finite.

    Raises:
        CheckpointError: Names the tensor.
    """
    for key, value in weights.items():
        if value.is_floating_point() and not torch.isfinite(value).all():
            raise CheckpointError(f"{name}: {key} has a value that is not finite")


def _check_sizes(
    path: Path | str, config: ModelConfig, embodiment: Embodiment, normalizer: Normalizer
) -> None:
    """Refuse a folder whose files do not belong together."""
    wanted_state = embodiment.state_names if config.state_size else ()
    pairs: tuple[tuple[str, object, object], ...] = (
        ("views", config.views, embodiment.camera_names),
        ("actions", normalizer.action.names, embodiment.action_names),
        ("action size", config.action_size, embodiment.action_size),
        ("state", normalizer.state_names, wanted_state),
        ("rate_hz", config.window.rate_hz, embodiment.rate_hz),
    )
    for what, one, other in pairs:
        if one != other:
            raise CheckpointError(
                f"{path}: its files disagree about {what}: {one} and {other} (in {EMBODIMENT})"
            )
