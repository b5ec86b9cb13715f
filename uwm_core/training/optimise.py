# SPDX-License-Identifier: Apache-2.0
"""The one loop that takes steps: both phases of a run are a `Task` given to `optimise`.

It knows warm-up, clipping, averaging, validation, the diary, saving, resuming, Ctrl-C and what the
ranks of a team must agree on; it does not know what is learned.
"""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from uwm_core.training.journal import Journal
from uwm_core.training.optim import Ema, learning_rate
from uwm_core.training.state import Keeper, Learner, keeper_of
from uwm_core.training.team import ALONE, Team, Together, whole


class Interrupted(Together):
    """The user stopped the run; its state is saved."""


class Diverged(Together):
    """The loss or its gradient is no longer finite; nothing of it is saved."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Piece:
    """What one rank's micro-batch adds to a step's loss.

    Attributes:
        loss: Scalar with a gradient.
        figures: Parts of the loss, for the diary.
        wait_s: How long the batch was waited for.
    """

    loss: Tensor
    figures: Mapping[str, Tensor] = field(default_factory=dict)
    wait_s: float = 0.0


class Task(Protocol):
    """Something to learn."""

    name: str
    """Name of the phase in the diary."""
    divided: bool
    """Whether the ranks' pieces sum to the loss; else every rank computes all of it."""

    @property
    def module(self) -> nn.Module:
        """Whose parameters are learned (those that require a gradient)."""
        ...

    @property
    def sharded(self) -> bool:
        """Whether every rank holds a piece of each parameter."""
        ...

    def pieces(self, step: int) -> Iterator[Piece]:
        """Pieces of step ``step``, a function of the step and the weights alone.

        The gradient of one is taken before the next is asked for.
        """
        ...

    def validate(self) -> Mapping[str, float]:
        """Figures on held-out episodes; called on every rank, with averaged weights in place."""
        ...


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How many steps of what size; see `ModelTraining` for the words.

    Attributes:
        on_save: Called on every rank with the number of steps taken whenever the state was saved,
            with averaged weights in place.
    """

    iterations: int
    learning_rate: float
    warmup: int
    weight_decay: float
    clip_norm: float
    ema_decay: float
    validate_every: int
    save_every: int
    stamp: str
    on_save: Callable[[int], None] = lambda step: None


def optimise(
    task: Task,
    plan: Plan,
    folder: Path,
    *,
    resume: bool = False,
    quiet: bool = False,
    team: Team = ALONE,
) -> None:
    """Take the plan's steps; the module ends with its averaged weights.

    Args:
        task: What is learned.
        plan: How.
        folder: Takes the state (``state_<name>...``) and the diary; one folder for all ranks.
        resume: Go on from the state in the folder, if there is one, of however many ranks.
        quiet: No progress bar.
        team: The ranks; all of them call this.

    Raises:
        CheckpointError: The state belongs to another run.
        Interrupted: Ctrl-C or SIGTERM on any rank; the state was saved after the step in flight.
        Diverged: The loss is no longer finite on some rank.
    """
    steps = _Steps(task, plan, team)
    keeper = keeper_of(folder, task.name, steps.learner, plan.stamp, team, sharded=task.sharded)
    first = keeper.load() if resume else 0
    diary = Journal(folder, task.name, first) if team.first else nullcontext()
    bar = tqdm(
        total=plan.iterations,
        initial=first,
        desc=task.name,
        disable=quiet or not team.first,
        smoothing=0.05,
    )
    with diary as journal, _stop_on_signals() as stop, bar:
        for step in range(first, plan.iterations):
            values, stopped = steps.take(step, stop)
            if journal is not None:
                journal.write(task.name, step, values)
            bar.set_postfix(loss=f"{values['loss']:.4f}", refresh=False)
            bar.update()
            done = step + 1
            if done % plan.validate_every == 0 or done == plan.iterations:
                with steps.ema.applied(task.module):
                    figures = task.validate()
                if journal is not None:
                    journal.write(f"{task.name}_validation", step, figures)
            stopped = stopped and done < plan.iterations
            if stopped or done % plan.save_every == 0 or done == plan.iterations:
                _save(keeper, steps, done, last=stopped or done == plan.iterations)
            if stopped:
                raise Interrupted(
                    f"stopped after step {done} of {plan.iterations} of {task.name}; saved in "
                    f"{folder}, --resume goes on"
                )
    steps.ema.put_into(task.module)


def _save(keeper: Keeper, steps: _Steps, done: int, *, last: bool) -> None:
    keeper.save(done)
    with steps.ema.applied(steps.task.module):
        steps.plan.on_save(done)
    if last:
        keeper.finish()
    steps.team.wait()  # a rank that ends now would have the one that writes ended as well


class _Steps:
    """Takes steps; alike on all ranks."""

    def __init__(self, task: Task, plan: Plan, team: Team) -> None:
        self.task, self.plan, self.team = task, plan, team
        self._learned = [value for value in task.module.parameters() if value.requires_grad]
        self._optimizer = torch.optim.AdamW(
            self._learned, lr=0.0, weight_decay=plan.weight_decay, fused=True
        )
        self.ema = Ema(task.module, plan.ema_decay)

    @property
    def learner(self) -> Learner:
        """What a resumed run needs."""
        return Learner(self.task.module, self._optimizer, self.ema)

    def take(self, step: int, stop: threading.Event) -> tuple[dict[str, float], bool]:
        """Take one step.

        Returns:
            Figures for the diary, and whether some rank was asked to stop.
        """
        began, plan = time.perf_counter(), self.plan
        rate = learning_rate(
            step, peak=plan.learning_rate, warmup=plan.warmup, total=plan.iterations
        )
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        self._optimizer.zero_grad(set_to_none=True)
        values, wait_s = self._gradients(step)
        norm = whole(torch.nn.utils.clip_grad_norm_(self._learned, plan.clip_norm))
        figures, stopped, wait_s = self._agree(values, stop.is_set(), wait_s)
        # Written before the weights are: a run that has gone wrong must not save what it became.
        if not torch.isfinite(norm) or not math.isfinite(figures["loss"]):
            raise Diverged(
                f"{self.task.name} diverged at step {step} (loss {figures['loss']:g}, gradient "
                f"{float(norm):g}); a lower learning_rate or more warmup would have worked"
            )
        self._optimizer.step()
        self.ema.update(self.task.module, step)
        step_s = time.perf_counter() - began
        figures |= {"learning_rate": rate, "gradient_norm": float(norm)}
        return {**figures, "step_s": step_s, "wait_share": wait_s / step_s}, stopped

    def _gradients(self, step: int) -> tuple[dict[str, Tensor], float]:
        """Take the gradient of this rank's pieces; their figures and the seconds waited."""
        # DDP and FSDP give the mean over ranks of what is a sum.
        scale = self.team.size if self.task.divided else 1
        values: dict[str, Tensor] = {}
        wait_s = 0.0
        for piece in self.task.pieces(step):
            (piece.loss * scale).backward()  # type: ignore[no-untyped-call]
            for name, value in {"loss": piece.loss.detach(), **piece.figures}.items():
                values[name] = values[name] + value if name in values else value
            wait_s += piece.wait_s
        return values, wait_s

    def _agree(
        self, values: Mapping[str, Tensor], stop: bool, wait_s: float
    ) -> tuple[dict[str, float], bool, float]:
        """The team's figures, whether any rank stops, and the longest wait among them."""
        own = [*(float(value) for value in values.values()), float(stop), wait_s]
        every = self.team.gather(own)  # (ranks, K)
        found = every.sum(0)
        if not self.task.divided:
            # What every rank computes alike may still have failed on one.
            found = np.where(np.isfinite(found), every[0], found)
        figures = dict(zip(values, found.tolist(), strict=False))
        return figures, bool(every[:, -2].any()), float(every[:, -1].max())


@contextmanager
def _stop_on_signals() -> Iterator[threading.Event]:
    """An event that Ctrl-C and SIGTERM set; the second Ctrl-C ends at once."""
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield event  # signals can only be taken in the main thread
        return

    def note(number: int, frame: FrameType | None) -> None:
        if event.is_set() and number == signal.SIGINT:
            raise KeyboardInterrupt
        event.set()

    before = {name: signal.signal(name, note) for name in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield event
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)
