# SPDX-License-Identifier: Apache-2.0
"""Where a run begins: a checkpoint's weights as they are, or carried over to other sizes.

What belongs to a name (a view, a number of the state, a number of the action) keeps its weights
where the run has that name too; what has no counterpart keeps what the new model was born with,
and the `Start` says so, tensor by tensor. Both normalisers are a choice, never a guess.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from uwm_core.checkpoint import Checkpoint, load_checkpoint
from uwm_core.config import ModelConfig
from uwm_core.data.normalize import Normalizer
from uwm_core.errors import CheckpointError
from uwm_core.training.config import ModelTraining
from uwm_core.world_model import WorldModel

Origin = list[int]
"""Per entry of the new model the entry of the checkpoint that it continues; -1 for none."""

_MODULATION = re.compile(r"denoiser\.(blocks\.\d+|head)\.modulation\.linear\.weight")
_SQUEEZE = "denoiser.squeeze.weight"
_ENCODER = re.compile(r"(observer\.encoders\.)(\d+)(\..+)")
_ACTION_AXIS = {
    "denoiser.action_in.0.weight": 1,
    "denoiser.action_out.2.weight": 0,
    "denoiser.action_out.2.bias": 0,
}


@dataclass(frozen=True)
class Renewed:
    """A tensor that is not the checkpoint's as it was.

    Attributes:
        name: Its name in the model's state dict.
        size: Numbers in it.
        kept: Numbers of it that came from the checkpoint.
    """

    name: str
    size: int
    kept: int

    def __str__(self) -> str:
        if not self.kept:
            return f"{self.name}: new"
        if self.kept == self.size:
            return f"{self.name}: in another order"
        return f"{self.name}: {self.kept} of {self.size} numbers kept, the others new"


@dataclass(frozen=True, eq=False, kw_only=True)
class Start:
    """What a run began with.

    Attributes:
        checkpoint: Name of the checkpoint that gave the weights.
        version: First digits of its weights' SHA-256.
        normalizer: What the run scales by.
        choice: Whose it is: "same" (both are equal), "keep" (the checkpoint's), "refit" (the
            store's).
        renewed: Tensors that are not the checkpoint's as they were.
        renamed: Views and numbers that go on under another name, one sentence each.
    """

    checkpoint: str
    version: str
    normalizer: Normalizer
    choice: str
    renewed: tuple[Renewed, ...] = ()
    renamed: tuple[str, ...] = ()

    def describe(self) -> dict[str, Any]:
        """Plain values for `training.json`."""
        return {
            "checkpoint": self.checkpoint,
            "version": self.version,
            "normalizer": self.choice,
            "renewed": [str(tensor) for tensor in self.renewed],
            "renamed": list(self.renamed),
        }

    def __str__(self) -> str:
        whose = {"same": "that of both", "keep": "the checkpoint's", "refit": "the store's"}
        first = f"start: {self.checkpoint} {self.version}, normaliser: {whose[self.choice]}"
        but = " but" if self.renewed else ""
        return "\n  ".join(
            [f"{first}, every tensor as it was{but}", *map(str, self.renewed), *self.renamed]
        )


def take_weights(
    model: WorldModel, settings: ModelTraining, normalizer: Normalizer, source: str = ""
) -> Start:
    """Give a new model the weights of the checkpoint ``settings.given``.

    Args:
        model: The run's model, just born; changed in place.
        settings: Names the checkpoint, and what may differ from it.
        normalizer: What the run's own store gives.
        source: The store's name, for errors.

    Returns:
        What was taken; its normaliser is the one to train with.

    Raises:
        CheckpointError: Sizes or normalisers differ and the settings do not say what to do, or
            differ in what cannot be carried over.
        UnknownNameError: There is no such checkpoint.
    """
    name = str(settings.given)
    checkpoint = load_checkpoint(name)
    if settings.sizes == "same" and checkpoint.config != model.config:
        what = ", ".join(_differences(checkpoint.config, model.config))
        raise CheckpointError(
            f"{name} has other sizes than the model of this run: {what}; sizes: renew would carry "
            "over what has its counterpart"
        )
    chosen = _normalizer(checkpoint, settings, normalizer, source or "this store")
    weights = checkpoint.build().state_dict()
    carried, renewed = carry_over(
        weights, model, checkpoint.config, (checkpoint.normalizer, normalizer)
    )
    model.load_state_dict(carried)
    names = (
        (checkpoint.config.views, model.config.views),
        (checkpoint.normalizer.action.names, normalizer.action.names),
        (checkpoint.normalizer.state_names, normalizer.state_names),
    )
    return Start(
        checkpoint=checkpoint.name,
        version=checkpoint.version,
        normalizer=chosen,
        choice=settings.normalizer,
        renewed=renewed,
        renamed=tuple(sentence for old, new in names for sentence in _renamed(old, new)),
    )


def _normalizer(
    checkpoint: Checkpoint, settings: ModelTraining, fitted: Normalizer, source: str
) -> Normalizer:
    kept, name = checkpoint.normalizer, checkpoint.name
    if settings.normalizer == "refit":
        return fitted
    if settings.normalizer == "same":
        if kept.dumps() != fitted.dumps():
            raise CheckpointError(
                f"{name} was trained with another normaliser than {source} gives; normalizer: keep "
                "takes the checkpoint's, normalizer: refit the store's"
            )
        return fitted
    for what, mine, theirs in (
        ("actions", kept.action.names, fitted.action.names),
        ("state", kept.state_names, fitted.state_names),
    ):
        if mine != theirs:
            raise CheckpointError(
                f"the normaliser of {name} cannot be kept: its {what} are {list(mine)}, those of "
                f"{source} {list(theirs)}; normalizer: refit takes the store's"
            )
    return kept


def carry_over(
    weights: Mapping[str, Tensor],
    model: WorldModel,
    config: ModelConfig,
    normalizers: tuple[Normalizer, Normalizer],
) -> tuple[dict[str, Tensor], tuple[Renewed, ...]]:
    """Weights for a model from those of another one.

    A name that both have keeps its weights. Names without a counterpart are paired in their order
    if there are as many of them on both sides (a camera that is called otherwise); else they are
    new.

    Args:
        weights: The other model's state dict.
        model: The model that shall have them; not changed.
        config: The other model's config.
        normalizers: The other model's and this one's, for the names of action and state.

    Returns:
        A whole state dict on the CPU, and the tensors in it that are not the other's as they were.

    Raises:
        CheckpointError: The models differ in more than views, action, state, rate, the size of
            stored images and where the VAE lies.
    """
    if what := _differences(_fitted(config, model.config), model.config):
        raise CheckpointError(
            f"the checkpoint differs in {', '.join(what)}; only views, action and state can be "
            "carried over to other sizes"
        )
    origins = _Origins.of(config, model.config, normalizers)
    carried, renewed = {}, []
    for name, value in model.state_dict().items():
        born = value.cpu()
        kept, along = weights.get(origins.name_of(name)), origins.along(name)
        share = 0
        if kept is None:
            carried[name] = born
        elif along is None:
            carried[name], share = kept, kept.numel()
        else:
            # As with a modulation, which is born zero: what is new has no say at first.
            blank = torch.zeros_like(born) if name == _SQUEEZE else born
            carried[name], share = _joined(kept, blank, *along)
        if name not in weights or not torch.equal(carried[name], weights[name]):
            renewed.append(Renewed(name, born.numel(), share))
    return carried, tuple(renewed)


def _joined(kept: Tensor, born: Tensor, axis: int, origin: Origin) -> tuple[Tensor, int]:
    """``born`` with what has an origin along ``axis`` taken from ``kept``; how many numbers."""
    pairs = [(here, there) for here, there in enumerate(origin) if there >= 0]
    here, there = torch.tensor(pairs, dtype=torch.long).reshape(-1, 2).unbind(1)
    part = kept.index_select(axis, there)
    return born.index_copy(axis, here, part), part.numel()


@dataclass(frozen=True, kw_only=True)
class _Origins:
    """Where what the new model has comes from.

    Attributes:
        views: Per view.
        action: Per number of an action.
        tokens: Per token of the transformer.
        condition: Per column of what reads the condition.
        squeezed: Whether one layer does, and not every modulation.
        own_encoders: Whether every view has an encoder of its own.
    """

    views: Origin
    action: Origin
    tokens: Origin
    condition: Origin
    squeezed: bool
    own_encoders: bool

    @classmethod
    def of(
        cls, old: ModelConfig, new: ModelConfig, normalizers: tuple[Normalizer, Normalizer]
    ) -> _Origins:
        views = _origin(old.views, new.views)
        state = (
            _origin(*(normalizer.state_names for normalizer in normalizers))
            if new.state_size
            else []
        )
        return cls(
            views=views,
            action=_origin(*(normalizer.action.names for normalizer in normalizers)),
            tokens=_tokens(old, new, views),
            condition=_condition(old, new, views, state),
            squeezed=new.condition_rank > 0,
            own_encoders=not new.encoder.shared,
        )

    def name_of(self, name: str) -> str:
        """What the checkpoint calls a tensor; of an encoder that it has not, a name of nothing."""
        match = _ENCODER.fullmatch(name) if self.own_encoders else None
        return f"{match[1]}{self.views[int(match[2])]}{match[3]}" if match else name

    def along(self, name: str) -> tuple[int, Origin] | None:
        """The axis of a tensor whose entries have origins, and these; None if it is whole."""
        if name in _ACTION_AXIS:
            return _ACTION_AXIS[name], self.action
        if name == "denoiser.position":
            return 1, self.tokens
        reads = name == _SQUEEZE if self.squeezed else _MODULATION.fullmatch(name)
        return (1, self.condition) if reads else None


def _origin(old: Sequence[str], new: Sequence[str]) -> Origin:
    """Where every new name comes from: the same name, else the leftover names in their order."""
    left = [n for n, name in enumerate(old) if name not in new]
    fresh = [name for name in new if name not in old]
    pairs = dict(zip(fresh, left, strict=True)) if len(left) == len(fresh) else {}
    return [old.index(name) if name in old else pairs.get(name, -1) for name in new]


def _renamed(old: Sequence[str], new: Sequence[str]) -> list[str]:
    pairs = zip(new, _origin(old, new), strict=True)
    return [f"{name} goes on as {old[at]} did" for name, at in pairs if at >= 0 and old[at] != name]


def _blocks(origin: Origin, size: int) -> Origin:
    """The same for entries that are ``size`` numbers each."""
    return [at * size + k if at >= 0 else -1 for at in origin for k in range(size)]


def _tokens(old: ModelConfig, new: ModelConfig, views: Origin) -> Origin:
    """Rows of the learned positions: actions, patches of every view, registers."""
    chunk, each = new.window.chunk, new.patches // len(new.views)
    patches = [at + chunk if at >= 0 else -1 for at in _blocks(views, each)]
    last = chunk + old.patches
    return [*range(chunk), *patches, *range(last, last + new.registers)]


def _condition(old: ModelConfig, new: ModelConfig, views: Origin, state: Origin) -> Origin:
    """Columns of what reads the condition: (view, step, feature), (step, state), then the times."""
    steps = new.window.history
    features = _blocks(views, steps * new.encoder.features)
    first = len(old.views) * steps * old.encoder.features
    states = [
        first + step * old.state_size + at if at >= 0 else -1
        for step in range(steps)
        for at in state
    ]
    last = old.condition_size
    times = [] if new.condition_rank else range(last, last + new.time_width)
    return [*features, *states, *times]


def _fitted(old: ModelConfig, new: ModelConfig) -> ModelConfig:
    """The old config with all of the new one's that may differ."""
    same_pixels = old.images.seen == new.images.seen
    codec = dataclasses.replace(old.codec, source=new.codec.source, revision=new.codec.revision)
    return dataclasses.replace(
        old,
        name=new.name,
        views=new.views,
        window=dataclasses.replace(old.window, rate_hz=new.window.rate_hz),
        images=new.images if same_pixels else old.images,
        codec=codec,
        action_size=new.action_size,
        state_size=new.state_size,
    )


def _differences(old: ModelConfig, new: ModelConfig) -> list[str]:
    """What differs, in words: name, the old value, the new one."""
    found = []
    for entry in dataclasses.fields(ModelConfig):
        mine, theirs = getattr(old, entry.name), getattr(new, entry.name)
        if mine != theirs:
            found.append(f"{entry.name} ({mine}, here {theirs})")
    return found
