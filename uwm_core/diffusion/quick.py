# SPDX-License-Identifier: Apache-2.0
"""DPM-Solver++ (2M) for models that answer with the noise: as good an answer in fewer steps.

Lu et al., arXiv 2211.01095. It starts where the published walk does (90 of 100 steps) and keeps
the clean estimate of the step before to correct the present one: second order for the same calls.
"""

from __future__ import annotations

import torch
from torch import Tensor

from uwm_core.diffusion.schedule import EpsilonDDIM, Schedule, Stepper
from uwm_core.errors import UnknownNameError

FAST: tuple[str, ...] = ("bf16", "fewer-steps")
"""What may be given up for speed; without any the answer is the exact one."""

QUICK_STEPS = {"flow": 2, "epsilon": 4}
"""Network calls of "fewer-steps" by objective."""


def fast_kinds(text: str) -> tuple[str, ...]:
    """Kinds of ``FAST`` from words with commas between; none from "" and from "exact".

    Raises:
        UnknownNameError: One of them is unknown.
    """
    kinds = tuple(word.strip() for word in text.split(",") if word.strip() not in ("", "exact"))
    for kind in kinds:
        if kind not in FAST:
            raise UnknownNameError("kind of fast", kind, ("exact", *FAST))
    return kinds


class DpmSolver(EpsilonDDIM):
    """The published diffusion, walked by DPM-Solver++ of second order, multistep."""

    def walk(self, steps: int) -> Tensor:
        """From the published first time, 90 of 100, to 0, even in the logarithm of the noise.

        Spaced so, 4 steps come nearer to the exact answer than 10 published ones.
        """
        first = self.train_steps - self.train_steps // 10
        level = _level(self.kept)
        wanted = torch.linspace(float(level[first]), float(level[0]), steps, dtype=torch.float64)
        times = (level[: first + 1] - wanted[:, None]).abs().argmin(dim=1)
        # No time twice, however many steps are asked for.
        order = torch.arange(steps)
        times = torch.cummin(times + order, dim=0).values - order
        times = torch.maximum(times, order.flip(0))
        return times.float()

    def stepper(self, times: Tensor) -> Stepper:
        """The rule of one walk of one modality; it remembers its last clean estimate."""
        kept = torch.cat([self.kept[times.long()], torch.ones(1)]).double()
        alpha, sigma, level = kept.sqrt(), (1 - kept).sqrt(), _level(kept)
        before: list[Tensor] = []

        def step(noisy: Tensor, answer: Tensor, index: int) -> Tensor:
            a, s = float(alpha[index]), float(sigma[index])
            clean = (noisy - s * answer) / a
            if self.clip:
                clean = clean.clamp(-1, 1)
            estimate = clean
            if before and index + 1 < len(times):
                gone = float(level[index] - level[index - 1])
                share = float(level[index + 1] - level[index]) / gone / 2
                estimate = clean + share * (clean - before[0])
            before[:] = [clean]
            shrink = float(sigma[index + 1]) / s
            return shrink * noisy + (float(alpha[index + 1]) - shrink * a) * estimate

        return step


def _level(kept: Tensor) -> Tensor:
    """Half the logarithm of the signal-to-noise ratio (K,), float64; infinite where clean."""
    return (kept.double().log() - (1 - kept.double()).log()) / 2


def quick_schedule(schedule: Schedule) -> Schedule:
    """What walks in few steps; flow matching's own straight line needs no other."""
    if isinstance(schedule, EpsilonDDIM):
        return DpmSolver(train_steps=schedule.train_steps, clip_sample=schedule.clip)
    return schedule
