# SPDX-License-Identifier: Apache-2.0
"""ImageNet weights for ResNet-18 encoders, by the names that torchvision publishes them under.

Convolutions are taken. Batch norms are not: the encoders have group norms in their place, which
begin as identities, as in the published model; nor is the classifier. Nothing in a file is run.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from uwm_core.errors import CheckpointError, first_line
from uwm_core.hub import from_hub, is_hub_id
from uwm_core.model.encoders import ResNet18
from uwm_core.model.observe import Observer

_HUB_FILE = "model.safetensors"


def take_imagenet(observer: Observer, source: str) -> int:
    """Give every ResNet-18 of an observer the convolutions of a file.

    Args:
        observer: Changed in place, or not at all.
        source: A ``.safetensors`` file, a file of torchvision (``resnet18-f37072fd.pth``), or a hub
            id of a repository with ``model.safetensors`` (``timm/resnet18.tv_in1k``).

    Returns:
        Tensors taken per encoder.

    Raises:
        CheckpointError: The encoders are no ResNet-18, or the file is missing, broken, would run
            code, lacks a convolution or has one of another shape.
    """
    encoders = [encoder for encoder in observer.encoders if isinstance(encoder, ResNet18)]
    if len(encoders) < len(observer.encoders):
        kind = observer.config.encoder.kind
        raise CheckpointError(f"{source} is for encoders of kind 'resnet18', these are {kind!r}")
    given = _read(_find(source))
    names = [
        f"{name}.weight"
        for name, part in encoders[0].named_modules()
        if isinstance(part, nn.Conv2d)
    ]
    wanted = encoders[0].state_dict()
    for name in names:
        found = tuple(given[name].shape) if name in given else "nothing"
        if found != tuple(wanted[name].shape):
            raise CheckpointError(
                f"{source} is no ResNet-18 by torchvision's names: {name} must be "
                f"{tuple(wanted[name].shape)}, is {found}"
            )
    for encoder in encoders:
        encoder.load_state_dict({name: given[name] for name in names}, strict=False)
    return len(names)


def _find(source: str) -> Path:
    path = Path(source)
    if path.is_file():
        return path
    if not is_hub_id(source):
        raise CheckpointError(f"{source} is not a file, nor a hub id like timm/resnet18.tv_in1k")
    return from_hub(source, _HUB_FILE)


def _read(path: Path) -> Mapping[str, Tensor]:
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        found = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError, OSError) as error:
        raise CheckpointError(f"{path} cannot be read as weights: {first_line(error)}") from error
    if not isinstance(found, dict):
        raise CheckpointError(f"{path} holds a {type(found).__name__}, not tensors by their names")
    return {str(name): value for name, value in found.items() if isinstance(value, Tensor)}
