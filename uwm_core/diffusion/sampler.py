# SPDX-License-Identifier: Apache-2.0
"""One loop for every mode and both objectives.

The loop asks a function for its answers at every step of the walk and moves the modalities that the
mode wants solved. It knows neither the network nor where the first noise comes from.

A part of the action may be known beforehand (what an arm will have done before the answer comes):
it is inpainted, that is, put into every step at that step's noise, so that the rest joins it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from uwm_core.diffusion.modes import Mode, Pair, Role
from uwm_core.diffusion.schedule import Schedule

Ask = Callable[[int, Pair[Tensor]], Pair[Tensor | None]]
"""(step index, current values) -> the network's answer for each solved modality."""


@dataclass(frozen=True, eq=False)
class Known:
    """Actions of which something is known before they are solved.

    Attributes:
        value: (B, A, D) clean and finite, also where the weight is 0.
        weight: (A,) in [0, 1], how much of each action is known: 1 comes back exactly, 0 changes
            nothing, and what is between draws the answer so far towards the value.
    """

    value: Tensor
    weight: Tensor

    def put_into(self, action: Tensor, at_this_noise: Tensor) -> Tensor:
        """The action with the known part in it: (B, A, D) and the value with noise, likewise."""
        # lerp is exact at both ends: 0 leaves every bit, 1 gives the value itself.
        return torch.lerp(action, at_this_noise, self.weight[:, None])


def sample(
    schedule: Schedule,
    mode: Mode,
    start: Pair[Tensor],
    ask: Ask,
    steps: int,
    known: Known | None = None,
) -> Pair[Tensor]:
    """Walk from noise to clean.

    Args:
        schedule: Times and step rule.
        mode: Which modality is solved.
        start: The value of a given modality, the first noise of any other; never written to.
        ask: The network at step k; an answer may be None where nothing is solved.
        steps: Network calls.
        known: What is known of the action, where the mode solves it.

    Returns:
        The solved modalities at time 0; a given or marginalised one exactly as it came.
    """
    walk = schedule.walk(steps)

    def with_known(action: Tensor, index: int) -> Tensor:
        """The action as it stands before step ``index``, the known part put into it."""
        if known is None:
            return action
        if index == steps:
            return known.put_into(action, known.value)
        # The noise is the one that the walk began with, so the known part walks a straight path.
        time = walk[index].to(action.device).expand(len(action))
        return known.put_into(action, schedule.add_noise(known.value, start.action, time))

    steppers = [schedule.stepper(walk) for _ in mode.roles]
    now = start._replace(action=with_known(start.action, 0))
    for index in range(steps):
        answers = ask(index, now)
        now = Pair(
            *(
                step(value, answer, index) if role is Role.SOLVE and answer is not None else value
                for role, value, answer, step in zip(
                    mode.roles, now, answers, steppers, strict=True
                )
            )
        )
        now = now._replace(action=with_known(now.action, index + 1))
    return now
