# SPDX-License-Identifier: Apache-2.0
"""The diffusion transformer over action tokens, next-observation patches and registers.

It is told a condition vector and a timestep per modality, and answers with what the objective wants
(noise or velocity) for the modalities that are wanted. ``forward`` does it all for training; the
sampler calls the parts, so that what does not change during a walk is computed once.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from uwm_core.config import ModelConfig
from uwm_core.model.blocks import Block, Head, Modulation
from uwm_core.model.embed import Patches, TimeEmbedding, mlp


class Denoiser(nn.Module):
    """Answers for noisy actions and noisy next observations.

    Args:
        config: Sizes and switches.
        time_scale: Factor on a time before its sinusoids (the schedule's), unitless.
    """

    def __init__(self, config: ModelConfig, *, time_scale: float = 1.0) -> None:
        super().__init__()
        width, hidden = config.width, config.mlp_ratio * config.width
        self.chunk, self.patches = config.window.chunk, config.patches
        self.action_in = mlp(config.action_size, hidden, width)
        self.action_out = mlp(width, hidden, config.action_size)
        self.next_obs = Patches(config.latent_shape, config.patch, width)
        self.registers = nn.Parameter(torch.zeros(1, config.registers, width))
        self.position = nn.Parameter(torch.zeros(1, config.tokens, width))
        self.time = TimeEmbedding(config.time_width, time_scale)

        self.squeeze: nn.Module = nn.Identity()
        if config.condition_rank:
            self.squeeze = nn.Linear(config.condition_size, config.condition_rank)

        def modulation(widths: int) -> Modulation:
            read = config.condition_rank or config.condition_size
            return Modulation(read, config.time_width, widths * width)

        self.blocks = nn.ModuleList(
            Block(
                width,
                config.heads,
                config.mlp_ratio,
                qkv_bias=config.qkv_bias,
                modulation=modulation(6),
            )
            for _ in range(config.depth)
        )
        self.head = Head(width, modulation(2))
        self._initialise()

    def _initialise(self) -> None:
        """Xavier for linear maps, small noise for tokens, zero for all that gates or answers."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        nn.init.xavier_uniform_(self.next_obs.encoder.weight.view(self.position.shape[-1], -1))
        nn.init.normal_(self.registers, std=0.02)
        nn.init.normal_(self.position, std=0.02)
        for layer in self._modulations():
            nn.init.zeros_(layer.linear.weight)
        # The answers start at zero too: the mean of what is asked for.
        for answer in (self.next_obs.decoder, self.action_out[-1]):
            for parameter in answer.parameters():
                nn.init.zeros_(parameter)

    @property
    def dtype(self) -> torch.dtype:
        """Number type of the weights, in which tokens and condition must come."""
        return self.position.dtype

    def _modulations(self) -> list[Modulation]:
        return [layer.modulation for layer in (*self.blocks, self.head)]

    def of_condition(self, condition: Tensor) -> list[Tensor]:
        """Condition's part of every layer's modulation: (B, condition) -> depth + 1 x (B, ...)."""
        activated = F.silu(self.squeeze(condition))
        return [layer.of_condition(activated) for layer in self._modulations()]

    def of_time(self, action_time: Tensor, next_time: Tensor) -> list[Tensor]:
        """Timesteps' part of every layer's modulation: (B,), (B,) -> depth + 1 x (B, ...)."""
        activated = F.silu(self.time(action_time, next_time))
        return [layer.of_time(activated) for layer in self._modulations()]

    def action_tokens(self, action: Tensor) -> Tensor:
        """(B, A, D) -> (B, A, E), position included."""
        tokens: Tensor = self.action_in(action) + self.position[:, : self.chunk]
        return tokens

    def next_tokens(self, next_obs: Tensor) -> Tensor:
        """(B, V, C, T, h, w) -> (B, patches, E), position included."""
        first = self.chunk
        return self.next_obs.encode(next_obs) + self.position[:, first : first + self.patches]

    def trunk(
        self,
        action_tokens: Tensor,
        next_tokens: Tensor,
        modulations: list[Tensor],
        *,
        want: tuple[bool, bool] = (True, True),
    ) -> tuple[Tensor | None, Tensor | None]:
        """Run the transformer on tokens.

        The last block and the head work on the wanted tokens alone: nothing reads the others.

        Args:
            action_tokens: (B, A, E).
            next_tokens: (B, patches, E).
            modulations: One per block and one for the head, each (B, ...) or (1, ...).
            want: Whether an answer is wanted for (action, next observation).

        Returns:
            (B, A, D) or None, (B, V, C, T, h, w) or None.
        """
        registers = self.registers + self.position[:, self.chunk + self.patches :]
        registers = registers.expand(len(action_tokens), -1, -1)
        x = torch.cat([action_tokens, next_tokens, registers], dim=1)  # (B, N, E)
        first = 0 if want[0] else self.chunk
        last = self.chunk + self.patches if want[1] else self.chunk
        *early, final = self.blocks
        for block, modulation in zip(early, modulations, strict=False):
            x = block(x, modulation)
        x = final(x, modulations[-2], slice(first, last))
        x = self.head(x, modulations[-1])  # (B, wanted, E)
        action = self.action_out(x[:, : self.chunk]) if want[0] else None
        next_obs = self.next_obs.decode(x[:, self.chunk - first :]) if want[1] else None
        return action, next_obs

    def forward(
        self,
        action: Tensor,
        next_obs: Tensor,
        times: tuple[Tensor, Tensor],
        of_condition: list[Tensor],
    ) -> tuple[Tensor, Tensor]:
        """Answer for both modalities.

        Args:
            action: (B, A, D) noisy.
            next_obs: (B, V, C, T, h, w) noisy.
            times: Timesteps of (action, next observation), each (B,).
            of_condition: What ``of_condition`` gave, each (B, ...).

        Returns:
            Answers of the same shapes as ``action`` and ``next_obs``.
        """
        modulations = [c + t for c, t in zip(of_condition, self.of_time(*times), strict=True)]
        answers = self.trunk(self.action_tokens(action), self.next_tokens(next_obs), modulations)
        if answers[0] is None or answers[1] is None:  # both are wanted above
            raise RuntimeError("the trunk left out a modality that was wanted")
        return answers[0], answers[1]
