# SPDX-License-Identifier: Apache-2.0
"""The one loop that takes steps: both phases of a run are a `Task` given to `optimise`.

It knows warm-up, clipping, averaging, validation, the diary, saving, resuming and Ctrl-C; it does
not know what is learned.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Protocol

import torch
from torch import Tensor, nn
from tqdm import tqdm

from uwm_core.errors import UwmError
from uwm_core.training.journal import Journal
from uwm_core.training.optim import Ema, learning_rate
from uwm_core.training.state import load_state, save_state


class Interrupted(UwmError):
    """The user stopped the run; its state is saved."""


class Task(Protocol):
    """Something to learn."""

    name: str
    """Name of the phase in the diary."""

    @property
    def module(self) -> nn.Module:
        """Whose parameters are learned (those that require a gradient)."""
        ...

    def loss(self, step: int) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Loss of step ``step`` (a function of the step and the weights alone), and its parts."""
        ...

    def validate(self) -> Mapping[str, float]:
        """Figures on held-out episodes; called with averaged weights in place."""
        ...


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How many steps of what size; see `ModelTraining` for the words.

    Attributes:
        on_save: Called with the number of steps taken whenever the state was saved, with averaged
            weights in place.
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
    task: Task, plan: Plan, folder: Path, *, resume: bool = False, quiet: bool = False
) -> None:
    """Take the plan's steps; the module ends with its averaged weights.

    Args:
        task: What is learned.
        plan: How.
        folder: Takes the state (``state_<name>.safetensors``) and the diary.
        resume: Go on from the state in the folder, if there is one.
        quiet: No progress bar.

    Raises:
        CheckpointError: The state belongs to another run.
        Interrupted: Ctrl-C; the state was saved after the step in flight.
        UwmError: The loss is no longer finite.
    """
    module = task.module
    learned = [value for value in module.parameters() if value.requires_grad]
    optimizer = torch.optim.AdamW(learned, lr=0.0, weight_decay=plan.weight_decay, fused=True)
    ema = Ema(module, plan.ema_decay)
    state = folder / f"state_{task.name}.safetensors"
    first = 0
    if resume and state.exists():
        first = load_state(state, stamp=plan.stamp, module=module, optimizer=optimizer, ema=ema)

    def save(step: int) -> None:
        save_state(state, step=step, stamp=plan.stamp, module=module, optimizer=optimizer, ema=ema)
        with ema.applied(module):
            plan.on_save(step)

    bar = tqdm(total=plan.iterations, initial=first, desc=task.name, disable=quiet, smoothing=0.05)
    with Journal(folder, task.name, first) as journal, _stop_on_sigint() as stop, bar:
        for step in range(first, plan.iterations):
            values = _step(task, plan, optimizer, learned, step)
            ema.update(module, step)
            journal.write(task.name, step, values)
            bar.set_postfix(loss=f"{values['loss']:.4f}", refresh=False)
            bar.update()
            done = step + 1
            if done % plan.validate_every == 0 or done == plan.iterations:
                with ema.applied(module):
                    journal.write(f"{task.name}_validation", step, task.validate())
            stopped = stop.is_set() and done < plan.iterations
            if stopped or done % plan.save_every == 0 or done == plan.iterations:
                save(done)
            if stopped:
                raise Interrupted(
                    f"stopped after step {done} of {plan.iterations} of {task.name}; saved in "
                    f"{folder}, --resume goes on"
                )
    ema.put_into(module)


def _step(
    task: Task,
    plan: Plan,
    optimizer: torch.optim.Optimizer,
    learned: list[nn.Parameter],
    step: int,
) -> dict[str, float]:
    rate = learning_rate(step, peak=plan.learning_rate, warmup=plan.warmup, total=plan.iterations)
    for group in optimizer.param_groups:
        group["lr"] = rate
    optimizer.zero_grad(set_to_none=True)
    loss, parts = task.loss(step)
    loss.backward()  # type: ignore[no-untyped-call]
    norm = torch.nn.utils.clip_grad_norm_(learned, plan.clip_norm)
    values = {"loss": float(loss.detach()), **{key: float(value) for key, value in parts.items()}}
    # Written before the weights are: a run that has gone wrong must not save what it became.
    if not torch.isfinite(norm) or not torch.isfinite(loss):
        raise UwmError(
            f"{task.name} diverged at step {step} (loss {values['loss']:g}, gradient "
            f"{float(norm):g}); a lower learning_rate or more warmup would have worked"
        )
    optimizer.step()
    return {**values, "learning_rate": rate, "gradient_norm": float(norm)}


@contextmanager
def _stop_on_sigint() -> Iterator[threading.Event]:
    """An event that Ctrl-C sets; the second Ctrl-C ends at once."""
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield event  # signals can only be taken in the main thread
        return

    def note(number: int, frame: FrameType | None) -> None:
        if event.is_set():
            raise KeyboardInterrupt
        event.set()

    before = signal.signal(signal.SIGINT, note)
    try:
        yield event
    finally:
        signal.signal(signal.SIGINT, before)
