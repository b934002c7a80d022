from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from edgekit.graph import onnx_cost
from edgekit.model import export_onnx
from edgekit.types import Cost


def cost(module: nn.Module, *shape: int, folder: Path) -> Cost:
    export_onnx(
        module.eval(), (np.random.default_rng(0).random((1, *shape), dtype=np.float32),), folder / "n.onnx"
    )
    return onnx_cost(folder / "n.onnx")


class Block(nn.Module):
    def __init__(self, wide_in: int, wide: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(wide_in, wide, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(wide)
        self.conv2 = nn.Conv2d(wide, wide, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(wide)
        self.pad = (wide - wide_in) // 2

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.bn2(self.conv2(functional.relu(self.bn1(self.conv1(x)))))
        if self.pad:
            x = functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.pad, self.pad))
        return functional.relu(y + x)


class ResNet20(nn.Module):
    """He et al. 2015, section 4.2: 41 million multiply-adds, 0.27 million parameters."""

    def __init__(self) -> None:
        super().__init__()
        widths = [(16, 16, 1), (16, 16, 1), (16, 16, 1), (16, 32, 2), (32, 32, 1), (32, 32, 1)]
        widths += [(32, 64, 2), (64, 64, 1), (64, 64, 1)]
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU())
        self.blocks = nn.Sequential(*(Block(*each) for each in widths))
        self.head = nn.Linear(64, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.blocks(self.stem(x)).mean((2, 3)))


def test_resnet20_counts_as_published(tmp_path: Path) -> None:
    network = ResNet20()
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.normal_(layer.bias)  # equal biases would be stored, and counted, once
    found = cost(network, 3, 32, 32, folder=tmp_path)
    assert found.macs == 40_551_040
    assert 269_000 <= found.parameters <= 270_000
    assert found.weight_bytes == 4 * found.parameters
    # A block's input, its first activation and its second are alive at once: 3 maps of 16×32×32 floats.
    assert found.activation_bytes == 3 * 16 * 32 * 32 * 4


@pytest.mark.parametrize(
    ("module", "shape", "macs", "parameters"),
    [
        (nn.Conv2d(4, 8, 3, padding=1), (4, 5, 5), 8 * 25 * 4 * 9, 8 * 4 * 9 + 8),
        (nn.Conv2d(4, 8, 3, stride=2), (4, 5, 5), 8 * 4 * 4 * 9, 8 * 4 * 9 + 8),
        (nn.Conv2d(8, 8, 3, groups=8, bias=False), (8, 5, 5), 8 * 9 * 9, 8 * 9),
        (nn.ConvTranspose2d(4, 6, 2, stride=2, bias=False), (4, 5, 5), 25 * 4 * 6 * 4, 4 * 6 * 4),
        (nn.Linear(7, 5), (7,), 35, 40),
        (nn.Linear(7, 5, bias=False), (3, 7), 3 * 35, 35),
    ],
)
def test_layers_count_by_the_formula(
    module: nn.Module, shape: tuple[int, ...], macs: int, parameters: int, tmp_path: Path
) -> None:
    found = cost(module, *shape, folder=tmp_path)
    assert (found.macs, found.parameters) == (macs, parameters)


def test_layers_add_up(tmp_path: Path) -> None:
    found = cost(nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Conv2d(2, 3, 1)), 1, 4, 4, folder=tmp_path)
    assert [layer.op for layer in found.layers] == ["Conv", "Relu", "Conv"]
    assert sum(layer.macs for layer in found.layers) == found.macs
    assert sum(layer.parameters for layer in found.layers) == found.parameters
    assert [layer.output_bytes for layer in found.layers] == [32, 32, 48]
    assert len({layer.name for layer in found.layers}) == 3


def test_views_need_no_memory_of_their_own(tmp_path: Path) -> None:
    plain = cost(nn.Sequential(nn.ReLU(), nn.Sigmoid()), 4, 4, folder=tmp_path)
    viewed = cost(nn.Sequential(nn.ReLU(), nn.Flatten(), nn.Sigmoid()), 4, 4, folder=tmp_path)
    assert plain.activation_bytes == viewed.activation_bytes == 2 * 64
