"""An anchor-free detector of the YOLO class: CSP backbone, a path down and up, heads for classes and for boxes."""

from __future__ import annotations

import math

import torch
from torch import nn

__all__ = ["CLASSES", "HEIGHT", "STRIDES", "WIDTH", "make_large", "make_small", "points"]

WIDTH, HEIGHT, CLASSES = 256, 192, 3
STRIDES = (8, 16, 32)


def convolution(channels_in: int, channels_out: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_out, kernel, stride, kernel // 2, bias=False),
        nn.BatchNorm2d(channels_out),
        nn.ReLU(),
    )


class Bottleneck(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(convolution(channels, channels), convolution(channels, channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.body(x)


class CrossStage(nn.Module):
    """Half of the channels past the bottlenecks, half through them (Wang et al. 2019, arXiv:1911.11929)."""

    def __init__(self, channels_in: int, channels_out: int, blocks: int) -> None:
        super().__init__()
        half = channels_out // 2
        self.past = convolution(channels_in, half, 1)
        self.through = nn.Sequential(
            convolution(channels_in, half, 1), *(Bottleneck(half) for _ in range(blocks))
        )
        self.join = convolution(2 * half, channels_out, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.join(torch.cat((self.past(x), self.through(x)), 1))


class Head(nn.Module):
    """Of one level: logits [N, CLASSES, h w] and the logarithms of a box's four distances in strides [N, 4, h w]."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.classes = nn.Sequential(convolution(channels, channels), nn.Conv2d(channels, CLASSES, 1))
        self.boxes = nn.Sequential(convolution(channels, channels), nn.Conv2d(channels, 4, 1))
        nn.init.constant_(
            self.classes[1].bias, -math.log((1 - 0.01) / 0.01)
        )  # Lin et al. 2017, 4.1: rare at first

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.classes(x).flatten(2), self.boxes(x).flatten(2)


class Detector(nn.Module):
    """float32 [N, 3, HEIGHT, WIDTH] → scores, logits [N, CLASSES, points], and distances [N, 4, points]."""

    def __init__(self, width: int, blocks: int) -> None:
        super().__init__()
        c1, c2, c3, c4 = (width * factor for factor in (1, 2, 4, 8))
        self.stem = nn.Sequential(
            convolution(3, c1, 3, 2), convolution(c1, c2, 3, 2), CrossStage(c2, c2, blocks)
        )
        self.stage3 = nn.Sequential(convolution(c2, c3, 3, 2), CrossStage(c3, c3, 2 * blocks))
        self.stage4 = nn.Sequential(convolution(c3, c4, 3, 2), CrossStage(c4, c4, 2 * blocks))
        self.stage5 = nn.Sequential(convolution(c4, c4, 3, 2), CrossStage(c4, c4, blocks))
        self.narrow5, self.narrow4 = convolution(c4, c3, 1), convolution(c4, c3, 1)
        self.up = nn.Upsample(scale_factor=2.0, mode="nearest")
        self.down4, self.down3 = CrossStage(2 * c3, c3, blocks), CrossStage(2 * c3, c3, blocks)
        self.reduce3, self.reduce4 = convolution(c3, c3, 3, 2), convolution(c3, c3, 3, 2)
        self.up4, self.up5 = CrossStage(2 * c3, c3, blocks), CrossStage(2 * c3, c3, blocks)
        self.heads = nn.ModuleList(Head(c3) for _ in STRIDES)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        third = self.stage3(self.stem(x))
        fourth = self.stage4(third)
        fifth = self.narrow5(self.stage5(fourth))
        fourth = self.down4(torch.cat((self.up(fifth), self.narrow4(fourth)), 1))
        third = self.down3(torch.cat((self.up(fourth), third), 1))
        fourth = self.up4(torch.cat((self.reduce3(third), fourth), 1))
        fifth = self.up5(torch.cat((self.reduce4(fourth), fifth), 1))
        levels = [head(level) for head, level in zip(self.heads, (third, fourth, fifth), strict=True)]
        return torch.cat([scores for scores, _ in levels], 2), torch.cat([boxes for _, boxes in levels], 2)


def points() -> torch.Tensor:
    """Of all levels, float32 [points, 3]: x and y of the middle in pixels, and the stride."""
    levels = []
    for stride in STRIDES:
        y, x = torch.meshgrid(torch.arange(HEIGHT // stride), torch.arange(WIDTH // stride), indexing="ij")
        middle = torch.stack((x, y), -1).reshape(-1, 2).float().add(0.5).mul(stride)
        levels.append(torch.cat((middle, torch.full((len(middle), 1), float(stride))), 1))
    return torch.cat(levels)


def make_large() -> nn.Module:
    """The teacher."""
    return Detector(32, 1)


def make_small() -> nn.Module:
    """Half as wide."""
    return Detector(16, 1)
