# SPDX-License-Identifier: Apache-2.0
"""From a published checkpoint file to our checkpoint, normalisers included.

Map: `import_published` (the whole way), `Imported` (the checkpoint, and what to tell the user).
The VAE inside such a file is not stored by ours: its tensors are compared, named and dropped, or
written as a folder of their own (`write_vae`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from uwm_core.checkpoint import Checkpoint, check_finite, compare_shapes
from uwm_core.config import CodecConfig, ModelConfig
from uwm_core.data.interop.derive import derive
from uwm_core.data.interop.source import Layout
from uwm_core.data.normalize import MIN_HALF_RANGE, Affine, Normalizer
from uwm_core.embodiment import Embodiment
from uwm_core.errors import CheckpointError, UwmError
from uwm_core.latents.vae import sdxl_vae
from uwm_core.published import sort_out
from uwm_core.published_file import PublishedFile, Scaling, StoredTensor, read_published
from uwm_core.published_sizes import Asked, Sizes, config_of, missing, would_help
from uwm_core.world_model import WorldModel

_ROBOTS = {"published_droid": "droid"}
_ACTIONS = {
    "published_libero": (
        *("delta_x", "delta_y", "delta_z"),
        *("delta_roll", "delta_pitch", "delta_yaw", "gripper"),
    )
}
_SCALING = ("shift", "scale")


@dataclass(frozen=True, eq=False)
class Imported:
    """What came of a file.

    Attributes:
        checkpoint: Ready to be saved.
        notes: What the user should know, one sentence each.
    """

    checkpoint: Checkpoint
    notes: tuple[str, ...]


def import_published(path: Path | str, asked: Asked, vae: Path | None = None) -> Imported:
    """Turn a published checkpoint file into a checkpoint.

    Args:
        path: The file (``models.pt``). Nothing in it is executed.
        asked: What the file does not say.
        vae: Folder that its VAE is written to, as diffusers reads it; None drops it.

    Raises:
        CheckpointError: The file is none, is hostile or damaged, or something is missing that it
            does not say; the message names each such thing and the option that would say it.
        UnknownNameError: There is no such preset.
        UwmError: ``vae`` needs diffusers, or no robot can be derived from what was said.
    """
    path = Path(path)
    file = read_published(path)
    parts = sort_out(file.tensors)
    shapes = {name: tensor.shape for name, tensor in parts["model"].items()}
    sizes = Sizes.of(shapes)
    robot = _robot(path, file, sizes, asked)
    codec, notes = _codec(parts["vae_scaling"], sizes)
    config = config_of(sizes, asked, robot, codec)
    # Before any number is read: what a hostile file claims must not be allocated.
    compare_shapes(path.name, _shapes(path, config), shapes)
    normalizer, more = _normalizer(path, file, config, robot)
    columns = _columns(config, robot, file.state, asked)
    notes += [*more, *_vae_notes(parts["vae"], written=vae is not None)]
    if vae is not None:
        write_vae(parts["vae"], vae, codec)
        config = replace(config, codec=replace(codec, source=str(vae.resolve())))
    checkpoint = Checkpoint(
        config=config,
        embodiment=robot,
        normalizer=normalizer,
        weights=_weights(parts["model"], columns),
        training={
            "data": {"published file": path.name},
            "license": "unknown",
            **({} if file.step is None else {"step": file.step}),
        },
        name=path.name,
    )
    checkpoint.check()
    check_finite(path.name, checkpoint.weights)
    return Imported(checkpoint, tuple(notes))


def _shapes(path: Path, config: ModelConfig) -> dict[str, torch.Size]:
    """Shapes of a model's tensors, without the model."""
    try:
        with torch.device("meta"):
            return {name: value.shape for name, value in WorldModel(config).state_dict().items()}
    except (RuntimeError, OverflowError):
        raise CheckpointError(f"{path} claims sizes that no model can have; refused") from None


def _robot(path: Path, file: PublishedFile, sizes: Sizes, asked: Asked) -> Embodiment:
    """The robot that was named, the preset's, or one derived from what was said."""
    base, robot = asked.base, asked.embodiment
    said = asked.views or asked.size or asked.rate_hz
    if robot is not None and said:
        raise CheckpointError(
            f"--embodiment {robot.name} says cameras, size and rate; leave out --view, --size and "
            "--rate"
        )
    if robot is None and not said and asked.preset in _ROBOTS:
        robot = Embodiment.load(_ROBOTS[asked.preset])
    views = robot.camera_names if robot else tuple(sorted(asked.views)) or _views(base)
    streams = file.state if views and sizes.state_size(len(views), asked.steps) else {}
    if lacking := missing(sizes, asked, len(streams)):
        helps = would_help(sizes, asked)
        raise CheckpointError(
            f"{path} does not say {', '.join(lacking)}{f'; {helps}' if helps else ''}"
        )
    robot = robot or _derived(views, sizes, asked, streams)
    if {robot.action_size, sizes.action_size} != {len(file.action.scale)}:
        raise CheckpointError(
            f"{path} has actions of {sizes.action_size} numbers and scalings of "
            f"{len(file.action.scale)}; {robot.name} has {robot.action_size}: "
            f"{', '.join(robot.action_names)}"
        )
    return robot


def _views(base: ModelConfig | None) -> tuple[str, ...]:
    return base.views if base else ()


def _derived(
    views: tuple[str, ...], sizes: Sizes, asked: Asked, streams: Mapping[str, Scaling]
) -> Embodiment:
    """A robot of which no more is known than that it was trained on."""
    base = asked.base
    named = _ACTIONS.get(asked.preset or "", ())
    size = asked.size or (base.images.size if base else (0, 0))
    layout = Layout(
        name=(asked.preset or "published").removeprefix("published_"),
        rate_hz=asked.rate_hz or (base.window.rate_hz if base else 0.0),
        cameras=dict.fromkeys(views, size),
        state={key: _names(key, len(scaling.scale)) for key, scaling in sorted(streams.items())},
        action=named if len(named) == sizes.action_size else _names("action", sizes.action_size),
    )
    return derive(layout)


def _names(key: str, count: int) -> tuple[str, ...]:
    return (key,) if count == 1 else tuple(f"{key}_{n}" for n in range(count))


def _normalizer(
    path: Path, file: PublishedFile, config: ModelConfig, robot: Embodiment
) -> tuple[Normalizer, list[str]]:
    """Both scalings, in the embodiment's order and under its names."""
    notes = []
    if not config.state_size:
        if file.state:
            notes.append(f"its model takes no state; the scalings of {_listed(file.state)} go")
        action, constant = _affine(robot.action_names, file.action)
        return Normalizer(action), notes + constant
    have = {key: len(scaling.scale) for key, scaling in file.state.items()}
    want = {key: vector.size for key, vector in robot.state.items()}
    if have != want or sum(have.values()) != config.state_size:
        raise CheckpointError(
            f"{path}: its model takes {config.state_size} numbers of state per step, scaled as "
            f"{_listed(file.state)}; {robot.name} has {want or 'no state'}. Another number of "
            "cameras or another --embodiment is right"
        )
    state = Scaling(
        np.concatenate([file.state[key].scale for key in robot.state]),
        np.concatenate([file.state[key].offset for key in robot.state]),
    )
    (action, first), (of_state, second) = (
        _affine(robot.action_names, file.action),
        _affine(robot.state_names, state),
    )
    return Normalizer(action, of_state), notes + first + second


def _affine(names: tuple[str, ...], scaling: Scaling) -> tuple[Affine, list[str]]:
    """(value - offset) / scale as limits that become -1 and 1."""
    affine = Affine(names, scaling.offset - scaling.scale, scaling.offset + scaling.scale)
    small = (affine.half_range == 0) & (scaling.scale > 0)
    lost = [name for name, is_small in zip(names, small, strict=True) if is_small]
    note = f"{', '.join(lost)}: scaled by less than {MIN_HALF_RANGE:g}, taken for constant"
    return affine, [note] if lost else []


def _listed(state: Mapping[str, Scaling]) -> str:
    return ", ".join(f"{key} ({len(scaling.scale)})" for key, scaling in sorted(state.items()))


def _columns(
    config: ModelConfig, robot: Embodiment, state: Mapping[str, Scaling], asked: Asked
) -> list[int]:
    """Which published column of a modulation every one of ours is.

    Published models have their streams of state in the order of the keys, step by step or stream by
    stream; ours step by step in the embodiment's order.
    """
    steps, every = config.window.history, config.state_size
    first = config.condition_size - steps * every
    sizes = {key: len(state[key].scale) for key in sorted(state)} if every else {}
    before, at = 0, dict[tuple[str, int], int]()
    for key, size in sizes.items():
        for step in range(steps):
            by_stream = steps * before + step * size
            by_step = step * every + before
            at[key, step] = first + (by_stream if asked.state_order == "stream" else by_step)
        before += size
    ours = [
        at[key, step] + n
        for step in range(steps)
        for key in (robot.state if every else ())
        for n in range(sizes[key])
    ]
    last = config.condition_size
    return [*range(first), *ours, *range(last, last + config.time_width)]


def _weights(tensors: Mapping[str, StoredTensor], columns: list[int]) -> dict[str, Tensor]:
    """All numbers, float32, the modulations' columns in our order."""
    weights = {}
    moved = columns != sorted(columns)
    for name, stored in tensors.items():
        value = stored.read()
        value = value.float() if value.is_floating_point() else value
        if moved and name.endswith(".modulation.linear.weight"):
            value = value[:, columns]
        weights[name] = value
    return weights


def _codec(scaling: Mapping[str, StoredTensor], sizes: Sizes) -> tuple[CodecConfig, list[str]]:
    """SDXL's VAE, with the file's own shift and scale as far as our codec has them."""
    codec = CodecConfig(kind="vae", channels=sizes.channels)
    of_channels = (1, sizes.channels, 1, 1)
    if any(name not in scaling or scaling[name].shape != of_channels for name in _SCALING):
        return codec, ["its VAE has no shift and scale per channel; SDXL's usual ones are taken"]
    shift, scale = (scaling[name].read().flatten() for name in _SCALING)
    if bool((shift == 0).all()) and bool((scale == scale[0]).all()) and scale[0] > 0:
        return replace(codec, divisor=float(scale[0])), []
    return codec, [
        f"its latents are shifted by {shift.tolist()} and divided by {scale.tolist()}, which our "
        f"codec cannot: it divides by {codec.divisor:g}, and what the model imagines will look "
        "wrong; its actions are not concerned"
    ]


def _vae_notes(tensors: Mapping[str, StoredTensor], *, written: bool) -> list[str]:
    """What becomes of the VAE, and whether it looks like the one that the checkpoint names."""
    if not tensors:
        return []
    what = "written beside the checkpoint" if written else "left out"
    try:
        with torch.device("meta"):
            known = {name: value.shape for name, value in sdxl_vae().state_dict().items()}
    except UwmError:
        return [f"its VAE was {what}; it was not compared with SDXL's, as diffusers is missing"]
    found = {name: torch.Size(tensor.shape) for name, tensor in tensors.items()}
    if known == found:
        return [f"its VAE was {what}; its tensors have the names and shapes of SDXL's"]
    other = sorted(name for name in {*known, *found} if known.get(name) != found.get(name))
    return [
        f"its VAE was {what}; it is not SDXL's ({len(other)} tensors differ, the first is "
        f"{other[0]}), which the checkpoint names: what the model imagines may look wrong"
    ]


def write_vae(tensors: Mapping[str, StoredTensor], folder: Path, codec: CodecConfig) -> None:
    """Write a published file's VAE as a folder that `VaeCodec.load` reads without a network.

    Raises:
        CheckpointError: It is not SDXL's.
        UwmError: diffusers is not installed.
    """
    with torch.device("meta"):
        vae = sdxl_vae()
    known = {name: tuple(value.shape) for name, value in vae.state_dict().items()}
    compare_shapes("its VAE", known, {name: tensor.shape for name, tensor in tensors.items()})
    weights = {name: tensor.read() for name, tensor in tensors.items()}
    check_finite("its VAE", weights)
    vae.register_to_config(scaling_factor=codec.scaling)
    vae.load_state_dict(weights, assign=True)
    vae.save_pretrained(folder)
