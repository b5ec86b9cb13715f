# SPDX-License-Identifier: Apache-2.0
"""Transformer block and head with AdaLN-zero, and the split of its modulation.

The modulation is Linear(SiLU([condition, time])). SiLU is elementwise, so it is also
Wc SiLU(condition) + Wt SiLU(time) + b: the first part is computed once per observation, the second
once per schedule, and inside the sampling loop only their sum is left. Same numbers.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

EPS = 1e-6


def modulate(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """Normalise the last axis, then scale and shift it: (B, N, E), (B, 1, E), (B, 1, E)."""
    return torch.addcmul(shift, F.layer_norm(x, x.shape[-1:], eps=EPS), 1 + scale)


class Modulation(nn.Module):
    """AdaLN's projection of (condition, time), in two parts that add up.

    Args:
        condition_size: Numbers in the condition vector.
        time_size: Numbers in the embedding of the timesteps.
        size: Numbers that come out.
    """

    def __init__(self, condition_size: int, time_size: int, size: int) -> None:
        super().__init__()
        self.condition_size = condition_size
        self.linear = nn.Linear(condition_size + time_size, size)

    def of_condition(self, activated: Tensor) -> Tensor:
        """Part of SiLU(condition): (B, condition size) -> (B, size)."""
        return F.linear(activated, self.linear.weight[:, : self.condition_size])

    def of_time(self, activated: Tensor) -> Tensor:
        """Part of SiLU(time), bias included: (B, time size) -> (B, size)."""
        return F.linear(activated, self.linear.weight[:, self.condition_size :], self.linear.bias)


class Attention(nn.Module):
    """Multi-head self-attention whose queries may be some of the tokens only.

    Args:
        width: Token width.
        heads: Number of heads.
        qkv_bias: Whether the projection to queries, keys and values has a bias.
    """

    def __init__(self, width: int, heads: int, *, qkv_bias: bool) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=qkv_bias)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor, rows: slice | None = None) -> Tensor:
        """Attend from ``rows`` (all if None) to all tokens: (B, N, E) -> (B, rows, E)."""
        batch, tokens, width = x.shape
        if rows is None:
            packed = self.qkv(x).reshape(batch, tokens, 3, self.heads, -1)
            q, k, v = packed.permute(2, 0, 3, 1, 4)  # each (B, heads, N, E / heads)
        else:
            weight, bias = self.qkv.weight, self.qkv.bias
            of_q, of_kv = (None, None) if bias is None else (bias[:width], bias[width:])
            q = F.linear(x[:, rows], weight[:width], of_q)
            q = q.reshape(batch, -1, self.heads, width // self.heads).transpose(1, 2)
            packed = F.linear(x, weight[width:], of_kv).reshape(batch, tokens, 2, self.heads, -1)
            k, v = packed.permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v)  # (B, heads, rows, E / heads)
        out: Tensor = self.proj(mixed.transpose(1, 2).reshape(batch, -1, width))
        return out


class Block(nn.Module):
    """Pre-norm attention and MLP, each shifted, scaled and gated by the modulation.

    Args:
        width: Token width.
        heads: Attention heads.
        mlp_ratio: Hidden width of the MLP over the token width.
        qkv_bias: See ``Attention``.
        modulation: The block's projection of (condition, time) to six widths.
    """

    def __init__(
        self, width: int, heads: int, mlp_ratio: int, *, qkv_bias: bool, modulation: Modulation
    ) -> None:
        super().__init__()
        self.attn = Attention(width, heads, qkv_bias=qkv_bias)
        self.fc1 = nn.Linear(width, mlp_ratio * width)
        self.fc2 = nn.Linear(mlp_ratio * width, width)
        self.modulation = modulation

    def forward(self, x: Tensor, modulation: Tensor, rows: slice | None = None) -> Tensor:
        """(B, N, E), (B, 6 E) -> (B, rows, E); all rows if ``rows`` is None."""
        parts = modulation.unsqueeze(1).chunk(6, dim=-1)
        shift_a, scale_a, gate_a, shift_m, scale_m, gate_m = parts  # each (B, 1, E)
        attended = self.attn(modulate(x, shift_a, scale_a), rows)
        kept = x if rows is None else x[:, rows]
        kept = torch.addcmul(kept, gate_a, attended)
        hidden = F.gelu(self.fc1(modulate(kept, shift_m, scale_m)))
        return torch.addcmul(kept, gate_m, self.fc2(hidden))


class Head(nn.Module):
    """Last normalisation and linear layer.

    Args:
        width: Token width.
        modulation: Projection of (condition, time) to two widths.
    """

    def __init__(self, width: int, modulation: Modulation) -> None:
        super().__init__()
        self.linear = nn.Linear(width, width)
        self.modulation = modulation

    def forward(self, x: Tensor, modulation: Tensor) -> Tensor:
        """(B, N, E), (B, 2 E) -> (B, N, E)."""
        shift, scale = modulation.unsqueeze(1).chunk(2, dim=-1)
        out: Tensor = self.linear(modulate(x, shift, scale))
        return out
