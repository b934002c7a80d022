"""Small networks whose channel dependencies differ in kind, and samples held in memory."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional as F

from edgekit.compress import PruneConfig, PrunePlan, propose_widths, prunable
from edgekit.compress.base import Example, example_tensors
from edgekit.data.base import Batch


class PowerCut(BaseException):
    """Ends a run at a batch of the test's choice; nothing may catch it."""


class ArraySamples:
    """Samples from arrays. After `fail_after` batches in all, the power goes."""

    def __init__(
        self, x: NDArray[np.float32], y: NDArray[np.int64] | None, fail_after: int | None = None
    ) -> None:
        self.x, self.y, self._left = x, y, fail_after

    @property
    def labels(self) -> NDArray[np.int64] | None:
        return self.y

    def __len__(self) -> int:
        return len(self.x)

    def batches(self, batch_size: int, *, shuffle_seed: int | None = None) -> Iterator[Batch]:
        order = np.arange(len(self.x))
        if shuffle_seed is not None:
            np.random.default_rng(shuffle_seed).shuffle(order)
        for start in range(0, len(order), batch_size):
            self.spend()
            rows = order[start : start + batch_size]
            yield Batch((self.x[rows],), None if self.y is None else self.y[rows])

    def spend(self) -> None:
        if self._left is not None:
            self._left -= 1
            if self._left < 0:
                raise PowerCut

    def subset(self, places: NDArray[np.int64]) -> ArraySamples:
        return _Part(self, places)


class _Part(ArraySamples):
    """Counts its batches with the whole."""

    def __init__(self, whole: ArraySamples, places: NDArray[np.int64]) -> None:
        super().__init__(whole.x[places], None if whole.y is None else whole.y[places])
        self._whole = whole

    def batches(self, batch_size: int, *, shuffle_seed: int | None = None) -> Iterator[Batch]:
        for batch in super().batches(batch_size, shuffle_seed=shuffle_seed):
            self._whole.spend()
            yield batch


def image_example(channels: int = 3, side: int = 8) -> tuple[NDArray[np.float32], ...]:
    return (np.zeros((1, channels, side, side), dtype=np.float32),)


def random_samples(count: int = 96, channels: int = 3, side: int = 8, classes: int = 4) -> ArraySamples:
    chance = np.random.default_rng(0)
    x = chance.normal(size=(count, channels, side, side)).astype(np.float32)
    return ArraySamples(x, chance.integers(0, classes, count).astype(np.int64))


class Plain(nn.Module):
    """conv-bn-relu twice, mean, linear."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, width, 3, padding=1), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = nn.Conv2d(width, 2 * width, 3, padding=1, stride=2), nn.BatchNorm2d(2 * width)
        self.head = nn.Linear(2 * width, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.bn1(self.conv1(x)))
        x = F.relu(self.bn2(self.conv2(x)))
        return self.head(x.mean((2, 3)))


class Residual(nn.Module):
    """A stem and two blocks that add to it."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, padding=1)
        self.inner1, self.outer1 = nn.Conv2d(16, 24, 3, padding=1), nn.Conv2d(24, 16, 3, padding=1)
        self.inner2, self.outer2 = nn.Conv2d(16, 24, 3, padding=1), nn.Conv2d(24, 16, 3, padding=1)
        self.head = nn.Linear(16, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.stem(x))
        x = F.relu(x + self.outer1(F.relu(self.inner1(x))))
        x = F.relu(x + self.outer2(F.relu(self.inner2(x))))
        return self.head(x.mean((2, 3)))


class PaddedShortcut(nn.Module):
    """ResNet's shortcut of type A: a strided slice, padded with zero channels by a fixed number."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, padding=1)
        self.conv1, self.bn1 = nn.Conv2d(16, 32, 3, padding=1, stride=2), nn.BatchNorm2d(32)
        self.conv2, self.bn2 = nn.Conv2d(32, 32, 3, padding=1), nn.BatchNorm2d(32)
        self.head = nn.Linear(32, 4)
        self.pad = 8

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.stem(x))
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        x = F.relu(y + F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.pad, self.pad)))
        return self.head(x.mean((2, 3)))


class Depthwise(nn.Module):
    """Expand, depthwise, project."""

    def __init__(self) -> None:
        super().__init__()
        self.expand, self.bn1 = nn.Conv2d(3, 32, 1), nn.BatchNorm2d(32)
        self.depthwise, self.bn2 = nn.Conv2d(32, 32, 3, padding=1, groups=32), nn.BatchNorm2d(32)
        self.project = nn.Conv2d(32, 16, 1)
        self.head = nn.Linear(16, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu6(self.bn2(self.depthwise(F.relu6(self.bn1(self.expand(x))))))
        return self.head(self.project(x).mean((2, 3)))


class Concat(nn.Module):
    """Two branches side by side, flattened into a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Conv2d(3, 16, 3, padding=1), nn.Conv2d(3, 24, 1)
        self.bn = nn.BatchNorm2d(40)
        self.merge = nn.Conv2d(40, 16, 1)
        self.hidden, self.head = nn.Linear(16 * 16, 32), nn.Linear(32, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.bn(torch.cat((self.left(x), self.right(x)), 1)))
        x = F.avg_pool2d(F.relu(self.merge(x)), 2)
        return self.head(F.relu(self.hidden(x.flatten(1))))


class Attention(nn.Module):
    """Tokens, one attention layer with fused heads, a two-layer perceptron, layer norms."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Conv2d(3, 32, 4, stride=4)
        self.norm1, self.norm2 = nn.LayerNorm(32), nn.LayerNorm(32)
        self.qkv, self.out = nn.Linear(32, 96), nn.Linear(32, 32)
        self.wide, self.narrow = nn.Linear(32, 64), nn.Linear(64, 32)
        self.head = nn.Linear(32, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.embed(x).flatten(2).transpose(1, 2)
        count, tokens, _ = x.shape
        q, k, v = self.qkv(self.norm1(x)).reshape(count, tokens, 3, 4, 8).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(count, tokens, 32)
        x = x + self.out(y)
        x = x + self.narrow(F.gelu(self.wide(self.norm2(x))))
        return self.head(x.mean(1))


class OnlyGroupNorm(nn.Module):
    """Nothing here can be pruned: the width passes a norm of four groups, and the head gives the outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm, self.head = nn.Linear(12, 16), nn.GroupNorm(4, 16), nn.Linear(16, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.norm(self.first(x)))


def inputs_of(example: Example, count: int = 3) -> tuple[torch.Tensor, ...]:
    """`count` samples: random floats, and ids as they are."""
    generator = torch.Generator().manual_seed(1)
    return tuple(
        torch.randn((count, *tensor.shape[1:]), generator=generator)
        if tensor.is_floating_point()
        else tensor.expand(count, *tensor.shape[1:]).contiguous()
        for tensor in example_tensors(example)
    )


def half_of_all(module: nn.Module, example: Example, config: PruneConfig) -> PrunePlan:
    """The plan that takes about half of the channels of every group."""
    widths = {
        group.layer: min(group.allowed, key=lambda count: abs(2 * count - group.width))
        for group in prunable(module, example, config)
    }
    return propose_widths(module, example, widths, config)


class ProgressRecorder:
    """A Step that keeps the fractions that it is told."""

    def __init__(self) -> None:
        self.seen: list[float] = []

    def advance(self, fraction: float, text: str = "") -> None:
        self.seen.append(fraction)
