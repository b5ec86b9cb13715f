# SPDX-License-Identifier: Apache-2.0
"""The published Unified World Model's formulation, written anew from its description.

Plain: in every step both timesteps are embedded, every block projects SiLU(condition ++ time) as a
whole, every token goes through every block, both modalities are decoded, and diffusers' scheduler
takes the step. It computes with the weights of one of our models, so that both answer the same. It
is what ``uwm bench policy`` and ``uwm bench train`` compare with and is used for nothing else.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import functional as F

from uwm_core.batch import Batch
from uwm_core.diffusion.modes import Pair
from uwm_core.model.blocks import EPS, Block
from uwm_core.world_model import WorldModel


class PublishedFormulation:
    """A policy and a training step as they are published, on a model's own weights.

    Args:
        model: Whose weights these are; shared, not copied.
    """

    def __init__(self, model: WorldModel) -> None:
        self._model, self._net = model, model.denoiser

    def answer(self, noisy: Pair[Tensor], times: Pair[Tensor], condition: Tensor) -> Pair[Tensor]:
        """Both answers of the network.

        Args:
            noisy: (B, A, D) and (B, V, C, T, h, w).
            times: (B,) each.
            condition: (B, condition size).
        """
        net = self._net
        chunk, patches = net.chunk, net.patches
        told = F.silu(torch.cat([net.squeeze(condition), net.time(*times)], dim=-1))
        x = torch.cat([net.action_in(noisy.action), self._patchified(noisy.next_obs)], dim=1)
        x = torch.cat([x, net.registers.expand(len(x), -1, -1)], dim=1) + net.position
        for block in net.blocks:
            x = _through(cast(Block, block), x, told)
        shift, scale = net.head.modulation.linear(told).chunk(2, dim=-1)
        x = net.head.linear(_modulated(x, shift, scale))
        return Pair(
            net.action_out(x[:, :chunk]), net.next_obs.decode(x[:, chunk : chunk + patches])
        )

    @torch.inference_mode()
    def policy(
        self, images: dict[str, Tensor], state: Tensor | None, start: Pair[Tensor], steps: int
    ) -> Tensor:
        """An action chunk from first noises, the next observation marginalised.

        Args:
            images: Per view (B, T, H, W, 3) uint8.
            state: (B, T, S) normalised, or None.
            start: (B, A, D) and (B, V, C, T, h, w) of noise.
            steps: Network calls.

        Returns:
            (B, A, D) normalised.
        """
        condition = self._model.observe(images, state)
        walk, move = self._walk(steps)
        first = walk[:1].to(condition.device).expand(len(condition))
        action = start.action
        for index, time in enumerate(walk.to(condition.device)):
            times = Pair(time.expand(len(condition)), first)
            answer = self.answer(Pair(action, start.next_obs), times, condition)
            action = move(index, answer.action, action)
        return action

    def loss(self, batch: Batch, generator: torch.Generator) -> Tensor:
        """Sum of both losses of a batch of expert samples.

        Next images are encoded here and now, unless the batch has their latents.

        Args:
            batch: With ``action``, and ``next_images`` or ``next_latent``.
            generator: Source of times and noise.
        """
        assert batch.action is not None
        model, size, latent = self._model, len(batch.role), batch.next_latent
        if latent is None:
            assert batch.next_images is not None
            latent = model.encode(batch.next_images)
        clean = Pair(batch.action, latent)
        condition = model.observe(batch.images, batch.state)
        noise = Pair(*(torch.randn(x.shape, generator=generator) for x in clean))
        everything = torch.ones(size, dtype=torch.bool)
        draw = model.schedule.draw_times
        times = Pair(*(draw(size, allow_given=everything, generator=generator) for _ in clean))
        noisy = Pair(*map(model.schedule.add_noise, clean, noise, times))
        answers = self.answer(noisy, times, condition)
        targets = map(model.schedule.target, clean, noise)
        action, next_obs = (F.mse_loss(*both) for both in zip(answers, targets, strict=True))
        return action + next_obs

    def _patchified(self, latents: Tensor) -> Tensor:
        """(B, V, C, T, h, w) -> (B, patches, E), by the convolution itself."""
        tokens = self._net.next_obs.encoder(latents.flatten(0, 1))  # (B V, E, t, h, w)
        tokens = tokens.flatten(2).transpose(1, 2)
        found: Tensor = tokens.reshape(len(latents), -1, tokens.shape[-1])
        return found

    def _walk(self, steps: int) -> tuple[Tensor, Any]:
        """Times of the walk and the rule of a step: diffusers' DDIM, or Euler for flow matching."""
        config = self._model.config.diffusion
        if config.objective == "flow":
            times = self._model.schedule.walk(steps)
            return times, lambda k, answer, noisy: noisy - answer / steps
        from diffusers import DDIMScheduler

        scheduler: Any = DDIMScheduler(  # type: ignore[no-untyped-call]
            num_train_timesteps=config.train_steps,
            beta_schedule="squaredcos_cap_v2",
            clip_sample=config.clip_sample,
        )
        scheduler.set_timesteps(steps)
        known = scheduler.timesteps
        return (
            known.float(),
            lambda k, answer, noisy: scheduler.step(answer, int(known[k]), noisy).prev_sample,
        )


def _modulated(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], eps=EPS) * (1 + scale[:, None]) + shift[:, None]


def _through(block: Block, x: Tensor, told: Tensor) -> Tensor:
    """One whole block: (B, N, E), (B, condition + time) -> (B, N, E)."""
    parts = block.modulation.linear(told).chunk(6, dim=-1)
    shift_a, scale_a, gate_a, shift_m, scale_m, gate_m = parts
    x = x + gate_a[:, None] * block.attn(_modulated(x, shift_a, scale_a))
    hidden = F.gelu(block.fc1(_modulated(x, shift_m, scale_m)))
    found: Tensor = x + gate_m[:, None] * block.fc2(hidden)
    return found
