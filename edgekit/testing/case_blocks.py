"""Blocks that people build with, small: YOLOv8's, a temporal one, a U-Net, a detector, attention, a shuffle."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations

__all__ = [
    "Attention",
    "CausalBlock",
    "ShuffledGroups",
    "SplitBlock",
    "TiedAutoencoder",
    "TinyUnet",
    "TwoScaleDetector",
    "convolution",
]

Tensor = torch.Tensor


class SplitBlock(nn.Module):
    """YOLOv8's C2f: halves of a chunk, each new map made of the last one, all of them concatenated."""

    def __init__(self, width: int, depth: int = 2) -> None:
        super().__init__()
        self.enter = convolution(width, width, 1)
        self.inner = nn.ModuleList(convolution(width // 2, width // 2, 3) for _ in range(depth))
        self.leave = convolution((2 + depth) * width // 2, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        maps = list(self.enter(x).chunk(2, 1))
        for layer in self.inner:
            maps.append(maps[-1] + layer(maps[-1]))
        return _tensor(self.leave(torch.cat(maps, 1)))


class CausalBlock(nn.Module):
    """A temporal block: two dilated convolutions, each cut at its end, and a shortcut."""

    def __init__(self, taken: int, given: int, dilation: int) -> None:
        super().__init__()
        cut = 2 * dilation
        self.first = parametrizations.weight_norm(nn.Conv1d(taken, given, 3, padding=cut, dilation=dilation))
        self.second = parametrizations.weight_norm(nn.Conv1d(given, given, 3, padding=cut, dilation=dilation))
        self.shortcut = nn.Conv1d(taken, given, 1) if taken != given else nn.Identity()
        self.cut = cut

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.first(x)[:, :, : -self.cut].contiguous())
        y = F.relu(self.second(y)[:, :, : -self.cut].contiguous())
        return F.relu(y + self.shortcut(x))


class TinyUnet(nn.Module):
    """Two levels down and up again; the last step up rounds its size with output_padding."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.ModuleList([convolution(3, 8, 3), convolution(8, 12, 3), convolution(12, 16, 3)])
        self.up = nn.ModuleList(
            [nn.ConvTranspose2d(16, 12, 2, 2), nn.ConvTranspose2d(8, 8, 3, 2, 1, output_padding=1)]
        )
        self.join = nn.ModuleList([convolution(24, 8, 3), convolution(16, 8, 3)])
        self.head = nn.Conv2d(8, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        top = self.down[0](x)
        middle = self.down[1](F.max_pool2d(top, 2))
        y = self.down[2](F.max_pool2d(middle, 2))
        y = self.join[0](torch.cat([self.up[0](y), middle], 1))
        y = self.join[1](torch.cat([self.up[1](y), top], 1))
        return _tensor(self.head(y))


class TiedAutoencoder(nn.Module):
    """An auto-encoder whose decoder is its encoder's weight, transposed."""

    def __init__(self) -> None:
        super().__init__()
        self.encode = nn.Linear(48, 16)
        self.bias = nn.Parameter(torch.zeros(48))

    def forward(self, x: Tensor) -> Tensor:
        hidden = F.relu(self.encode(x.flatten(1)))
        return F.linear(hidden, self.encode.weight.t(), self.bias).view_as(x)


class TwoScaleDetector(nn.Module):
    """Two scales; a dict with a list, a tuple and None."""

    def __init__(self) -> None:
        super().__init__()
        self.stages = nn.ModuleList([convolution(3, 8, 3, 2), convolution(8, 16, 3, 2)])
        self.scores = nn.ModuleList([nn.Conv2d(8, 4, 1), nn.Conv2d(16, 4, 1)])
        self.boxes = nn.ModuleList([nn.Conv2d(8, 8, 1), nn.Conv2d(16, 8, 1)])

    def forward(self, x: Tensor) -> dict[str, Any]:
        near = self.stages[0](x)
        far = self.stages[1](near)
        scores = [self.scores[0](near).sigmoid(), self.scores[1](far).sigmoid()]
        return {"scores": scores, "boxes": (self.boxes[0](near), self.boxes[1](far)), "aux": None}


class Attention(nn.Module):
    """Multi-head attention written with einsum, as papers' code does."""

    def __init__(self, width: int = 16, heads: int = 2) -> None:
        super().__init__()
        self.qkv, self.project = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.heads = heads

    def forward(self, x: Tensor) -> Tensor:
        count, length, width = x.shape
        q, k, v = (part.view(count, length, self.heads, -1) for part in self.qkv(x).chunk(3, -1))
        weights = torch.einsum("bqhd,bkhd->bhqk", q, k).mul((width // self.heads) ** -0.5).softmax(-1)
        return _tensor(
            self.project(torch.einsum("bhqk,bkhd->bqhd", weights, v).reshape(count, length, width))
        )


class ShuffledGroups(nn.Module):
    """ShuffleNet's channel shuffle between grouped convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 3, padding=1, groups=2)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.first(x))
        count, channels, height, width = y.shape
        y = y.view(count, 2, channels // 2, height, width).transpose(1, 2).reshape(y.shape)
        return _tensor(self.second(y))


def _tensor(value: Tensor) -> Tensor:
    return value


def convolution(taken: int, given: int, kernel: int, stride: int = 1) -> nn.Sequential:
    layer = nn.Conv2d(taken, given, kernel, stride, kernel // 2, bias=False)
    return nn.Sequential(layer, nn.BatchNorm2d(given), nn.SiLU())
