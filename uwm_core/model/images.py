# SPDX-License-Identifier: Apache-2.0
"""From stored uint8 images to what the networks see: resize, crop, shift, colour.

Sampling is deterministic (centre crop, nothing else). In training the observation and the next
observation of one sample get the same crop and the same colours, as they show the same scene; the
small shift is for the observation alone, as the codec's latents may be cached.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from uwm_core.config import ImageConfig


@dataclass(frozen=True)
class Augmentation:
    """What was drawn for every sample of a batch.

    Attributes:
        corner: (B, V, 2) int64, row and column of the crop's corner, px.
        shift: (B, V, 2) int64, shift of the observation, px.
        colour: (B, V, 3) float32 factors of brightness, contrast and saturation.
    """

    corner: Tensor
    shift: Tensor
    colour: Tensor


def stack_views(images: dict[str, Tensor], views: tuple[str, ...]) -> Tensor:
    """V x (B, T, H, W, 3) in the order of ``views`` -> (B, V, T, H, W, 3)."""
    return torch.stack([images[view] for view in views], dim=1)


def draw_augmentation(
    config: ImageConfig, batch: int, views: int, generator: torch.Generator | None
) -> Augmentation:
    """Draw a crop, a shift and colours for every sample and view."""
    frame = config.resize or config.size
    room = torch.tensor([a - b + 1 for a, b in zip(frame, config.seen, strict=True)])
    at, shift = torch.rand(2, batch, views, 2, generator=generator)
    colour = torch.rand(batch, views, 3, generator=generator)
    return Augmentation(
        corner=(at * room).long(),
        shift=(shift * (2 * config.shift_px + 1)).long() - config.shift_px,
        colour=1 + config.jitter * (2 * colour - 1),
    )


def prepare(
    images: Tensor,
    config: ImageConfig,
    augmentation: Augmentation | None = None,
    *,
    shifted: bool = True,
) -> Tensor:
    """Make stored images ready for the networks.

    Args:
        images: (B, V, T, H, W, 3) uint8.
        config: Sizes.
        augmentation: What training has drawn; None for the centre crop.
        shifted: Whether the augmentation's shift is applied (to the observation, not to the next).

    Returns:
        (B, V, T, 3, H', W') float32 in [0, 1].
    """
    batch, views, steps = images.shape[:3]
    if config.resize is not None and images.shape[3:5] != config.resize:
        x = images.flatten(0, 2).permute(0, 3, 1, 2).float() / 255  # (B V T, 3, H, W)
        x = F.interpolate(x, config.resize, mode="bilinear", antialias=True)
        x = x.permute(0, 2, 3, 1).reshape(batch, views, steps, *config.resize, 3)
    else:
        x = images
    x = _cut(x, config, augmentation, shifted=shifted)
    x = x.permute(0, 1, 2, 5, 3, 4)  # (B, V, T, 3, H', W')
    x = x.float() / 255 if x.dtype == torch.uint8 else x
    if augmentation is not None and config.jitter > 0:
        x = _colour(x, augmentation.colour.to(x.device))
    return x.contiguous()


def _cut(
    x: Tensor, config: ImageConfig, augmentation: Augmentation | None, *, shifted: bool
) -> Tensor:
    """Crop and shift: (B, V, T, H, W, 3) -> (B, V, T, H', W', 3)."""
    frame, seen = x.shape[3:5], config.seen
    if augmentation is None:
        top, left = (round((a - b) / 2) for a, b in zip(frame, seen, strict=True))
        return x[:, :, :, top : top + seen[0], left : left + seen[1]]
    if frame == seen and not (shifted and config.shift_px):
        return x
    corner = augmentation.corner + (augmentation.shift if shifted else 0)  # (B, V, 2)
    # Clamped indices repeat the edge pixels where a shift leaves the image.
    rows = (corner[..., :1] + torch.arange(seen[0])).clamp(0, frame[0] - 1).to(x.device)
    columns = (corner[..., 1:] + torch.arange(seen[1])).clamp(0, frame[1] - 1).to(x.device)
    b = torch.arange(x.shape[0], device=x.device).view(-1, 1, 1, 1)
    v = torch.arange(x.shape[1], device=x.device).view(1, -1, 1, 1)
    cut = x.transpose(2, 3).transpose(3, 4)[b, v, rows[..., None], columns[:, :, None]]
    return cut.permute(0, 1, 4, 2, 3, 5)  # (B, V, H', W', T, 3) -> (B, V, T, H', W', 3)


def _colour(x: Tensor, factors: Tensor) -> Tensor:
    """Brightness, contrast, saturation: (B, V, T, 3, H, W), (B, V, 3) -> (B, V, T, 3, H, W)."""
    brightness, contrast, saturation = factors[:, :, None, :, None, None].unbind(3)
    x = x * brightness.unsqueeze(3)
    weights = torch.tensor([0.299, 0.587, 0.114], device=x.device).view(3, 1, 1)
    grey = (x * weights).sum(3, keepdim=True)  # (B, V, T, 1, H, W)
    middle = grey.mean(dim=(2, 4, 5), keepdim=True)
    x = torch.lerp(middle, x, contrast.unsqueeze(3))
    grey = torch.lerp(middle, grey, contrast.unsqueeze(3))
    return torch.lerp(grey, x, saturation.unsqueeze(3)).clamp(0, 1)
