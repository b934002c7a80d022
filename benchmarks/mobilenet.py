"""A MobileNetV2-like network (Sandler et al. 2018, arXiv:1801.04381, table 2) for 96×96 images in one channel."""

from __future__ import annotations

import torch
from torch import nn

# expansion, channels, repeats, stride of the first
STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


class Residual(nn.Module):
    """Widen, convolve each channel alone, narrow; a shortcut where shapes agree."""

    def __init__(self, channels_in: int, channels_out: int, stride: int, expansion: int) -> None:
        super().__init__()
        middle = channels_in * expansion
        parts: list[nn.Module] = [] if expansion == 1 else [convolution(channels_in, middle, 1)]
        parts += [convolution(middle, middle, 3, stride, groups=middle)]
        parts += [nn.Conv2d(middle, channels_out, 1, bias=False), nn.BatchNorm2d(channels_out)]
        self.body = nn.Sequential(*parts)
        self.shortcut = stride == 1 and channels_in == channels_out

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.body(x) if self.shortcut else self.body(x)


def convolution(
    channels_in: int, channels_out: int, kernel: int, stride: int = 1, groups: int = 1
) -> nn.Module:
    """Convolution, batch normalization, ReLU6."""
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_out, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(channels_out),
        nn.ReLU6(),
    )


def make() -> nn.Module:
    """float32 [N, 1, 96, 96] → logits [N, 10]."""
    layers: list[nn.Module] = [convolution(1, 32, 3, 2)]
    channels = 32
    for expansion, width, repeats, stride in STAGES:
        for index in range(repeats):
            layers.append(Residual(channels, width, stride if index == 0 else 1, expansion))
            channels = width
    layers += [convolution(channels, 1280, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1280, 10)]
    return nn.Sequential(*layers)
