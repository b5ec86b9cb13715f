# SPDX-License-Identifier: Apache-2.0
"""How noise is added in training and taken away in sampling: flow matching and published DDIM.

A schedule knows times and numbers, not networks. Times are floats: in [0, 1] for flow matching,
whole numbers in [0, train_steps) for the published diffusion; 0 is (nearly) clean in both.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor

from uwm_core.config import DiffusionConfig
from uwm_core.diffusion.modes import Role

Stepper = Callable[[Tensor, Tensor, int], Tensor]
"""(noisy value, the network's answer, step index) -> the value at the next time."""


class Schedule(ABC):
    """What training and the sampler ask of a noise process.

    Attributes:
        time_scale: Factor on a time before its sinusoidal embedding, unitless.
        last_time: The time of pure noise in training.
    """

    time_scale: float = 1.0
    last_time: float

    @abstractmethod
    def draw_times(
        self, count: int, *, allow_given: Tensor, generator: torch.Generator | None
    ) -> Tensor:
        """Draw training times.

        Args:
            count: How many (B).
            allow_given: (B,) bool; False where a clean draw would teach nothing.
            generator: Source of randomness.

        Returns:
            (B,) float32.
        """

    @abstractmethod
    def add_noise(self, clean: Tensor, noise: Tensor, time: Tensor) -> Tensor:
        """Mix a clean value with noise at a time per row: (B, ...), (B, ...), (B,) -> (B, ...)."""

    @abstractmethod
    def target(self, clean: Tensor, noise: Tensor) -> Tensor:
        """What the network should answer: (B, ...), (B, ...) -> (B, ...)."""

    @abstractmethod
    def teaches(self, time: Tensor) -> Tensor:
        """Where a loss at this time is worth taking: (B,) -> (B,) bool."""

    @abstractmethod
    def walk(self, steps: int) -> Tensor:
        """Times from noise to clean at which the network is asked: (K,) float32, falling."""

    @abstractmethod
    def step(self, noisy: Tensor, answer: Tensor, times: Tensor, index: int) -> Tensor:
        """One step of the walk: the value at ``times[index]`` becomes that at the next time."""

    def stepper(self, times: Tensor) -> Stepper:
        """The rule of one walk of one modality; some rules remember the step before."""
        return lambda noisy, answer, index: self.step(noisy, answer, times, index)

    def times(self, role: Role, walk: Tensor) -> Tensor:
        """The time that a modality of this role shows at every step of the walk: (K,) -> (K,).

        A marginalised modality shows the first time of the walk. For flow matching that is the
        last time of training; for the published diffusion it is not (90 instead of 99), and
        published weights are only reproduced that way.
        """
        if role is Role.GIVEN:
            return torch.zeros_like(walk)
        if role is Role.NOISE:
            return walk[:1].expand_as(walk)
        return walk


def velocity_towards(clean: Tensor, noisy: Tensor, time: float) -> Tensor:
    """Velocity of the straight line from ``clean`` at 0 through ``noisy`` at ``time`` above 0."""
    return (noisy - clean) / time


def _per_row(values: Tensor, like: Tensor) -> Tensor:
    return values.reshape(-1, *[1] * (like.ndim - 1))  # (B,) -> (B, 1, ...)


class FlowMatching(Schedule):
    """A straight line from clean (time 0) to noise (time 1); the network learns its velocity.

    Args:
        given_probability: Share of training times at exactly 0.
        noise_probability: Share of training times at exactly 1.
    """

    time_scale = 1000.0  # the sinusoids were made for times that reach 1000
    last_time = 1.0

    def __init__(self, *, given_probability: float, noise_probability: float) -> None:
        self._given, self._noise = given_probability, noise_probability

    def draw_times(
        self, count: int, *, allow_given: Tensor, generator: torch.Generator | None
    ) -> Tensor:
        """Clean, pure noise, or uniform in between."""
        device = allow_given.device
        chance, time = torch.rand(2, count, generator=generator, device=device)
        time = torch.where(chance > 1 - self._noise, torch.ones_like(time), time)
        return torch.where((chance < self._given) & allow_given, torch.zeros_like(time), time)

    def add_noise(self, clean: Tensor, noise: Tensor, time: Tensor) -> Tensor:
        """Linear interpolation."""
        return torch.lerp(clean, noise, _per_row(time, clean))

    def target(self, clean: Tensor, noise: Tensor) -> Tensor:
        """The velocity of the line."""
        return noise - clean

    def teaches(self, time: Tensor) -> Tensor:
        """Nothing is learnt at time 0: the walk never asks there, and noise cannot be guessed."""
        return time > 0

    def walk(self, steps: int) -> Tensor:
        """1, 1 - 1/K, ..., 1/K."""
        return torch.linspace(1, 0, steps + 1)[:-1]

    def step(self, noisy: Tensor, answer: Tensor, times: Tensor, index: int) -> Tensor:
        """Euler."""
        following = float(times[index + 1]) if index + 1 < len(times) else 0.0
        return noisy - (float(times[index]) - following) * answer


class EpsilonDDIM(Schedule):
    """The published diffusion: squared-cosine betas, the network learns the noise, DDIM, eta 0.

    Args:
        train_steps: Length of the discrete schedule.
        clip_sample: Clamp the clean estimate to [-1, 1] in every step.

    Attributes:
        train_steps: The same.
        clip: Whether it clamps.
        kept: (train_steps,) share of the signal's variance that is left at each time.
    """

    def __init__(self, *, train_steps: int, clip_sample: bool) -> None:
        self.train_steps, self.clip = train_steps, clip_sample
        self.last_time = float(train_steps - 1)

        def level(share: float) -> float:
            return math.cos((share + 0.008) / 1.008 * math.pi / 2) ** 2

        betas = [
            min(1 - level((i + 1) / train_steps) / level(i / train_steps), 0.999)
            for i in range(train_steps)
        ]
        # float32 products on purpose: the published schedule is computed in them.
        self.kept = torch.cumprod(1 - torch.tensor(betas, dtype=torch.float32), dim=0)  # (train,)

    def draw_times(
        self, count: int, *, allow_given: Tensor, generator: torch.Generator | None
    ) -> Tensor:
        """Uniform over the whole numbers; time 0 still carries a little noise, so it may stay."""
        drawn = torch.randint(
            self.train_steps, (count,), generator=generator, device=allow_given.device
        )
        return drawn.float()

    def add_noise(self, clean: Tensor, noise: Tensor, time: Tensor) -> Tensor:
        """Variance-preserving mixture."""
        kept = _per_row(self.kept.to(clean.device)[time.long()], clean)
        return kept.sqrt() * clean + (1 - kept).sqrt() * noise

    def target(self, clean: Tensor, noise: Tensor) -> Tensor:
        """The noise."""
        return noise

    def teaches(self, time: Tensor) -> Tensor:
        """Everywhere."""
        return torch.ones_like(time, dtype=torch.bool)

    def walk(self, steps: int) -> Tensor:
        """Spaced as "leading": for 100 and 10, the times 90, 80, ..., 0."""
        return (torch.arange(steps).flip(0) * (self.train_steps // steps)).float()

    def step(self, noisy: Tensor, answer: Tensor, times: Tensor, index: int) -> Tensor:
        """DDIM without added noise; the last step lands on the clean estimate itself."""
        kept = self.kept[int(times[index])].to(noisy.device)
        stride = self.train_steps // len(times)
        following = int(times[index]) - stride
        kept_next = self.kept[following].to(noisy.device) if following >= 0 else kept.new_ones(())
        clean = (noisy - (1 - kept).sqrt() * answer) / kept.sqrt()
        if self.clip:
            clean = clean.clamp(-1, 1)
        return kept_next.sqrt() * clean + (1 - kept_next).sqrt() * answer


def make_schedule(config: DiffusionConfig) -> Schedule:
    """The schedule that a config names."""
    if config.objective == "flow":
        return FlowMatching(
            given_probability=config.given_probability, noise_probability=config.noise_probability
        )
    return EpsilonDDIM(train_steps=config.train_steps, clip_sample=config.clip_sample)
