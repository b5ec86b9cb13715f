# SPDX-License-Identifier: Apache-2.0
"""A run: from a store to a checkpoint folder.

    OUT/config.yaml               what was asked
    OUT/checkpoint/               averaged weights, ready to drive; renewed at every save
    OUT/state_*                   what `--resume` goes on from
    OUT/metrics.jsonl, events...  every step's figures

Phase 1 is `training.codec`, phase 2 `training.model_task`; `training.optimise` takes the steps of
both. A run is one process, or what torchrun started (`training.team`), with the same result.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from uwm_core.checkpoint import Checkpoint, save_checkpoint
from uwm_core.data.mixture import Mixture
from uwm_core.data.normalize import Normalizer
from uwm_core.data.plan import Sampling
from uwm_core.data.split import Split, split_episodes
from uwm_core.data.windows import ROLES, Steps, Windows, cut_windows
from uwm_core.embodiment import Embodiment
from uwm_core.errors import SpecError, StoreError
from uwm_core.model.imagenet import take_imagenet
from uwm_core.spec import dump_spec
from uwm_core.training.codec import CodecTask, cache_latents, take_codec
from uwm_core.training.config import ModelTraining, TrainConfig, model_config
from uwm_core.training.engine import whole_weights
from uwm_core.training.model_task import ModelTask
from uwm_core.training.optimise import Plan, Task, optimise
from uwm_core.training.start import take_weights
from uwm_core.training.state import any_state
from uwm_core.training.team import ALONE, Team
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
        """What config and data are, for resuming; who computes and how may differ."""
        shares = str(self.mixture.shares) if self.mixture else ""
        asked = dump_spec(config.what_is_learned) + self.steps.fingerprint + shares
        return hashlib.sha256(asked.encode()).hexdigest()[:16]


def train(
    config: TrainConfig,
    data: Data,
    out: Path,
    *,
    resume: bool = False,
    quiet: bool = False,
    team: Team = ALONE,
) -> Path:
    """Run both phases.

    Args:
        config: What to do.
        data: What to learn from.
        out: Folder of the run, one for all ranks; made if missing.
        resume: Go on where a run in ``out`` stopped, of however many ranks.
        quiet: No progress bars.
        team: The ranks that share the run; every one of them calls this.

    Returns:
        The checkpoint folder.

    Raises:
        StoreError: ``out`` holds a run and ``resume`` was not asked.
        SpecError: The batch cannot be divided among the ranks.
        CheckpointError: The run in ``out`` is another one.
        Interrupted: Ctrl-C or SIGTERM; everything is saved.
        Diverged: The loss is no longer finite.
    """
    if any_state(out) and not resume:
        raise StoreError(f"{out} already holds a run; --resume goes on with it")
    _begin(config, out, team)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        model = WorldModel(model_config(config, data.embodiment)).to(team.device)
    take_steps = partial(optimise, folder=out, resume=resume, quiet=quiet, team=team)
    start = None
    if config.model.given is not None:
        start = take_weights(model, config.model, data.normalizer, data.source)
        data = replace(data, normalizer=start.normalizer)
        if not quiet and team.first:
            tqdm.write(str(start))
    else:
        _begin_anew(model, config, data, take_steps)
    model.codec.make_ready(model.denoiser.position.device)
    team.take_from_first(model.state_dict())
    latents = cache_latents(model, data.steps, quiet=quiet, team=team)
    task = ModelTask(model, data, latents, config, team)

    def save(step: int) -> None:
        weights = whole_weights(model)
        if not team.first:
            return
        training = {"data": data.describe(), "step": step, "metrics": task.figures}
        if start is not None:
            training["start"] = start.describe()
        checkpoint = Checkpoint(
            config=model.config,
            embodiment=data.embodiment,
            normalizer=data.normalizer,
            weights=weights,
            training={**training, "held_out": list(data.split.validation)},
        )
        save_checkpoint(out / "checkpoint", checkpoint, dtype=getattr(torch, config.weights))

    plan = _plan(config.model, config, data.stamp(config))
    with task.loader:
        take_steps(task, replace(plan, on_save=save))
    return out / "checkpoint"


def _begin(config: TrainConfig, out: Path, team: Team) -> None:
    """Refuse a batch that cannot be divided, then make the folder."""
    parts = team.size * config.compute.accumulate
    if config.model.batch % parts:
        raise SpecError(
            f"model.batch {config.model.batch} cannot be divided by {team.size} processes x "
            f"accumulate {config.compute.accumulate}; a multiple of {parts} would have worked"
        )
    team.wait()  # or a quick rank's state would look like another run's to a slow one
    if team.first:
        out.mkdir(parents=True, exist_ok=True)
        (out / "config.yaml").write_text(dump_spec(config), encoding="utf-8")
    if config.threads:
        torch.set_num_threads(config.threads)


def _begin_anew(
    model: WorldModel,
    config: TrainConfig,
    data: Data,
    take_steps: Callable[[Task, Plan], None],
) -> None:
    """Give a new model what its second phase builds on: ImageNet's filters, and a codec."""
    if config.model.encoder_weights is not None:
        take_imagenet(model.observer, config.model.encoder_weights)
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
    take_steps(task, plan)


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
