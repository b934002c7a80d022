"""A MobileNetV2-like network for 32×32 images in colour, 275,000 parameters, whose channels can be made unequal."""

from __future__ import annotations

import torch
from mobilenet import Residual, convolution
from torch import nn

__all__ = ["make", "make_relu6", "unequal"]

# expansion, channels, repeats, stride of the first
STAGES = ((1, 16, 1, 1), (4, 24, 2, 2), (4, 32, 3, 2), (4, 64, 3, 2), (4, 96, 2, 1))


def make_relu6() -> nn.Module:
    """float32 [N, 3, 32, 32] → logits [N, 10]."""
    layers: list[nn.Module] = [convolution(3, 16, 3, 1)]
    channels = 16
    for expansion, width, repeats, stride in STAGES:
        for index in range(repeats):
            layers.append(Residual(channels, width, stride if index == 0 else 1, expansion))
            channels = width
    layers += [convolution(channels, 256, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(256, 10)]
    return nn.Sequential(*layers)


def make() -> nn.Module:
    """The same with ReLU in the place of ReLU6, so that channels can be scaled."""
    network = make_relu6()
    for module in network.modules():
        for name, child in module.named_children():
            if isinstance(child, nn.ReLU6):
                setattr(module, name, nn.ReLU())
    return network


def unequal(network: nn.Module, spread: float, seed: int = 0) -> None:
    """Multiply each inner channel of each block by a factor of 1/spread to spread, and divide what reads it, in place.

    The function stays the same, since relu(f x) = f relu(x). One range for all channels of a tensor then leaves the
    small ones few integers: what Nagel et al. 2019 (arXiv:1906.04721, figure 2) saw in MobileNetV2 as it was trained.
    """
    chance = torch.Generator().manual_seed(seed)
    for block in network.modules():
        if not isinstance(block, Residual):
            continue
        *inner, last, _ = block.body
        for index, layer in enumerate(inner):
            reader = inner[index + 1][0] if index + 1 < len(inner) else last
            norm = layer[1]
            factors = spread ** (2 * torch.rand(norm.num_features, generator=chance) - 1)
            with torch.no_grad():
                norm.weight.mul_(factors)
                norm.bias.mul_(factors)
                reader.weight.div_(factors.reshape((-1, 1, 1, 1) if reader.groups > 1 else (1, -1, 1, 1)))
