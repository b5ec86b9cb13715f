# SPDX-License-Identifier: Apache-2.0
"""The config of a published model: sizes from its tensors, the rest from whoever knows it.

Map: `Sizes` (what shapes say), `Asked` (what they do not: heads, rate, cameras, pixels),
`config_of` (both joined). Shapes only; no file is read here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from uwm_core.config import (
    CodecConfig,
    DiffusionConfig,
    EncoderConfig,
    ImageConfig,
    ModelConfig,
    WindowConfig,
)
from uwm_core.embodiment import Embodiment
from uwm_core.errors import CheckpointError
from uwm_core.presets import PRESETS, preset

Size = tuple[int, int]
HISTORY = 2
"""Steps of observation of every published model."""
CHUNK = 16
"""Actions per chunk of every published model; only a hint, the tensors decide."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What a published file does not say; None where a preset or an embodiment says it.

    Attributes:
        preset: Published model that this is, or is trained like.
        embodiment: Robot that it was trained for.
        heads: Attention heads per block.
        rate_hz: Step rate.
        views: Camera names.
        size: (H, W) px of the stored images.
        resize: (H, W) px they were resized to.
        crop: (H, W) px that were kept in the centre.
        history: Steps of observation (T).
        state_order: How several streams of state follow each other in the condition: "step" (all
            streams of a step, then the next step) or "stream" (all steps of a stream, then the
            next stream).
    """

    preset: str | None = None
    embodiment: Embodiment | None = None
    heads: int | None = None
    rate_hz: float | None = None
    views: tuple[str, ...] = ()
    size: Size | None = None
    resize: Size | None = None
    crop: Size | None = None
    history: int | None = None
    state_order: Literal["step", "stream"] | None = None

    @property
    def base(self) -> ModelConfig | None:
        """The preset's config.

        Raises:
            UnknownNameError: There is no such preset.
        """
        return preset(self.preset) if self.preset else None

    @property
    def steps(self) -> int:
        """Steps of observation (T)."""
        base = self.base
        return self.history or (base.window.history if base else HISTORY)


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """What the shapes of a model's tensors say.

    Attributes:
        width: Width of a token (E).
        depth: Transformer blocks.
        registers: Register tokens.
        tokens: All tokens (N).
        patch: Latent cells per token along (time, row, column).
        channels: Channels of a latent (C).
        action_size: Numbers per action (D).
        features: Numbers per observed image.
        condition: Numbers in the condition vector.
        time_width: Width of the embedding of the timesteps.
        mlp_ratio: Hidden width of the MLPs over the token width.
        qkv_bias: Whether queries, keys and values have a bias.
    """

    width: int
    depth: int
    registers: int
    tokens: int
    patch: tuple[int, int, int]
    channels: int
    action_size: int
    features: int
    condition: int
    time_width: int
    mlp_ratio: int
    qkv_bias: bool

    @classmethod
    def of(cls, shapes: Mapping[str, tuple[int, ...]]) -> Sizes:
        """Read the shapes, under our names (`uwm_core.published.sort_out`).

        Raises:
            CheckpointError: A tensor that a published model has is missing or of another form.
        """

        def shape(name: str, axes: int) -> tuple[int, ...]:
            if len(found := shapes.get(name, ())) != axes:
                raise CheckpointError(
                    f"this is no published world model: {name} has shape {found or 'none'}, "
                    f"{axes} axes are right"
                )
            return found

        width, channels, *patch = shape("denoiser.next_obs.encoder.weight", 5)
        time_width = shape("denoiser.time.mlp.2.weight", 2)[0]
        blocks = [re.match(r"denoiser\.blocks\.(\d+)\.", name) for name in shapes]
        # Counted, not read: a block of number 10^9 is no reason to make as many.
        depth = len({found[1] for found in blocks if found})
        return cls(
            width=width,
            depth=depth,
            registers=shape("denoiser.registers", 3)[1],
            tokens=shape("denoiser.position", 3)[1],
            patch=(patch[0], patch[1], patch[2]),
            channels=channels,
            action_size=shape("denoiser.action_in.0.weight", 2)[1],
            features=shape("observer.encoders.0.fc.weight", 2)[0],
            condition=shape("denoiser.head.modulation.linear.weight", 2)[1] - time_width,
            time_width=time_width,
            mlp_ratio=shape("denoiser.blocks.0.fc1.weight", 2)[0] // width,
            qkv_bias="denoiser.blocks.0.attn.qkv.bias" in shapes,
        )

    @classmethod
    def of_config(cls, config: ModelConfig) -> Sizes:
        """The sizes that a config's model has."""
        return cls(
            width=config.width,
            depth=config.depth,
            registers=config.registers,
            tokens=config.tokens,
            patch=config.patch,
            channels=config.codec.channels,
            action_size=config.action_size,
            features=config.encoder.features,
            condition=config.condition_size,
            time_width=config.time_width,
            mlp_ratio=config.mlp_ratio,
            qkv_bias=config.qkv_bias,
        )

    def state_size(self, views: int, steps: int) -> int:
        """Numbers of state per step (S), with so many cameras and steps of observation.

        Raises:
            CheckpointError: The condition vector has no room for them.
        """
        images = views * steps * self.features
        rest = self.condition - images
        if rest < 0 or rest % steps:
            raise CheckpointError(
                f"{views} cameras and {steps} steps of {self.features} features are {images} "
                f"numbers, its condition has {self.condition}; another number of cameras "
                "(--embodiment or --view) or steps (--history) is right"
            )
        return rest // steps


def missing(sizes: Sizes, asked: Asked, streams: int) -> list[str]:
    """What nobody has said yet, each with the option that would say it.

    Args:
        sizes: Of the model.
        asked: What was said.
        streams: Streams of state that the model takes.
    """
    robot, base = asked.embodiment is not None, asked.base is not None
    lacking = (
        (
            base or asked.heads,
            f"how many attention heads it has (--heads N, a divisor of {sizes.width})",
        ),
        (robot or base or asked.rate_hz, "its step rate (--rate HZ)"),
        (robot or base or asked.views, "the names of its cameras (--view NAME for each)"),
        (robot or base or asked.size, "the size of its stored images (--size H W)"),
        (
            streams < 2 or asked.steps < 2 or asked.state_order,
            "how the streams of its state follow each other (--state-order step or stream)",
        ),
    )
    return [what for known, what in lacking if not known]


def would_help(sizes: Sizes, asked: Asked) -> str:
    """Which larger option says most of what is missing, as a sentence; empty if none does."""
    known = [
        name
        for name, config in PRESETS.items()
        if config.diffusion.objective == "epsilon" and Sizes.of_config(config) == sizes
    ]
    parts = []
    if known and not asked.preset:
        parts.append(f"its sizes are those of --preset {known[0]}, which says all of this")
    if asked.embodiment is None and not asked.preset:
        parts.append("--embodiment NAME or FILE says cameras, their size and the rate")
    return "; ".join(parts)


def config_of(sizes: Sizes, asked: Asked, robot: Embodiment, codec: CodecConfig) -> ModelConfig:
    """The whole config.

    Args:
        sizes: What the tensors say.
        asked: What they do not.
        robot: Cameras and rate.
        codec: Latents of the next observation.

    Raises:
        CheckpointError: Sizes and pixels do not fit together.
    """
    base, views = asked.base, robot.camera_names
    stored = {camera.size for camera in robot.cameras.values()}
    if len(stored) != 1:
        raise CheckpointError(
            f"a published model takes cameras of one size, {robot.name} has {sorted(stored)}"
        )
    of_base = base.images if base else None
    try:
        images = ImageConfig(
            size=stored.pop(),
            resize=asked.resize or (of_base.resize if of_base else None),
            crop=asked.crop or (of_base.crop if of_base else None),
            jitter=of_base.jitter if of_base else 0.0,
        )
        chunk = _chunk(sizes, len(views), images.seen, asked.steps, codec.factor)
        return ModelConfig(
            name=base.name if base else "published",
            views=views,
            window=WindowConfig(rate_hz=robot.rate_hz, history=asked.steps, chunk=chunk),
            images=images,
            action_size=sizes.action_size,
            state_size=sizes.state_size(len(views), asked.steps),
            diffusion=DiffusionConfig(objective="epsilon", sample_steps=10),
            codec=codec,
            encoder=EncoderConfig(features=sizes.features),
            patch=sizes.patch,
            width=sizes.width,
            depth=sizes.depth,
            heads=asked.heads or (base.heads if base else 0),
            registers=sizes.registers,
            time_width=sizes.time_width,
            mlp_ratio=sizes.mlp_ratio,
            qkv_bias=sizes.qkv_bias,
        )
    except ValueError as error:
        raise CheckpointError(f"its tensors and what was said do not fit: {error}") from None


def _chunk(sizes: Sizes, views: int, seen: Size, steps: int, factor: int) -> int:
    """Actions per chunk: the tokens that are neither registers nor patches (A)."""
    cells = (steps, seen[0] // factor, seen[1] // factor)
    each = 1
    for count, part in zip(cells, sizes.patch, strict=True):
        each *= count // part
    rest = sizes.tokens - sizes.registers
    if (chunk := rest - views * each) >= 1:
        return chunk
    hint = "--resize or --crop says which images it saw"
    side = round(max((rest - CHUNK) / views * sizes.patch[0] / steps, 0) ** 0.5)
    if side and side * side * views * steps // sizes.patch[0] == rest - CHUNK:
        pixels = side * sizes.patch[1] * factor
        hint = f"with a chunk of {CHUNK} it saw {pixels} x {pixels} px (--crop {pixels} {pixels})"
    raise CheckpointError(
        f"{views} views of {seen[0]} x {seen[1]} px are {views * each} tokens, which leaves none "
        f"of its {rest} for actions; {hint}"
    )
