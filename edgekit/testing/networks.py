"""Small networks for tests: a residual CNN, a depthwise CNN, a transformer. Callers seed the weights."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

__all__ = ["DepthwiseNet", "TinyConvNet", "TinyTransformer"]


class TinyConvNet(nn.Module):
    """float32 [N, 1, 8, 8] → logits [N, 10]; one residual block between a stem and a strided convolution."""

    def __init__(self, width: int = 16, classes: int = 10) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, width, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(width)
        self.conv1 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(width)
        self.down = nn.Conv2d(width, 2 * width, 3, stride=2, padding=1)
        self.head = nn.Linear(2 * width, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = functional.relu(self.norm(self.stem(x)))
        y = functional.relu(self.norm1(self.conv1(x)))
        x = functional.relu(x + self.norm2(self.conv2(y)))
        logits: torch.Tensor = self.head(functional.relu(self.down(x)).mean((2, 3)))
        return logits


class DepthwiseNet(nn.Module):
    """float32 [N, 3, 32, 32] → logits [N, 10]; MobileNetV2-like inverted residuals with ReLU6."""

    def __init__(self, width: int = 8, classes: int = 10) -> None:
        super().__init__()
        self.stem = _conv(3, width, 3, stride=2)
        self.block1 = _InvertedResidual(width, width, stride=1)
        self.block2 = _InvertedResidual(width, 2 * width, stride=2)
        self.block3 = _InvertedResidual(2 * width, 2 * width, stride=1)
        self.head = nn.Linear(2 * width, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.block3(self.block2(self.block1(self.stem(x))))
        logits: torch.Tensor = self.head(functional.adaptive_avg_pool2d(x, 1).flatten(1))
        return logits


class _InvertedResidual(nn.Module):
    def __init__(self, channels_in: int, channels_out: int, stride: int) -> None:
        super().__init__()
        middle = 4 * channels_in
        self.expand = _conv(channels_in, middle, 1)
        self.depthwise = _conv(middle, middle, 3, stride=stride, groups=middle)
        self.project = nn.Sequential(
            nn.Conv2d(middle, channels_out, 1, bias=False), nn.BatchNorm2d(channels_out)
        )
        self.residual = stride == 1 and channels_in == channels_out

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.project(self.depthwise(self.expand(x)))
        return x + y if self.residual else y


def _conv(
    channels_in: int, channels_out: int, kernel: int, stride: int = 1, groups: int = 1
) -> nn.Sequential:
    convolution = nn.Conv2d(channels_in, channels_out, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(channels_out), nn.ReLU6())


class TinyTransformer(nn.Module):
    """float32 [N, 1, 8, 8] → logits [N, 10]; 16 patches of 2×2 pixels through one pre-norm encoder layer."""

    def __init__(self, width: int = 32, heads: int = 4, classes: int = 10) -> None:
        super().__init__()
        self.embed = nn.Conv2d(1, width, 2, stride=2)
        self.position = nn.Parameter(torch.randn(1, 16, width) * 0.02)
        self.norm1 = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.project = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
        self.head = nn.Linear(width, classes)
        self.heads = heads

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        tokens = self.embed(x).flatten(2).transpose(1, 2) + self.position
        tokens = tokens + self.attend(self.norm1(tokens))
        tokens = tokens + self.mlp(self.norm2(tokens))
        logits: torch.Tensor = self.head(tokens.mean(1))
        return logits

    def attend(self, tokens: torch.Tensor) -> torch.Tensor:
        """Self-attention over [N, tokens, width]."""
        count, width = tokens.shape[1], tokens.shape[2]
        split = self.qkv(tokens).reshape(-1, count, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        attended = functional.scaled_dot_product_attention(split[0], split[1], split[2])
        output: torch.Tensor = self.project(attended.transpose(1, 2).reshape(-1, count, width))
        return output
