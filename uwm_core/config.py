# SPDX-License-Identifier: Apache-2.0
"""What a world model is made of, as frozen dataclasses that are valid from birth.

Everything here is read from YAML or JSON by ``uwm_core.spec`` and below that line no dict of
settings is passed. What follows from a setting is a property. No torch. The training run's own
settings live in ``uwm_core.training.config``, the presets in ``uwm_core.presets``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from uwm_core.spec import NEWER

SDXL_VAE = "stabilityai/sdxl-vae"


def _require(condition: bool, text: str) -> None:
    if not condition:
        raise ValueError(text)


def _at_least(config: object, lowest: int, *names: str) -> None:
    for name in names:
        value = getattr(config, name)
        _require(value >= lowest, f"{name} must be at least {lowest}, got {value}")


@dataclass(frozen=True, kw_only=True)
class WindowConfig:
    """How a training window is cut.

    Attributes:
        rate_hz: Step rate of the store.
        history: Steps the model sees, the present one included (T).
        chunk: Actions predicted at once (A).
    """

    rate_hz: float
    history: int = 2
    chunk: int = 16

    def __post_init__(self) -> None:
        _require(self.rate_hz > 0, f"rate_hz must be above 0, got {self.rate_hz}")
        _at_least(self, 1, "history", "chunk")

    @property
    def length(self) -> int:
        """Steps per window: history and chunk share the present, the next observation follows."""
        return 2 * self.history + self.chunk - 1

    @property
    def present(self) -> int:
        """Index of the present step in a window; action k of the chunk belongs to present + k."""
        return self.history - 1

    @property
    def next_start(self) -> int:
        """Index of the first of the T steps of the next observation."""
        return self.history - 1 + self.chunk

    @property
    def period_ns(self) -> int:
        """Time between two steps."""
        return round(1e9 / self.rate_hz)


@dataclass(frozen=True, kw_only=True)
class DiffusionConfig:
    """How noise is added and taken away.

    Attributes:
        objective: "flow" walks a straight line and learns its velocity; "epsilon" is the published
            squared-cosine diffusion that learns the noise.
        sample_steps: Network calls per sample, unless the caller asks for another number.
        train_steps: Length of the discrete schedule ("epsilon" only).
        clip_sample: Clamp the clean estimate to [-1, 1] in every step ("epsilon" only).
        given_probability: Share of training timesteps at 0, where a modality is given ("flow"
            only).
        noise_probability: Share of training timesteps at pure noise, where a modality is
            marginalised ("flow" only).
        next_obs_answer: What the network says of the next observation: the velocity, or the clean
            latents ("flow" only). A token that carries more numbers than its share of the width
            cannot pass their noise through, so a small network should say "clean".
    """

    objective: Literal["flow", "epsilon"] = "flow"
    sample_steps: int = 8
    train_steps: int = 100
    clip_sample: bool = True
    given_probability: float = 0.2
    noise_probability: float = 0.2
    next_obs_answer: Literal["velocity", "clean"] = "velocity"

    def __post_init__(self) -> None:
        _at_least(self, 1, "sample_steps")
        _at_least(self, 2, "train_steps")
        total = self.given_probability + self.noise_probability
        _require(
            min(self.given_probability, self.noise_probability) >= 0 and total <= 1,
            "given_probability and noise_probability must be at least 0 and together at most 1, "
            f"got {self.given_probability} and {self.noise_probability}",
        )
        _require(
            self.objective == "flow" or self.next_obs_answer == "velocity",
            f"next_obs_answer {self.next_obs_answer!r} needs the objective 'flow'",
        )
        _require(
            self.objective == "flow" or self.sample_steps <= self.train_steps,
            f"sample_steps must be at most {self.train_steps} (train_steps), "
            f"got {self.sample_steps}",
        )


@dataclass(frozen=True, kw_only=True)
class ImageConfig:
    """What happens to an image between the store and the networks.

    Attributes:
        size: (H, W) px of the stored images.
        resize: (H, W) px they are resized to (bilinear, antialiased), or None to leave them.
        crop: (H, W) px that are kept: centre when sampling, anywhere in training; None for all.
        shift_px: Largest random shift of the observation in training (edge pixels repeated).
        jitter: Strength of the random brightness, contrast and saturation in training, unitless,
            0 for none.
    """

    size: tuple[int, int]
    resize: tuple[int, int] | None = None
    crop: tuple[int, int] | None = None
    shift_px: int = 0
    jitter: float = 0.0

    def __post_init__(self) -> None:
        for name in ("size", "resize", "crop"):
            value = getattr(self, name)
            _require(value is None or min(value) >= 1, f"{name} must be above 0, got {value}")
        _at_least(self, 0, "shift_px")
        _require(0 <= self.jitter < 1, f"jitter must be in [0, 1), got {self.jitter}")
        frame = self.resize or self.size
        _require(
            self.crop is None or (self.crop[0] <= frame[0] and self.crop[1] <= frame[1]),
            f"crop {self.crop} is larger than the image {frame}",
        )

    @property
    def seen(self) -> tuple[int, int]:
        """(H, W) px of the image that encoder and codec see."""
        return self.crop or self.resize or self.size


@dataclass(frozen=True, kw_only=True)
class CodecConfig:
    """How images become latents and latents images.

    Attributes:
        kind: "vae" (diffusers AutoencoderKL, named and not stored), "conv" (small, trained here and
            stored with the model) or "patch" (average-pooled pixels; for tests and ablations).
        channels: Channels of a latent (C).
        factor: Pixels per latent cell along each side.
        width: Channels inside the "conv" codec.
        source: Hub id or local folder of the "vae".
        revision: Revision of the "vae" on the hub.
        scaling: Factor that brings the "vae"'s latents to about unit scale.
        divisor: Further division of the "vae"'s latents, so that clipping at 1 cuts little.
    """

    kind: Literal["vae", "conv", "patch"] = "vae"
    channels: int = 4
    factor: int = 8
    width: int = 64
    source: str = SDXL_VAE
    revision: str = "main"
    scaling: float = 0.13025
    divisor: float = 3.0

    def __post_init__(self) -> None:
        for name in ("channels", "factor", "width", "scaling", "divisor"):
            _require(getattr(self, name) > 0, f"{name} must be above 0, got {getattr(self, name)}")
        _require(
            self.kind != "conv" or self.factor in (4, 8, 16),
            f"factor of a conv codec must be 4, 8 or 16, got {self.factor}",
        )
        _require(
            self.kind != "patch" or self.channels == 3,
            f"channels of a patch codec must be 3, got {self.channels}",
        )


@dataclass(frozen=True, kw_only=True)
class EncoderConfig:
    """How an observed image becomes a part of the condition.

    Attributes:
        kind: "resnet18" (GroupNorm, ImageNet-normalised; the published one) or "conv" (small
            convolutions with spatial soft-argmax).
        features: Numbers per image.
        shared: One set of weights for all views, or one per view.
        width: Channels of the "conv" encoder's last map.
    """

    kind: Literal["resnet18", "conv"] = "resnet18"
    features: int = 768
    shared: bool = True
    width: int = 64

    def __post_init__(self) -> None:
        _at_least(self, 1, "features")
        _at_least(self, 8, "width")


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """Every size and switch of a world model.

    Attributes:
        name: The preset that this began as.
        views: Camera names, sorted; the order of V everywhere.
        window: Rate, history and chunk.
        images: From stored image to the image that is seen.
        action_size: Numbers per action (D).
        state_size: Numbers of low-dimensional state per step (S); 0 for none.
        diffusion: Objective and schedule.
        codec: Latents of the next observation.
        encoder: Features of the present observation.
        patch: Latent cells per token along (time, row, column).
        width: Width of a token (E).
        depth: Transformer blocks.
        heads: Attention heads per block.
        registers: Tokens without input or output that the network may use as it likes.
        time_width: Width of the embedding of the two timesteps.
        condition_rank: Numbers that the condition is squeezed to before it modulates the blocks; 0
            for none, as published, where most of all parameters read the condition.
        mlp_ratio: Hidden width of the MLPs over the token width.
        qkv_bias: Whether queries, keys and values have a bias.
    """

    name: str
    views: tuple[str, ...]
    window: WindowConfig
    images: ImageConfig
    action_size: int
    state_size: int = 0
    diffusion: DiffusionConfig = DiffusionConfig()
    codec: CodecConfig = CodecConfig()
    encoder: EncoderConfig = EncoderConfig()
    patch: tuple[int, int, int] = (2, 4, 4)
    width: int = 768
    depth: int = 12
    heads: int = 12
    registers: int = 8
    time_width: int = 512
    mlp_ratio: int = 4
    qkv_bias: bool = True
    condition_rank: int = field(default=0, metadata=NEWER)

    def __post_init__(self) -> None:
        _require(bool(self.views), "views must name at least one camera")
        _require(
            list(self.views) == sorted(set(self.views)),
            f"views must be sorted and without repetition, got {list(self.views)}",
        )
        _at_least(self, 1, "action_size", "width", "depth", "heads", "mlp_ratio")
        _at_least(self, 0, "state_size", "registers", "condition_rank")
        _require(
            self.width % self.heads == 0,
            f"width must be a multiple of heads ({self.heads}), got {self.width}",
        )
        _require(
            self.time_width >= 4 and self.time_width % 2 == 0,
            f"time_width must be even and at least 4, got {self.time_width}",
        )
        factor, seen = self.codec.factor, self.images.seen
        _require(
            seen[0] % factor == 0 and seen[1] % factor == 0,
            f"images of {seen} px are not a multiple of the codec's factor {factor}",
        )
        cells = self.latent_shape[1:]
        _require(
            all(p >= 1 and n % p == 0 for n, p in zip(cells, self.patch, strict=True)),
            f"patch {self.patch} does not divide the latent's (T, h, w) = {cells}",
        )

    @property
    def latent_shape(self) -> tuple[int, int, int, int]:
        """(C, T, h, w) of one view's next observation."""
        height, width = self.images.seen
        factor = self.codec.factor
        return self.codec.channels, self.window.history, height // factor, width // factor

    @property
    def patches(self) -> int:
        """Tokens of the next observation, all views together."""
        _, *cells = self.latent_shape
        per_view = 1
        for n, p in zip(cells, self.patch, strict=True):
            per_view *= n // p
        return len(self.views) * per_view

    @property
    def tokens(self) -> int:
        """Tokens in the transformer: actions, patches, registers (N)."""
        return self.window.chunk + self.patches + self.registers

    @property
    def condition_size(self) -> int:
        """Numbers in the condition vector: features of V x T images, then the state of T steps."""
        return self.window.history * (len(self.views) * self.encoder.features + self.state_size)
