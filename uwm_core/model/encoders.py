# SPDX-License-Identifier: Apache-2.0
"""Image encoders: RGB in [0, 1] to a feature vector per image.

``ResNet18`` is the published one, with GroupNorm and parameter names as torchvision has them, so
that ImageNet weights find their place. ``ConvEncoder`` is small enough to train on two cores.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from uwm_core.config import EncoderConfig

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
_GROUP = 16  # channels per group


def _norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(channels // _GROUP, channels)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a way round them.

    Args:
        channels_in: Channels before.
        channels: Channels after.
        stride: Stride of the first convolution.
    """

    def __init__(self, channels_in: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride, 1, bias=False)
        self.bn1 = _norm(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn2 = _norm(channels)
        self.downsample: nn.Module = nn.Identity()
        if stride != 1 or channels_in != channels:
            self.downsample = nn.Sequential(
                nn.Conv2d(channels_in, channels, 1, stride, bias=False), _norm(channels)
            )

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels_in, H, W) -> (N, channels, H / stride, W / stride)."""
        out = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(out)) + self.downsample(x))


class ResNet18(nn.Module):
    """ResNet-18 with GroupNorm.

    Args:
        features: Numbers that come out.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, features: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = _norm(64)
        self.layer1 = nn.Sequential(BasicBlock(64, 64, 1), BasicBlock(64, 64, 1))
        self.layer2 = nn.Sequential(BasicBlock(64, 128, 2), BasicBlock(128, 128, 1))
        self.layer3 = nn.Sequential(BasicBlock(128, 256, 2), BasicBlock(256, 256, 1))
        self.layer4 = nn.Sequential(BasicBlock(256, 512, 2), BasicBlock(512, 512, 1))
        self.fc = nn.Linear(512, features)
        for name, value in (("mean", IMAGENET_MEAN), ("std", IMAGENET_STD)):
            self.register_buffer(name, torch.tensor(value).view(1, 3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) in [0, 1] -> (N, features)."""
        x = (images - self.mean) / self.std
        x = F.relu(self.bn1(self.conv1(x)))  # (N, 64, H/2, W/2)
        x = F.max_pool2d(x, 3, 2, 1)  # (N, 64, H/4, W/4)
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))  # (N, 512, H/32, W/32)
        out: Tensor = self.fc(x.mean(dim=(2, 3)))
        return out


class SoftArgmax(nn.Module):
    """Where each channel looks: the mean position under a softmax over the map.

    Every map is standardised first. Without it the maps of a new network are so flat that all
    positions are the centre (they varied by 1e-4 over images of a whole episode), and a policy
    learns to do without looking.

    Args:
        channels: Channels of the map; each has its own learned sharpness.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.sharpness = nn.Parameter(torch.full((1, channels, 1), 3.0))

    def forward(self, maps: Tensor) -> Tensor:
        """(N, C, h, w) -> (N, 2 C): x then y of each channel, in [-1, 1]."""
        height, width = maps.shape[-2:]
        flat = F.layer_norm(maps.flatten(2), (height * width,))  # (N, C, h w), each map by itself
        share = torch.softmax(flat * self.sharpness, dim=-1)
        share = share.reshape(maps.shape)  # (N, C, h, w)
        xs = torch.linspace(-1, 1, width, device=maps.device, dtype=maps.dtype)
        ys = torch.linspace(-1, 1, height, device=maps.device, dtype=maps.dtype)
        return torch.cat([share.sum(2) @ xs, share.sum(3) @ ys], dim=1)


class ConvEncoder(nn.Module):
    """Four convolutions, then positions by spatial soft-argmax beside coarsely pooled features.

    Args:
        features: Numbers that come out.
        width: Channels of the last map.
    """

    def __init__(self, features: int, width: int) -> None:
        super().__init__()
        half = width // 2
        self.maps = nn.Sequential(
            nn.Conv2d(3, half, 5, 2, 2),
            nn.ReLU(),
            nn.Conv2d(half, width, 3, 2, 1),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, 1, 1),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, 1, 1),
        )
        for layer in self.maps:
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)
        self.where = SoftArgmax(width)
        self.out = nn.Linear(2 * width + 4 * width, features)

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) in [0, 1] -> (N, features)."""
        maps = self.maps(images * 2 - 1)  # (N, width, H/4, W/4)
        pooled = F.adaptive_avg_pool2d(F.relu(maps), 2).flatten(1)  # (N, 4 width)
        out: Tensor = self.out(torch.cat([self.where(maps), pooled], dim=1))
        return out


def make_encoder(config: EncoderConfig) -> nn.Module:
    """The image encoder that a config names: (N, 3, H, W) in [0, 1] -> (N, features)."""
    if config.kind == "resnet18":
        return ResNet18(config.features)
    return ConvEncoder(config.features, config.width)
