"""A ResNet-101-like classifier of grey images and a ShuffleNet-like one with a hundredth of its parameters."""

from __future__ import annotations

import torch
from torch import nn

__all__ = ["CLASSES", "SIZE", "make_resnet101", "make_shufflenet"]

SIZE, CLASSES = 112, 6


def convolution(
    channels_in: int, channels_out: int, kernel: int, stride: int = 1, groups: int = 1
) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_out, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(channels_out),
    )


class Bottleneck(nn.Module):
    """He et al. 2015 (arXiv:1512.03385), figure 5 right, with the stride in the 3x3 convolution."""

    def __init__(self, channels_in: int, width: int, stride: int) -> None:
        super().__init__()
        channels_out = 4 * width
        self.body = nn.Sequential(
            convolution(channels_in, width, 1), nn.ReLU(),
            convolution(width, width, 3, stride), nn.ReLU(),
            convolution(width, channels_out, 1),
        )  # fmt: skip
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or channels_in != channels_out:
            self.shortcut = convolution(channels_in, channels_out, 1, stride)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.body(x) + self.shortcut(x))


class ShuffleUnit(nn.Module):
    """Ma et al. 2018 (arXiv:1807.11164), figure 3 c and d."""

    def __init__(self, channels_in: int, channels_out: int, stride: int) -> None:
        super().__init__()
        half = channels_out // 2
        self.splits = stride == 1
        entering = channels_in // 2 if self.splits else channels_in
        self.right = nn.Sequential(
            convolution(entering, half, 1), nn.ReLU(),
            convolution(half, half, 3, stride, half),
            convolution(half, half, 1), nn.ReLU(),
        )  # fmt: skip
        self.left: nn.Module = nn.Identity()
        if not self.splits:
            self.left = nn.Sequential(
                convolution(channels_in, channels_in, 3, stride, channels_in),
                convolution(channels_in, half, 1), nn.ReLU(),
            )  # fmt: skip

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        left, right = x.chunk(2, 1) if self.splits else (x, x)
        joined = torch.stack((self.left(left), self.right(right)), 2)  # its flattening shuffles the halves
        return joined.flatten(1, 2)


def make_resnet101() -> nn.Module:
    """float32 [N, 1, SIZE, SIZE] → logits [N, CLASSES]; 42 million parameters."""
    layers: list[nn.Module] = [convolution(1, 64, 7, 2), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
    channels = 64
    for width, blocks, stride in ((64, 3, 1), (128, 4, 2), (256, 23, 2), (512, 3, 2)):
        for index in range(blocks):
            layers.append(Bottleneck(channels, width, stride if index == 0 else 1))
            channels = 4 * width
    network = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, CLASSES))
    for module in network.modules():
        if isinstance(module, Bottleneck):
            # a block begins as its shortcut: a hundred layers learn in few epochs only so (arXiv:1706.02677, 5.1)
            nn.init.zeros_(module.body[-1][1].weight)
    return network


def make_shufflenet() -> nn.Module:
    """float32 [N, 1, SIZE, SIZE] → logits [N, CLASSES]; 0.35 million parameters (ShuffleNetV2 0.5x)."""
    layers: list[nn.Module] = [convolution(1, 24, 3, 2), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
    channels = 24
    for width, blocks in ((48, 4), (96, 8), (192, 4)):
        for index in range(blocks):
            layers.append(ShuffleUnit(channels, width, 2 if index == 0 else 1))
            channels = width
    return nn.Sequential(
        *layers,
        convolution(channels, 1024, 1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(1024, CLASSES),
    )
