# SPDX-License-Identifier: Apache-2.0
"""What a training run is told: the YAML files in config/train become one `TrainConfig`.

Everything counts iterations, nothing counts minutes, so that a run is the same on any machine.
The model's own sizes come from a preset and the store's embodiment (`fit_preset`).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

from uwm_core.config import CodecConfig, EncoderConfig, ModelConfig
from uwm_core.data.plan import Balance
from uwm_core.data.windows import ROLES
from uwm_core.embodiment import Embodiment
from uwm_core.errors import StoreError, UnknownNameError
from uwm_core.presets import preset
from uwm_core.spec import NEWER


def _require(condition: bool, text: str) -> None:
    if not condition:
        raise ValueError(text)


@dataclass(frozen=True, kw_only=True)
class CodecTraining:
    """Phase 1: the small codec learns to give images back.

    Attributes:
        iterations: Steps of the optimiser.
        batch: Images per step.
        learning_rate: Peak of the schedule.
        warmup: Steps until the peak.
        given: Checkpoint whose codec is taken instead (path or bundled name); then nothing is
            trained.
    """

    iterations: int = 1500
    batch: int = 32
    learning_rate: float = 2e-3
    warmup: int = 50
    given: str | None = None

    def __post_init__(self) -> None:
        for name in ("iterations", "batch", "learning_rate"):
            _require(getattr(self, name) > 0, f"{name} must be above 0, got {getattr(self, name)}")
        _require(self.warmup >= 0, f"warmup must be at least 0, got {self.warmup}")


@dataclass(frozen=True, kw_only=True)
class ModelTraining:
    """Phase 2: the world model.

    Attributes:
        iterations: Steps of the optimiser.
        batch: Windows per step (B).
        draws: Noise draws per window: the observation is encoded once and used this often.
        learning_rate: Peak of the schedule (warm-up, then cosine to 0).
        warmup: Steps until the peak.
        weight_decay: AdamW's, unitless.
        clip_norm: Largest norm of the gradient.
        ema_decay: Decay of the averaged weights, which are the ones that are kept.
        action_weight: Weight of the action loss against the next observation's.
        given: Checkpoint whose weights are the start (path, bundled name or hub id); its codec
            comes along.
        normalizer: What scales action and state after ``given``: "same" refuses a store whose own
            statistics are not the checkpoint's, "keep" takes the checkpoint's, "refit" the store's.
        sizes: Whether ``given`` must have the run's sizes ("same"), or what belongs to views, state
            and action that it has not is started anew, and named ("renew").
        encoder_weights: ImageNet weights that "resnet18" encoders start with: a file by
            torchvision's names, or a hub id; see `uwm_core.model.imagenet`.
    """

    iterations: int = 2000
    batch: int = 64
    draws: int = 2
    learning_rate: float = 1e-3
    warmup: int = 100
    weight_decay: float = 1e-6
    clip_norm: float = 1.0
    ema_decay: float = 0.995
    action_weight: float = 1.0
    given: str | None = None
    normalizer: Literal["same", "keep", "refit"] = field(default="same", metadata=NEWER)
    sizes: Literal["same", "renew"] = field(default="same", metadata=NEWER)
    encoder_weights: str | None = field(default=None, metadata=NEWER)

    def __post_init__(self) -> None:
        for name in ("normalizer", "sizes"):
            _require(
                self.given is not None or getattr(self, name) == "same",
                f"{name} is about the checkpoint that is given; without one it must be 'same', "
                f"got {getattr(self, name)!r}",
            )
        _require(
            self.given is None or self.encoder_weights is None,
            "encoder_weights would replace what given brings; name one of the two",
        )
        for name in ("iterations", "batch", "draws", "learning_rate", "clip_norm"):
            _require(getattr(self, name) > 0, f"{name} must be above 0, got {getattr(self, name)}")
        for name in ("warmup", "weight_decay", "action_weight"):
            _require(getattr(self, name) >= 0, f"{name} must be at least 0")
        _require(0 <= self.ema_decay < 1, f"ema_decay must be in [0, 1), got {self.ema_decay}")


@dataclass(frozen=True, kw_only=True)
class Compute:
    """How steps are computed; of all this `precision` alone changes what is learned.

    Attributes:
        device: "auto" takes a GPU where torch finds one.
        parallel: What torchrun's processes share: gradients (ddp), or parameters and moments too
            (fsdp), for models that are too large for one device.
        accumulate: Micro-batches that a process divides its part of a batch into, for less memory.
        precision: Number type of the network's arithmetic; weights and moments stay float32.
        checkpointing: Compute each block again on the way back instead of keeping what it saw.
        compile: Let torch.compile fuse the network; costs a minute at the start.
    """

    device: Literal["auto", "cpu", "cuda"] = "auto"
    parallel: Literal["ddp", "fsdp"] = "ddp"
    accumulate: int = 1
    precision: Literal["float32", "bfloat16"] = "float32"
    checkpointing: bool = False
    compile: bool = False

    def __post_init__(self) -> None:
        _require(self.accumulate > 0, f"accumulate must be above 0, got {self.accumulate}")


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """A whole run.

    Attributes:
        preset: Name of the model preset.
        views: Cameras that the model sees; empty takes all of the embodiment.
        patch: Latent cells per token along (time, row, column), instead of the preset's.
        encoder: Image encoder, instead of the preset's.
        latents: Codec, instead of the preset's.
        shift_px: Largest random shift of observed images, instead of the preset's. Cameras that
            never move want 0: where a thing is in the picture says where it is on the table.
        seed: Everything random follows from it.
        validation: Share of each role's episodes that only measure.
        shares: Share of a batch per role; empty takes roles as often as they are in the store.
        balance: Whether every window or every episode is drawn equally often.
        codec: Phase 1.
        model: Phase 2.
        validate_every: Steps between validations.
        validation_windows: Windows a validation measures at most.
        save_every: Steps between states that a run can resume from.
        weights: Number type of the weights in the checkpoint; float16 halves the folder and rounds
            each weight once.
        threads: Threads of torch; 0 leaves torch's own choice.
        workers: Processes that read batches ahead; worth it for stores that are decoded as they
            are read.
        compute: Device, precision, and how processes and micro-batches divide a batch.
    """

    preset: str = "sim_small"
    views: tuple[str, ...] = ()
    patch: tuple[int, int, int] | None = None
    encoder: EncoderConfig | None = None
    latents: CodecConfig | None = None
    shift_px: int | None = None
    seed: int = 0
    validation: float = 0.1
    shares: dict[str, float] = field(default_factory=dict)
    balance: Balance = "windows"
    codec: CodecTraining = CodecTraining()
    model: ModelTraining = ModelTraining()
    validate_every: int = 250
    validation_windows: int = 256
    save_every: int = 250
    weights: Literal["float32", "float16"] = "float32"
    threads: int = 0
    workers: int = 0
    compute: Compute = field(default=Compute(), metadata=NEWER)

    def __post_init__(self) -> None:
        preset(self.preset)
        for name in self.shares:
            if name not in ROLES:
                raise UnknownNameError("role in shares", name, ROLES)
        _require(0 <= self.validation < 1, f"validation must be in [0, 1), got {self.validation}")
        for name in ("validate_every", "validation_windows", "save_every"):
            _require(getattr(self, name) > 0, f"{name} must be above 0, got {getattr(self, name)}")
        for name in ("threads", "workers"):
            _require(getattr(self, name) >= 0, f"{name} must be at least 0")
        _require(
            self.model.batch % self.compute.accumulate == 0,
            f"model.batch {self.model.batch} cannot be divided into accumulate "
            f"{self.compute.accumulate} micro-batches",
        )

    @property
    def what_is_learned(self) -> TrainConfig:
        """The same run without what may differ when it goes on: where and in which parts."""
        compute = Compute(precision=self.compute.precision)
        return replace(self, threads=0, workers=0, compute=compute)


def model_config(config: TrainConfig, embodiment: Embodiment) -> ModelConfig:
    """The model that a run trains.

    Raises:
        StoreError: The embodiment or the run's sizes do not suit the preset.
    """
    base = fit_preset(config.preset, embodiment)
    shift_px = base.images.shift_px if config.shift_px is None else config.shift_px
    try:
        return replace(
            base,
            images=replace(base.images, shift_px=shift_px),
            patch=config.patch or base.patch,
            encoder=config.encoder or base.encoder,
            codec=config.latents or base.codec,
        )
    except ValueError as error:
        raise StoreError(f"the run's sizes do not fit {config.preset}: {error}") from error


def fit_preset(name: str, embodiment: Embodiment) -> ModelConfig:
    """The preset ``name`` with the views, sizes and rate of ``embodiment``.

    Raises:
        UnknownNameError: There is no such preset.
        StoreError: The cameras differ in size, or the size does not suit the preset.
    """
    base = preset(name)
    sizes = {camera.size for camera in embodiment.cameras.values()}
    if len(sizes) != 1:
        raise StoreError(
            f"{name} needs cameras of one size, {embodiment.name} has {sorted(sizes) or 'none'}"
        )
    try:
        return replace(
            base,
            views=embodiment.camera_names,
            window=replace(base.window, rate_hz=embodiment.rate_hz),
            images=replace(base.images, size=sizes.pop()),
            action_size=embodiment.action_size,
            state_size=embodiment.state_size if base.state_size else 0,
        )
    except ValueError as error:
        raise StoreError(f"{name} does not fit {embodiment.name}: {error}") from error
