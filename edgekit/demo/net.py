"""The demo's network: a small residual CNN for 8×8 grey images, 10 million MACs, as a user's own file would look."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

__all__ = ["make"]


class Block(nn.Module):
    """Two 3×3 convolutions around a shortcut; `stride` 2 halves the image and widens it."""

    def __init__(self, channels_in: int, channels_out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels_out, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(channels_out)
        self.conv2 = nn.Conv2d(channels_out, channels_out, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(channels_out)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or channels_in != channels_out:
            self.shortcut = nn.Sequential(
                nn.Conv2d(channels_in, channels_out, 1, stride, bias=False), nn.BatchNorm2d(channels_out)
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = functional.relu(self.norm1(self.conv1(x)))
        y = self.norm2(self.conv2(y)) + self.shortcut(x)
        return functional.relu(y)


class DigitsNet(nn.Module):
    """float32 [N, 1, 8, 8] in 0…1 → logits [N, 10]."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 48, 3, 1, 1, bias=False), nn.BatchNorm2d(48), nn.ReLU())
        self.blocks = nn.Sequential(Block(48, 48, 1), Block(48, 48, 1), Block(48, 96, 2), Block(96, 96, 1))
        self.head = nn.Linear(96, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.head(self.blocks(self.stem(x)).mean((2, 3)))
        return y


def make() -> nn.Module:
    """The factory that `--model net.py:make` names; weights come from `--weights`."""
    return DigitsNet()
