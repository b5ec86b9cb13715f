# SPDX-License-Identifier: Apache-2.0
"""The world model: codec, observer, denoiser and schedule joined; ``loss`` and ``sample``.

The only module that knows all four. It holds normalised numbers and no embodiment: units, names and
normalisers are the policy's business (``uwm_core.policy``), files the checkpoint's.
"""

from __future__ import annotations

from typing import Unpack

import torch
from torch import Tensor, nn

from uwm_core.asking import check_known, first_values
from uwm_core.batch import EXPERT, PLAY, ROLES, VIDEO, Batch, Losses, Sample, SampleOptions
from uwm_core.config import ModelConfig
from uwm_core.diffusion.modes import Mode, Pair, Role
from uwm_core.diffusion.modes import mode as mode_named
from uwm_core.diffusion.quick import QUICK_STEPS, fast_kinds, quick_schedule
from uwm_core.diffusion.sampler import Ask
from uwm_core.diffusion.sampler import sample as walk
from uwm_core.diffusion.schedule import make_schedule, velocity_towards
from uwm_core.errors import ShapeError, check_shape
from uwm_core.latents.codec import make_codec
from uwm_core.model.denoiser import Denoiser
from uwm_core.model.images import Augmentation, prepare, stack_views
from uwm_core.model.observe import Observer
from uwm_core.parts import Part, noise_like, shares
from uwm_core.pretrained import Pretrained

__all__ = ["EXPERT", "PLAY", "ROLES", "VIDEO", "Batch", "Losses", "Sample", "WorldModel"]


class WorldModel(Pretrained, nn.Module):
    """Codec, observer, denoiser and schedule.

    Args:
        config: Every size and switch. Nothing is downloaded: a "vae" codec is loaded by
            ``model.codec.load()``.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.schedule = make_schedule(config.diffusion)
        self.codec = make_codec(config.codec)
        self.observer = Observer(config)
        self.denoiser = Denoiser(config, time_scale=self.schedule.time_scale)
        self.sample_steps = config.diffusion.sample_steps
        self._walked = self.schedule

    def quicken(self, fast: str = "exact") -> WorldModel:
        """Sample quicker from now on, at a stated price; not for training.

        Args:
            fast: "exact", or words of ``FAST`` with commas between. "bf16" computes encoder and
                transformer in bfloat16 (an error of some hundredths of the answer, 0.1 where the
                network answers with the noise: the walk adds up what its calls round);
                "fewer-steps" asks the network twice (flow matching) or 4 times (DPM-Solver++),
                which is judged by the action error and by success.

        Raises:
            UnknownNameError: There is no such kind.
        """
        kinds = fast_kinds(fast)
        if "bf16" in kinds:
            self.observer.bfloat16()
            self.denoiser.bfloat16()
        if "fewer-steps" in kinds:
            self._walked = quick_schedule(self.schedule)
            self.sample_steps = min(self.sample_steps, QUICK_STEPS[self.config.diffusion.objective])
        return self

    @property
    def _says_clean(self) -> bool:
        return self.config.diffusion.next_obs_answer == "clean"

    # Images and latents

    @torch.no_grad()
    def encode(self, images: dict[str, Tensor], augmentation: Augmentation | None = None) -> Tensor:
        """Latents of images: V x (B, T, H, W, 3) uint8 -> (B, V, C, T, h, w)."""
        pixels = prepare(self._stacked(images), self.config.images, augmentation, shifted=False)
        latents = self.codec.encode(pixels.flatten(0, 2))  # (B V T, C, h, w)
        return latents.reshape(*pixels.shape[:3], *latents.shape[1:]).transpose(2, 3)

    @torch.no_grad()
    def decode(self, latents: Tensor) -> dict[str, Tensor]:
        """Images of latents: (B, V, C, T, h, w) -> V x (B, T, H', W', 3) uint8."""
        c, t, h, w = self.config.latent_shape
        check_shape("latents", latents, f"B V {c} {t} {h} {w}", V=len(self.config.views))
        flat = latents.transpose(2, 3).flatten(0, 2)  # (B V T, C, h, w)
        pixels = (self.codec.decode(flat) * 255).round().to(torch.uint8)
        pixels = pixels.reshape(-1, len(self.config.views), t, *pixels.shape[1:])
        pixels = pixels.permute(0, 1, 2, 4, 5, 3)  # (B, V, T, H', W', 3)
        return {view: pixels[:, v].contiguous() for v, view in enumerate(self.config.views)}

    def observe(
        self,
        images: dict[str, Tensor],
        state: Tensor | None,
        augmentation: Augmentation | None = None,
    ) -> Tensor:
        """The condition vector of an observation: (B, condition size).

        Args:
            images: Per view (B, T, H, W, 3) uint8.
            state: (B, T, S) normalised, or None.
            augmentation: What training has drawn; None when sampling.
        """
        dtype = self.denoiser.dtype
        pixels = prepare(self._stacked(images), self.config.images, augmentation).to(dtype)
        features: Tensor = self.observer(pixels, None if state is None else state.to(dtype))
        return features.float()

    def _stacked(self, images: dict[str, Tensor]) -> Tensor:
        views = self.config.views
        if set(images) != set(views):
            raise ShapeError(f"the model sees views {list(views)}, got {sorted(images)}")
        for view, image in images.items():
            check_shape(f"images[{view!r}]", image, "B T H W 3", T=self.config.window.history)
        return stack_views(images, views)

    # Training

    def loss(
        self,
        batch: Batch,
        *,
        generator: torch.Generator | None = None,
        draws: int = 1,
        part: Part | None = None,
    ) -> Losses:
        """Both losses of a batch, each sample as its role allows.

        expert teaches both modalities; play has its action given clean and teaches the next
        observation; video has pure noise for an action and teaches the next observation.

        Everything random is drawn for the whole batch, and the mean is taken over the whole batch's
        rows: losses and gradients of its parts sum to its own, however it is divided.

        Args:
            batch: Samples of any mixture of roles.
            generator: Source of augmentation, times and noise, on the batch's device.
            draws: Noise draws per sample; the observation is encoded once for all.
            part: Which samples of a whole batch these are; None if they are all.
        """
        part = Part.whole(batch.role) if part is None else part
        augmentation = part.augmentation(self.config, generator) if self.training else None
        clean = self._clean(batch, augmentation)
        condition = self.observe(batch.images, batch.state, augmentation)
        clean = Pair(*(x.repeat(draws, *[1] * (x.ndim - 1)) for x in clean))
        role, rows = part.role.repeat(draws), part.rows_of_draws(draws)
        noise = Pair(*(noise_like(x, len(role), generator)[rows] for x in clean))
        times = self._draw_times(role, generator)
        weights = Pair(
            shares((role == EXPERT) & self.schedule.teaches(times.action))[rows],
            shares(self.schedule.teaches(times.next_obs))[rows],
        )
        return self.loss_at(condition, clean, noise, Pair(*(t[rows] for t in times)), weights)

    def loss_at(
        self,
        condition: Tensor,
        clean: Pair[Tensor],
        noise: Pair[Tensor],
        times: Pair[Tensor],
        weights: Pair[Tensor] | None = None,
    ) -> Losses:
        """Both losses at given noise and times.

        Args:
            condition: (B, condition size), or (B / n, condition size) for n draws in a row.
            clean: (B, A, D) and (B, V, C, T, h, w).
            noise: Of the same shapes.
            times: (B,) each.
            weights: (B,) float32 each, what a row's error counts; None for the mean of all.
        """
        noisy = Pair(*map(self.schedule.add_noise, clean, noise, times))
        answers = self.answer(noisy, times, condition)
        if weights is None:
            weights = Pair(*(torch.full_like(t, 1 / len(t), dtype=torch.float32) for t in times))
        targets = Pair(*map(self.schedule.target, clean, noise))
        if self._says_clean:
            targets = targets._replace(next_obs=clean.next_obs)
        action, next_obs = map(_error, answers, targets, weights)
        return Losses(total=action + next_obs, action=action, next_obs=next_obs)

    def answer(self, noisy: Pair[Tensor], times: Pair[Tensor], condition: Tensor) -> Pair[Tensor]:
        """The network's answer for both modalities, in their shapes.

        Args:
            noisy: (B, A, D) and (B, V, C, T, h, w).
            times: (B,) each.
            condition: (B, condition size), or (B / n, condition size) for n draws in a row.
        """
        draws = len(noisy.action) // len(condition)
        parts = [part.repeat(draws, 1) for part in self.denoiser.of_condition(condition)]
        return Pair(*self.denoiser(noisy.action, noisy.next_obs, tuple(times), parts))

    def _clean(self, batch: Batch, augmentation: Augmentation | None) -> Pair[Tensor]:
        window, views = self.config.window, len(self.config.views)
        size, action, next_obs = len(batch.role), batch.action, batch.next_latent
        if next_obs is None:
            if batch.next_images is None:
                raise ShapeError("a batch needs next_latent or next_images")
            next_obs = self.encode(batch.next_images, augmentation)
        c, t, h, w = self.config.latent_shape
        check_shape("next_latent", next_obs, f"B V {c} {t} {h} {w}", B=size, V=views)
        shape = (size, window.chunk, self.config.action_size)
        if action is None:
            if bool((batch.role != VIDEO).any()):
                raise ShapeError("a batch without actions must be all of role video")
            action = next_obs.new_zeros(shape)
        check_shape("action", action, "B A D", B=size, A=shape[1], D=shape[2])
        # What a video row carries in place of an action may be anything, nan included.
        action = torch.where((batch.role == VIDEO)[:, None, None], 0.0, action)
        return Pair(action, next_obs)

    def _draw_times(self, role: Tensor, generator: torch.Generator | None) -> Pair[Tensor]:
        anything = torch.ones_like(role, dtype=torch.bool)
        count = len(role)
        action = self.schedule.draw_times(count, allow_given=anything, generator=generator)
        action = torch.where(role == PLAY, torch.zeros_like(action), action)
        last = torch.full_like(action, self.schedule.last_time)
        action = torch.where(role == VIDEO, last, action)
        next_obs = self.schedule.draw_times(
            count,
            # With both given, or only the next observation to learn from, a row would be wasted.
            allow_given=(role == EXPERT) & self.schedule.teaches(action),
            generator=generator,
        )
        return Pair(action, next_obs)

    # Sampling

    def sample(
        self,
        images: dict[str, Tensor],
        state: Tensor | None,
        mode: str,
        *,
        action: Tensor | None = None,
        next_latent: Tensor | None = None,
        **options: Unpack[SampleOptions],
    ) -> Sample:
        """Answer one question about an observation; see ``sample_from``."""
        with torch.inference_mode():
            condition = self.observe(images, state)
        return self.sample_from(condition, mode, action=action, next_latent=next_latent, **options)

    @torch.inference_mode()
    def sample_from(
        self,
        condition: Tensor,
        mode: str,
        *,
        action: Tensor | None = None,
        next_latent: Tensor | None = None,
        **options: Unpack[SampleOptions],
    ) -> Sample:
        """Answer one question about an observation that is already encoded.

        Args:
            condition: (B, condition size) from ``observe``; several questions may share it.
            mode: A key of ``MODES``.
            action: (B, A, D) normalised, where the mode has it given.
            next_latent: (B, V, C, T, h, w), where the mode has it given.
            **options: See ``SampleOptions``.

        Raises:
            UnknownNameError: There is no such mode.
            ShapeError: A given modality is missing, superfluous or of another shape.
        """
        asked = mode_named(mode)
        known = options.get("known")
        check_known(self.config, asked, known)
        given = Pair(action, next_latent)
        start = first_values(self.config, asked, given, condition, options)
        steps = options.get("steps") or self.sample_steps
        ask = self._asker(asked, start, condition, steps)
        end = walk(self._walked, asked, start, ask, steps, known)
        return Sample(
            *(
                None if role is Role.NOISE else value
                for role, value in zip(asked.roles, end, strict=True)
            )
        )

    def _asker(self, asked: Mode, start: Pair[Tensor], condition: Tensor, steps: int) -> Ask:
        """The network as the sampler calls it; what stays the same in a walk is computed here."""
        net = self.denoiser
        times = self._walked.walk(steps).to(condition.device)
        of_time = net.of_time(*(self._walked.times(role, times) for role in asked.roles))
        of_condition = net.of_condition(condition.to(net.dtype))
        # One (K, B, ...) per layer.
        layers = [c + t[:, None] for c, t in zip(of_condition, of_time, strict=True)]
        want = (asked.action is Role.SOLVE, asked.next_obs is Role.SOLVE)
        fixed = Pair(
            None if want[0] else net.action_tokens(start.action.to(net.dtype)),
            None if want[1] else net.next_tokens(start.next_obs.to(net.dtype)),
        )

        def ask(index: int, now: Pair[Tensor]) -> Pair[Tensor | None]:
            action, next_obs = fixed
            if action is None:
                action = net.action_tokens(now.action.to(net.dtype))
            if next_obs is None:
                next_obs = net.next_tokens(now.next_obs.to(net.dtype))
            told = [layer[index] for layer in layers]
            answers = Pair(
                *(
                    None if answer is None else answer.float()
                    for answer in net.trunk(action, next_obs, told, want=want)
                )
            )
            if self._says_clean and answers.next_obs is not None:
                towards = velocity_towards(answers.next_obs, now.next_obs, float(times[index]))
                answers = answers._replace(next_obs=towards)
            return answers

        return ask


def _error(answer: Tensor, target: Tensor, weights: Tensor) -> Tensor:
    """Squared errors of the rows, weighted and summed; rows of weight 0 may be nan."""
    per_row = (answer - target).square().flatten(1).mean(1)  # (B,)
    return torch.where(weights > 0, per_row * weights, 0.0).sum()
