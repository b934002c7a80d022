"""A DeiT-like classifier of 32×32 images, and a MobileViT-like one."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

__all__ = ["Attention", "make_deit", "make_mobilevit", "make_small_deit"]

CLASSES = 10


class Attention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.out = nn.Linear(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, tokens, _ = x.shape
        query, key, value = (
            layer(x).reshape(batch, tokens, self.heads, -1).transpose(1, 2)
            for layer in (self.query, self.key, self.value)
        )
        mixed = functional.scaled_dot_product_attention(query, key, value)
        return self.out(mixed.transpose(1, 2).reshape(batch, tokens, -1))


class Block(nn.Module):
    """Attention and a perceptron, each behind a layer norm (Touvron et al. 2020, arXiv:2012.12877)."""

    def __init__(self, width: int, heads: int, expansion: int) -> None:
        super().__init__()
        self.norm1, self.attention = nn.LayerNorm(width), Attention(width, heads)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(
            nn.Linear(width, expansion * width), nn.GELU(), nn.Linear(expansion * width, width)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.attention(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class Deit(nn.Module):
    """float32 [N, 3, 32, 32] → logits [N, CLASSES]: 64 patches of 4×4 pixels and a class token."""

    def __init__(self, width: int, depth: int, heads: int) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, 4, 4)
        self.token = nn.Parameter(torch.randn(1, 1, width) * 0.02)
        self.places = nn.Parameter(torch.randn(1, 65, width) * 0.02)
        self.blocks = nn.Sequential(*(Block(width, heads, 4) for _ in range(depth)))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        patches = self.patches(x).flatten(2).transpose(1, 2)
        tokens = torch.cat((self.token.expand(len(x), -1, -1), patches), 1) + self.places
        return self.head(self.norm(self.blocks(tokens))[:, 0])


def convolution(
    channels_in: int, channels_out: int, kernel: int = 1, stride: int = 1, groups: int = 1
) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_out, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(channels_out),
    )


class Inverted(nn.Module):
    """Sandler et al. 2018 (arXiv:1801.04381), figure 4."""

    def __init__(self, channels_in: int, channels_out: int, stride: int) -> None:
        super().__init__()
        inner = 4 * channels_in
        self.body = nn.Sequential(
            convolution(channels_in, inner), nn.ReLU(),
            convolution(inner, inner, 3, stride, inner), nn.ReLU(),
            convolution(inner, channels_out),
        )  # fmt: skip
        self.adds = stride == 1 and channels_in == channels_out

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.body(x) if self.adds else self.body(x)


class MobileBlock(nn.Module):
    """Pixels as tokens (Mehta and Rastegari 2021, arXiv:2110.02178, figure 1b, with patches of one pixel)."""

    def __init__(self, channels: int, width: int, depth: int) -> None:
        super().__init__()
        self.enter = nn.Sequential(
            convolution(channels, channels, 3), nn.ReLU(), nn.Conv2d(channels, width, 1)
        )
        self.blocks = nn.Sequential(*(Block(width, 4, 2) for _ in range(depth)), nn.LayerNorm(width))
        self.leave = nn.Sequential(convolution(width, channels), nn.ReLU())
        self.join = nn.Sequential(convolution(2 * channels, channels, 3), nn.ReLU())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        entered = self.enter(x)
        height, width = entered.shape[2:]
        tokens = self.blocks(entered.flatten(2).transpose(1, 2))
        image = tokens.transpose(1, 2).reshape(len(x), -1, height, width)
        return self.join(torch.cat((x, self.leave(image)), 1))


def make_deit() -> nn.Module:
    """1.2 million parameters, 80 million MACs."""
    return Deit(128, 6, 4)


def make_small_deit() -> nn.Module:
    """450,000 parameters, 30 million MACs."""
    return Deit(96, 4, 4)


def make_mobilevit() -> nn.Module:
    """float32 [N, 3, 32, 32] → logits [N, CLASSES]; a quarter of the MACs."""
    return nn.Sequential(
        convolution(3, 16, 3, 2), nn.ReLU(),
        Inverted(16, 24, 1), Inverted(24, 32, 2), Inverted(32, 32, 1), MobileBlock(32, 48, 1),
        Inverted(32, 64, 2), MobileBlock(64, 64, 2),
        convolution(64, 128), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(128, CLASSES),
    )  # fmt: skip
