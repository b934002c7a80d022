"""A small residual network, and a latency table by a formula: what a plan is made of, without measuring."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

from edgekit.latency import LatencyTable, MeasuredOn, TimedUnit, Unit
from edgekit.types import Estimate


class Basic(nn.Module):
    """Two convolutions beside their input, or beside a projection of it where channels or the size change."""

    def __init__(self, before: int, after: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, after, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(after)
        self.conv2 = nn.Conv2d(after, after, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(after)
        self.short = nn.Conv2d(before, after, 1, stride, bias=False) if before != after else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.norm2(self.conv2(functional.relu(self.norm1(self.conv1(x)))))
        return functional.relu(y + self.short(x))


class SmallResNet(nn.Module):
    """float32 [N, 3, 16, 16] → logits [N, 10]; two stages of 16 and 32 channels, `blocks` in each."""

    def __init__(self, blocks: int = 2) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, padding=1)
        self.first = nn.Sequential(*(Basic(16, 16) for _ in range(blocks)))
        self.second = nn.Sequential(Basic(16, 32, 2), *(Basic(32, 32) for _ in range(blocks - 1)))
        self.head = nn.Linear(32, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.second(self.first(functional.relu(self.stem(x))))
        logits: torch.Tensor = self.head(x.mean((2, 3)))
        return logits


def small_resnet(blocks: int = 2) -> SmallResNet:
    torch.manual_seed(0)
    return SmallResNet(blocks).eval()


def formula_ms(unit: Unit) -> float:
    """In whole vectors of 8 channels, beside what each unit takes anyway."""
    vectors_in, vectors_out = -(-unit.channels_in // 8), -(-unit.channels_out // 8)
    height, width = unit.family.size_out
    taps = unit.family.kernel[0] * unit.family.kernel[1]
    return (
        0.002 + 1e-5 * height * width * taps * vectors_out * (1 if unit.family.is_square else vectors_in) / 8
    )


def formula_table(units: Sequence[Unit]) -> LatencyTable:
    """All multiples of 8 and 4 up to each unit's own widths."""
    timed = []
    for unit in units:
        ins, outs = (
            sorted({channels, *range(4, channels, 4)}) if channels > 3 else [channels]
            for channels in (unit.channels_in, unit.channels_out)
        )
        pairs = [(a, a) for a in ins] if unit.family.is_square else list(itertools.product(ins, outs))
        for a, b in pairs:
            point = unit.resized(channels_in=a, channels_out=b)
            value = formula_ms(point)
            timed.append(TimedUnit(point, Estimate(value, value, value)))
    measured_on = MeasuredOn("test", "cpu", "x86_64", (), "onnxruntime", "1", 1)
    return LatencyTable(measured_on).with_timed(timed)
