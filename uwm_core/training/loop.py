# SPDX-License-Identifier: Apache-2.0
"""A run: from a store to a checkpoint folder.

    OUT/config.yaml               what was asked
    OUT/checkpoint/               averaged weights, ready to drive; renewed at every save
    OUT/state_*.safetensors       what `--resume` goes on from
    OUT/metrics.jsonl, events...  every step's figures

Phase 1 is `training.codec`, phase 2 is `ModelTask`; `training.optimise` takes the steps of both.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from uwm_core.batch import Batch
from uwm_core.checkpoint import Checkpoint, save_checkpoint
from uwm_core.data.dataset import Loader, WindowBatch, WindowReader
from uwm_core.data.mixture import Mixture
from uwm_core.data.normalize import Normalizer
from uwm_core.data.plan import BatchPlan, Sampling
from uwm_core.data.split import Split, split_episodes
from uwm_core.data.windows import ROLES, Rows, Steps, Windows, cut_windows
from uwm_core.embodiment import Embodiment
from uwm_core.errors import StoreError
from uwm_core.spec import dump_spec
from uwm_core.training.codec import CodecTask, cache_latents, next_latent, take_codec
from uwm_core.training.config import ModelTraining, TrainConfig, model_config
from uwm_core.training.optim import seeded
from uwm_core.training.optimise import Plan, optimise
from uwm_core.training.start import take_weights
from uwm_core.world_model import WorldModel


@dataclass(frozen=True, eq=False, kw_only=True)
class Data:
    """What a run learns from.

    Attributes:
        steps: The store's arrays.
        embodiment: The store's robot.
        split: Which episodes train.
        normalizer: Statistics of those.
        source: Name of the store.
        mixture: Where the steps came from, if from several stores.
    """

    steps: Steps
    embodiment: Embodiment
    split: Split
    normalizer: Normalizer
    source: str = ""
    mixture: Mixture | None = None

    @classmethod
    def prepare(
        cls, steps: Steps, embodiment: Embodiment, config: TrainConfig, source: str = ""
    ) -> Data:
        """Split a store and take the statistics of its training part.

        Raises:
            StoreError: Nothing is left to train on.
        """
        split = split_episodes(steps.episodes, validation=config.validation, seed=config.seed)
        model = model_config(config, embodiment)
        normalizer = Normalizer.fit(
            steps,
            split.train,
            action_names=embodiment.action_names,
            state_names=embodiment.state_names if model.state_size else (),
        )
        return cls(
            steps=steps,
            embodiment=embodiment,
            split=split,
            normalizer=normalizer,
            source=source,
        )

    @classmethod
    def of_mixture(cls, mixture: Mixture, config: TrainConfig) -> Data:
        """Split stores and take the statistics of their training part.

        Raises:
            StoreError: Nothing is left to train on.
        """
        names = ", ".join(source.name for source in mixture.sources)
        data = cls.prepare(mixture.steps, mixture.embodiment, config, names)
        return replace(data, mixture=mixture) if len(mixture.sources) > 1 else data

    def windows(self, model: WorldModel, episodes: tuple[int, ...]) -> Windows:
        """The windows of some episodes, cut as the model needs them."""
        window = model.config.window
        return cut_windows(
            self.steps.episodes,
            history=window.history,
            chunk=window.chunk,
            keep=episodes,
            valid=self.steps.valid,
        )

    def sampling(self, config: TrainConfig) -> Sampling:
        """How a run draws its windows."""
        return Sampling(
            batch=config.model.batch,
            shares=config.shares,
            stores=self.mixture.shares if self.mixture else (),
            balance=config.balance,
            seed=config.seed,
        )

    def describe(self) -> dict[str, Any]:
        """Counts for `training.json`."""
        steps, split = self.steps, self.split
        taught = [steps.episodes[i].teaches for i in split.train]
        return {
            "store": self.source,
            "fingerprint": self.steps.fingerprint,
            **({"stores": self._describe_stores(self.mixture)} if self.mixture else {}),
            "steps": len(steps.action),
            "training_episodes": len(split.train),
            "validation_episodes": len(split.validation),
            **{f"{role}_episodes": taught.count(role) for role in ROLES if role in taught},
            "tasks": ", ".join(sorted({span.task for span in steps.episodes if span.task})),
        }

    def _describe_stores(self, mixture: Mixture) -> list[dict[str, Any]]:
        """Per store what evaluating on it alone needs to know: which of its episodes are held."""
        first, found = 0, []
        for source in mixture.sources:
            count = len(source.steps.episodes)
            held = [i - first for i in self.split.validation if first <= i < first + count]
            found.append(
                {
                    "store": source.name,
                    "share": source.share,
                    "fingerprint": source.steps.fingerprint,
                    "held_out": held,
                }
            )
            first += count
        return found

    def stamp(self, config: TrainConfig) -> str:
        """What config and data are, for resuming; threads and workers may differ."""
        shares = str(self.mixture.shares) if self.mixture else ""
        asked = dump_spec(replace(config, threads=0, workers=0)) + self.steps.fingerprint + shares
        return hashlib.sha256(asked.encode()).hexdigest()[:16]


class ModelTask:
    """Phase 2: actions and next observations.

    Args:
        model: The world model; its codec is frozen.
        data: The store.
        latents: (N, V, C, h, w) of every row.
        config: Sizes of batches and validation.
    """

    name = "model"
    figures: Mapping[str, float]
    """What the last validation gave."""
    loader: Loader
    """Reads the batches; to be closed at the end."""

    def __init__(self, model: WorldModel, data: Data, latents: Tensor, config: TrainConfig) -> None:
        self.module = model
        model.codec.requires_grad_(False)
        self._latents, self._settings, self._seed = latents, config.model, config.seed
        windows = data.windows(model, data.split.train)
        self.loader = Loader(
            WindowReader(data.steps, windows, data.normalizer),
            BatchPlan(windows, data.sampling(config)),
            workers=config.workers,
            next_images=False,
        )
        held = data.windows(model, data.split.validation)
        self._held = WindowReader(data.steps, held, data.normalizer)
        self._held_index = _spread(len(held), config.validation_windows)
        self.figures = {}

    def loss(self, step: int) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Loss of batch ``step``."""
        self.module.train()
        self.module.codec.eval()
        batch = self._batch(self.loader.batch(step))
        losses = self.module.loss(
            batch, generator=seeded(self._seed, 2, step), draws=self._settings.draws
        )
        total = self._settings.action_weight * losses.action + losses.next_obs
        return total, {"action": losses.action.detach(), "next_obs": losses.next_obs.detach()}

    @torch.no_grad()
    def validate(self) -> Mapping[str, float]:
        """Losses with always the same noise, on the same windows of held-out episodes."""
        if not len(self._held_index):
            return {}
        self.module.eval()
        parts, size = [], self._settings.batch
        for n, start in enumerate(range(0, len(self._held_index), size)):
            index = self._held_index[start : start + size]
            batch = self._batch(self._held.read(index, next_images=False))
            losses = self.module.loss(batch, generator=seeded(self._seed, 3, n), draws=4)
            parts.append((len(batch.role), float(losses.action), float(losses.next_obs)))
        weights = np.array([part[0] for part in parts], dtype=np.float64)
        action, next_obs = (
            float(np.average([part[k] for part in parts], weights=weights)) for k in (1, 2)
        )
        self.figures = {"loss": action + next_obs, "action": action, "next_obs": next_obs}
        return self.figures

    def _batch(self, read: WindowBatch) -> Batch:
        return Batch(
            images=read.images,
            state=read.state,
            action=read.action,
            next_latent=next_latent(self._latents, read.next_rows),
            role=read.role,
        )


def train(
    config: TrainConfig,
    data: Data,
    out: Path,
    *,
    resume: bool = False,
    quiet: bool = False,
    threads: int | None = None,
) -> Path:
    """Run both phases.

    Args:
        config: What to do.
        data: What to learn from.
        out: Folder of the run; made if missing.
        resume: Go on where a run in ``out`` stopped.
        quiet: No progress bars.
        threads: Threads of torch, instead of the config's number.

    Returns:
        The checkpoint folder.

    Raises:
        StoreError: ``out`` holds a run and ``resume`` was not asked.
        CheckpointError: The run in ``out`` is another one.
        Interrupted: Ctrl-C; everything is saved.
    """
    if any(out.glob("state_*.safetensors")) and not resume:
        raise StoreError(f"{out} already holds a run; --resume goes on with it")
    out.mkdir(parents=True, exist_ok=True)
    (out / "config.yaml").write_text(dump_spec(config), encoding="utf-8")
    if threads or config.threads:
        torch.set_num_threads(threads or config.threads)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        model = WorldModel(model_config(config, data.embodiment))
    start = None
    if config.model.given is not None:
        start = take_weights(model, config.model, data.normalizer, data.source)
        data = replace(data, normalizer=start.normalizer)
        if not quiet:
            tqdm.write(str(start))
    else:
        _learn_codec(model, config, data, out, resume=resume, quiet=quiet)
    latents = cache_latents(model, data.steps, quiet=quiet)
    task = ModelTask(model, data, latents, config)

    def save(step: int) -> None:
        training = {"data": data.describe(), "step": step, "metrics": task.figures}
        if start is not None:
            training["start"] = start.describe()
        save_checkpoint(
            out / "checkpoint",
            Checkpoint(
                config=model.config,
                embodiment=data.embodiment,
                normalizer=data.normalizer,
                weights=model.state_dict(),
                training={**training, "held_out": list(data.split.validation)},
            ),
            dtype=getattr(torch, config.weights),
        )

    plan = _plan(config.model, config, data.stamp(config))
    with task.loader:
        optimise(task, replace(plan, on_save=save), out, resume=resume, quiet=quiet)
    return out / "checkpoint"


def _learn_codec(
    model: WorldModel, config: TrainConfig, data: Data, out: Path, *, resume: bool, quiet: bool
) -> None:
    if config.codec.given is not None:
        take_codec(model, config.codec.given)
        return
    if not model.codec.trainable:
        return
    task = CodecTask(
        model,
        data.steps,
        train=data.split.train,
        validation=data.split.validation,
        batch=config.codec.batch,
        seed=config.seed,
    )
    settings = ModelTraining(
        iterations=config.codec.iterations,
        learning_rate=config.codec.learning_rate,
        warmup=config.codec.warmup,
        weight_decay=0.0,
        ema_decay=0.0,
    )
    plan = _plan(settings, config, data.stamp(config))
    optimise(task, plan, out, resume=resume, quiet=quiet)


def _plan(settings: ModelTraining, config: TrainConfig, stamp: str) -> Plan:
    return Plan(
        iterations=settings.iterations,
        learning_rate=settings.learning_rate,
        warmup=settings.warmup,
        weight_decay=settings.weight_decay,
        clip_norm=settings.clip_norm,
        ema_decay=settings.ema_decay,
        validate_every=config.validate_every,
        save_every=config.save_every,
        stamp=stamp,
    )


def _spread(count: int, most: int) -> Rows:
    """At most ``most`` of ``count`` windows, evenly spread."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).astype(np.int64))
