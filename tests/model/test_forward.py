from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from edgekit.errors import ModelError
from edgekit.model.forward import run_torch


class Spotter(nn.Module):
    """Takes [N, 1, H, W]."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        outputs: torch.Tensor = self.layers(x)
        return outputs


@pytest.mark.parametrize(
    ("shape", "hint"),
    [
        ((1, 49, 40, 1), r"it was given float32 \[1, 49, 40, 1\]; .* add --input-layout nhwc"),
        ((1, 49, 40), r"it was given float32 \[1, 49, 40\]; .* store x\[:, None\]"),
        ((1, 6, 49, 40), r"it was given float32 \[1, 6, 49, 40\]$"),
    ],
)
def test_samples_of_a_wrong_shape_are_told_with_what_to_try(shape: tuple[int, ...], hint: str) -> None:
    with pytest.raises(ModelError, match=hint):
        run_torch(Spotter().eval(), (np.zeros(shape, np.float32),))
