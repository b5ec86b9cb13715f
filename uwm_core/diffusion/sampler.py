# SPDX-License-Identifier: Apache-2.0
"""One loop for every mode and both objectives.

The loop asks a function for its answers at every step of the walk and moves the modalities that the
mode wants solved. It knows neither the network nor where the first noise comes from.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from uwm_core.diffusion.modes import Mode, Pair, Role
from uwm_core.diffusion.schedule import Schedule

Ask = Callable[[int, Pair[Tensor]], Pair[Tensor | None]]
"""(step index, current values) -> the network's answer for each solved modality."""


def sample(
    schedule: Schedule, mode: Mode, start: Pair[Tensor], ask: Ask, steps: int
) -> Pair[Tensor]:
    """Walk from noise to clean.

    Args:
        schedule: Times and step rule.
        mode: Which modality is solved.
        start: The value of a given modality, the first noise of any other; never written to.
        ask: The network at step k; an answer may be None where nothing is solved.
        steps: Network calls.

    Returns:
        The solved modalities at time 0; a given or marginalised one exactly as it came.
    """
    walk = schedule.walk(steps)
    now = start
    for index in range(steps):
        answers = ask(index, now)
        now = Pair(
            *(
                schedule.step(value, answer, walk, index)
                if role is Role.SOLVE and answer is not None
                else value
                for role, value, answer in zip(mode.roles, now, answers, strict=True)
            )
        )
    return now
