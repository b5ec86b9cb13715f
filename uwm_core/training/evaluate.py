# SPDX-License-Identifier: Apache-2.0
"""How well a checkpoint knows held-out episodes: its dynamics, its actions, and pictures of both.

Map: `held_out` says which episodes a checkpoint has not seen, `evaluate` gives figures per role,
`Examples` what `training.sheet` draws. Success at the task is measured by driving
(`uwm_core.sim.rollout`), not here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from uwm_core.checkpoint import Checkpoint
from uwm_core.data.dataset import WindowReader
from uwm_core.data.windows import ROLES, Rows, Steps, cut_windows
from uwm_core.errors import StoreError
from uwm_core.figures import Figure
from uwm_core.policy import IMAGINE_STEPS
from uwm_core.training.metrics import action_error, latent_error, other_episode, pixel_error
from uwm_core.training.optim import seeded
from uwm_core.world_model import WorldModel


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig:
    """How much is measured.

    Attributes:
        windows: Windows per role at most, evenly spread.
        batch: Windows answered at once.
        seed: Of the first noises and the shuffled actions.
        sample_steps: Network calls per chunk of actions; None takes the checkpoint's number.
        imagine_steps: Network calls per imagined image; by default what a `Policy` takes.
        fast: What may be given up for speed, as for a `Policy`.
    """

    windows: int = 256
    batch: int = 64
    seed: int = 0
    sample_steps: int | None = None
    imagine_steps: int = IMAGINE_STEPS
    fast: str = "exact"

    def __post_init__(self) -> None:
        if self.windows < 1 or self.batch < 1:
            raise ValueError("windows and batch must be at least 1")


@dataclass(frozen=True, eq=False, kw_only=True)
class Examples:
    """Some windows of one role and what was imagined for them.

    Attributes:
        role: Of their episodes.
        present: Per view (B, H, W, 3) uint8, the last observed step.
        truth: Per view (B, H, W, 3) uint8, the first step of the next observation.
        imagined: Per view (B, H, W, 3) uint8, the same moment by forward dynamics.
    """

    role: str
    present: dict[str, Tensor]
    truth: dict[str, Tensor]
    imagined: dict[str, Tensor]


@dataclass(frozen=True, eq=False, kw_only=True)
class Evaluation:
    """What `evaluate` found.

    Attributes:
        figures: One per metric and role.
        examples: One per role.
        episodes: Held-out episodes that were measured.
    """

    figures: tuple[Figure, ...]
    examples: tuple[Examples, ...]
    episodes: tuple[int, ...]


def held_out(checkpoint: Checkpoint, steps: Steps) -> tuple[int, ...]:
    """Episodes of a store that the checkpoint has not trained on.

    Of a store that it was trained on, those are its validation episodes; of any other store, all.
    Discarded episodes are left out.

    Raises:
        StoreError: There is none.
    """
    usable = [i for i, span in enumerate(steps.episodes) if span.teaches is not None]
    data = checkpoint.training.get("data", {})
    whole = {"fingerprint": data.get("fingerprint"), **checkpoint.training}
    for known in (whole, *data.get("stores", ())):
        if known["fingerprint"] == steps.fingerprint:
            usable = [number for number in usable if number in set(known.get("held_out", ()))]
            break
    if not usable:
        raise StoreError("no episode of the store is held out; train with validation above 0")
    return tuple(usable)


def evaluate(
    checkpoint: Checkpoint, steps: Steps, config: EvaluateConfig | None = None
) -> Evaluation:
    """Measure every mode on the held-out episodes of a store.

    Args:
        checkpoint: What is measured.
        steps: The store.
        config: How much is measured.

    Raises:
        StoreError: No held-out episode is long enough for a window.
    """
    config = config or EvaluateConfig()
    model = checkpoint.build().quicken(config.fast)
    model.codec.make_ready(torch.device("cpu"))
    episodes = held_out(checkpoint, steps)
    window = model.config.window
    # Without the repeated rows at the end: "nothing moves" is too easy a question.
    windows = cut_windows(
        steps.episodes,
        history=window.history,
        chunk=window.chunk,
        keep=episodes,
        hold=False,
        valid=steps.valid,
    )
    reader = WindowReader(steps, windows, checkpoint.normalizer)
    figures: list[Figure] = []
    examples: list[Examples] = []
    for role in ROLES:
        found = windows.of_role(role)
        if len(found):
            spread = np.linspace(0, len(found) - 1, min(config.windows, len(found)))
            asked = _Asked(model, reader, found[spread.astype(np.int64)], config)
            figures += _figures(role, asked)
            examples.append(asked.examples(role))
    if not figures:
        raise StoreError("no held-out episode is long enough for a window")
    return Evaluation(figures=tuple(figures), examples=tuple(examples), episodes=episodes)


def _figures(role: str, asked: _Asked) -> list[Figure]:
    """Figures of one role, each beside what it must beat."""

    def figure(metric: str, value: float, unit: str, peer: str, peer_value: float) -> Figure:
        return Figure(
            bench=f"evaluate_{role}",
            metric=metric,
            value=value,
            unit=unit,
            peer=peer,
            peer_value=peer_value,
        )

    unit = "unitless"
    found: list[Figure] = []
    if role != "video":
        forward, copied = asked.forward(), asked.copied()
        found += [
            figure("forward_latent_error", forward.latent, unit, "copying", copied.latent),
            figure("forward_pixel_error", forward.pixel, "of 255", "copying", copied.pixel),
        ]
        other = asked.shuffled()
        found += [
            figure("forward_latent_error", forward.latent, unit, "shuffled_actions", other.latent),
            figure("forward_pixel_error", forward.pixel, "of 255", "shuffled_actions", other.pixel),
        ]
        policy, inverse = asked.actions("policy"), asked.actions("inverse_dynamics")
        found.append(figure("inverse_action_error", inverse, unit, "policy", policy))
    video, copied = asked.video(), asked.copied()
    found.append(figure("video_latent_error", video.latent, unit, "copying", copied.latent))
    found.append(figure("video_pixel_error", video.pixel, "of 255", "copying", copied.pixel))
    return found


@dataclass(frozen=True)
class _Error:
    """Errors of imagined next observations."""

    latent: float
    pixel: float


class _Asked:
    """The questions of an evaluation, asked on always the same windows and first noises."""

    def __init__(
        self, model: WorldModel, reader: WindowReader, index: Rows, config: EvaluateConfig
    ) -> None:
        self._model, self._reader, self._index = model, reader, index
        self._config = config
        read = reader.read(index, next_images=True)
        self._read = read
        if read.next_images is None:
            raise StoreError("the next observation's images were not read")
        self._truth: Mapping[str, Tensor] = read.next_images
        self._next = self._encode(self._truth)
        self._condition = torch.cat(
            [
                model.observe(
                    {view: image[part] for view, image in read.images.items()},
                    None if read.state is None else read.state[part],
                )
                for part in self._parts()
            ]
        ).detach()
        self._imagined: Tensor | None = None

    def forward(self) -> _Error:
        """Forward dynamics with the actions that were taken."""
        self._imagined = self._imagine("forward_dynamics", self._read.action)
        return self._error(self._imagined)

    def shuffled(self) -> _Error:
        """Forward dynamics with another episode's actions."""
        episode = self._reader.windows.episode[self._index]
        partner = other_episode(episode, np.random.default_rng(self._config.seed))
        action = self._read.action[torch.from_numpy(partner)]
        return self._error(self._imagine("forward_dynamics", action))

    def video(self) -> _Error:
        """What usually comes next."""
        return self._error(self._imagine("video", None))

    def copied(self) -> _Error:
        """The present image in place of the next."""
        present = {view: _repeat_last(image) for view, image in self._read.images.items()}
        return _Error(
            latent_error(self._encode(present), self._next), pixel_error(present, self._truth)
        )

    def actions(self, mode: str) -> float:
        """Error of the actions that a mode answers, in normalised units."""
        answers = []
        for n, part in enumerate(self._parts()):
            given = self._next[part] if mode == "inverse_dynamics" else None
            sample = self._model.sample_from(
                self._condition[part],
                mode,
                next_latent=given,
                steps=self._config.sample_steps,
                generator=seeded(self._config.seed, 4, n),
            )
            answers.append(sample.action)
        return action_error(torch.cat([x for x in answers if x is not None]), self._read.action)

    def examples(self, role: str, count: int = 4) -> Examples:
        """A few windows with what was imagined, evenly spread."""
        if self._imagined is None:
            mode = "video" if role == "video" else "forward_dynamics"
            action = None if role == "video" else self._read.action
            self._imagined = self._imagine(mode, action)
        size = len(self._index)
        chosen = torch.from_numpy(
            np.unique(((np.arange(count) + 0.5) / count * size).astype(np.int64))
        )
        imagined = self._model.decode(self._imagined[chosen])
        return Examples(
            role=role,
            present={view: image[chosen, -1] for view, image in self._read.images.items()},
            truth={view: image[chosen, 0] for view, image in self._truth.items()},
            imagined={view: image[:, 0] for view, image in imagined.items()},
        )

    def _imagine(self, mode: str, action: Tensor | None) -> Tensor:
        answers = []
        for n, part in enumerate(self._parts()):
            given = None if action is None else action[part]
            sample = self._model.sample_from(
                self._condition[part],
                mode,
                action=given,
                steps=self._config.imagine_steps,
                generator=seeded(self._config.seed, 4, n),
            )
            answers.append(sample.next_latent)
        return torch.cat([x for x in answers if x is not None])

    def _error(self, latent: Tensor) -> _Error:
        pieces = [self._model.decode(latent[part]) for part in self._parts()]
        images = {view: torch.cat([piece[view] for piece in pieces]) for view in pieces[0]}
        return _Error(latent_error(latent, self._next), pixel_error(images, self._truth))

    def _encode(self, images: Mapping[str, Tensor]) -> Tensor:
        return torch.cat(
            [
                self._model.encode({view: image[part] for view, image in images.items()})
                for part in self._parts()
            ]
        )

    def _parts(self) -> Iterator[slice]:
        for start in range(0, len(self._index), self._config.batch):
            yield slice(start, min(start + self._config.batch, len(self._index)))


def _repeat_last(images: Tensor) -> Tensor:
    """The present step in place of every step: (B, T, H, W, 3) -> (B, T, H, W, 3)."""
    return images[:, -1:].expand_as(images)
