"""A small vision transformer for 32×32 images in colour, 460,000 parameters, whose channels can be made unequal."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import nn

sys.path.append(str(Path(__file__).parent / "scenarios"))

from mobile_networks import Block as DeitBlock
from mobile_networks import make_small_deit

__all__ = ["make", "make_small_deit", "unequal_norms"]

WIDTH, HEADS, BLOCKS, PATCH = 96, 4, 4, 4


class Block(nn.Module):
    """Attention and two linear layers, each behind a normalization and beside a shortcut."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.queries = nn.Linear(WIDTH, 3 * WIDTH)
        self.out = nn.Linear(WIDTH, WIDTH)
        self.wide = nn.Linear(WIDTH, 4 * WIDTH)
        self.narrow = nn.Linear(4 * WIDTH, WIDTH)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        tokens = x.shape[1]
        mixed = (
            self.queries(self.first(x)).reshape(-1, tokens, 3, HEADS, WIDTH // HEADS).permute(2, 0, 3, 1, 4)
        )
        q, k, v = mixed[0], mixed[1], mixed[2]
        shares = (q @ k.transpose(-2, -1) * (WIDTH // HEADS) ** -0.5).softmax(-1)
        x = x + self.out((shares @ v).transpose(1, 2).reshape(-1, tokens, WIDTH))
        return x + self.narrow(nn.functional.gelu(self.wide(self.second(x))))


class SmallVit(nn.Module):
    """float32 [N, 3, 32, 32] → logits [N, 10]."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, WIDTH, PATCH, PATCH)
        self.places = nn.Parameter(0.02 * torch.randn(1, (32 // PATCH) ** 2, WIDTH))
        self.blocks = nn.Sequential(*(Block() for _ in range(BLOCKS)))
        self.norm, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2) + self.places
        return self.head(self.norm(self.blocks(x)).mean(1))


def make() -> nn.Module:
    return SmallVit()


def unequal_norms(network: nn.Module, spread: float, seed: int = 0) -> None:
    """Multiply each channel behind each block's normalizations by 1/spread to spread, and divide what reads it.

    The function stays the same. What Xiao et al. 2022 (arXiv:2211.10438, figure 4) saw in large transformers.
    """
    chance = torch.Generator().manual_seed(seed)
    for norm, readers in _norms(network):
        factors = spread ** (2 * torch.rand(WIDTH, generator=chance) - 1)
        with torch.no_grad():
            norm.weight.mul_(factors)
            norm.bias.mul_(factors)
            for reader in readers:
                reader.weight.div_(factors)


def _norms(network: nn.Module) -> Iterator[tuple[nn.LayerNorm, tuple[nn.Linear, ...]]]:
    """The normalizations of each block, of this file or of scenarios/mobile_networks.py, and what reads them."""
    for block in network.modules():
        if isinstance(block, Block):
            yield block.first, (block.queries,)
            yield block.second, (block.wide,)
        elif isinstance(block, DeitBlock):
            attention = block.attention
            yield block.norm1, (attention.query, attention.key, attention.value)
            yield block.norm2, (block.mlp[0],)
