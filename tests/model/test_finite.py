"""A network whose weights are not finite is told in one line, before any exporter or runtime sees it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from edgekit.errors import ModelError
from edgekit.model import export_onnx, import_onnx
from edgekit.testing.onnx_networks import residual_network

EXAMPLE = (np.zeros((1, 3, 8, 8), np.float32),)


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU()).eval()


def weight(net: nn.Sequential) -> torch.Tensor:
    return net[0].weight


def variance(net: nn.Sequential) -> torch.Tensor:
    return net[1].running_var


@pytest.mark.parametrize(
    ("part", "value", "words"),
    [
        (weight, float("nan"), "0.weight holds NaN"),
        (weight, float("inf"), "0.weight holds infinity"),
        (weight, float("-inf"), "0.weight holds infinity"),
        (variance, float("nan"), "1.running_var holds NaN"),
    ],
)
def test_what_is_not_finite_is_named_and_nothing_is_written(
    tmp_path: Path, part: Callable[[nn.Sequential], torch.Tensor], value: float, words: str
) -> None:
    net = network()
    part(net).data.reshape(-1)[-1] = value
    with pytest.raises(ModelError, match=f"cannot be used: {words}") as caught:
        export_onnx(net, EXAMPLE, tmp_path / "net.onnx")
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_a_mask_may_be_infinite(tmp_path: Path) -> None:
    class Masked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("mask", torch.triu(torch.full((8, 8), float("-inf")), 1))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.softmax(x + self.mask, -1)

    assert export_onnx(Masked().eval(), EXAMPLE, tmp_path / "net.onnx").outputs[0].shape == (1, 3, 8, 8)


def test_an_onnx_file_with_nan_in_a_weight_is_refused(tmp_path: Path) -> None:
    path = residual_network(tmp_path / "net.onnx")
    model = onnx.load(path)
    tensor = next(tensor for tensor in model.graph.initializer if len(tensor.dims) > 1)
    values = onnx.numpy_helper.to_array(tensor).copy()
    values.flat[0] = np.nan
    tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
    onnx.save(model, path)
    with pytest.raises(ModelError, match=f"net.onnx cannot be used: {tensor.name} holds NaN"):
        import_onnx(path, tmp_path / "out.onnx")
    assert not (tmp_path / "out.onnx").exists()
