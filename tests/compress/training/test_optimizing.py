"""The optimizer and the rate that a network is trained with where nobody said."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from edgekit.compress.training.config import TrainConfig
from edgekit.compress.training.optimizing import settled


def images() -> tuple[torch.Tensor]:
    return (torch.zeros(2, 3, 8, 8),)


class Functional(nn.Module):
    """Normalized by a function, as a network that was read from ONNX is."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return functional.layer_norm(x, x.shape[1:])


class Attends(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return functional.scaled_dot_product_attention(x, x, x)


CONVOLUTIONS = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU())


@pytest.mark.parametrize(
    ("network", "optimizer", "rate"),
    [
        (CONVOLUTIONS, "sgd", 0.05),
        (nn.Sequential(nn.Conv2d(3, 4, 3), nn.GroupNorm(2, 4)), "sgd", 0.05),
        (nn.Sequential(CONVOLUTIONS, nn.LayerNorm((6, 6))), "adamw", 5e-4),
        (Functional(), "adamw", 5e-4),
        (Attends(), "adamw", 5e-4),
    ],
)
def test_transformers_are_trained_by_adamw(network: nn.Module, optimizer: str, rate: float) -> None:
    network.train()
    config = settled(TrainConfig(), network, images)
    assert (config.optimizer, config.peak) == (optimizer, rate)
    assert network.training


def test_what_was_said_counts() -> None:
    assert settled(TrainConfig(optimizer="sgd"), Functional(), images).peak == 0.05
    given = settled(TrainConfig(learning_rate=0.3), Functional(), images)
    assert (given.optimizer, given.peak) == ("adamw", 0.3)
    assert settled(given, CONVOLUTIONS, images) == given
