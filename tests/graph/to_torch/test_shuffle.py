"""Channel shuffles become 1×1 convolutions that compute the same; what moves pixels is left alone."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from edgekit.graph.to_torch.prepare import ready_graph
from edgekit.model import export_onnx
from tests.graph.to_torch.test_module import expect_agreement, floats

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")

SHAPE = (1, 8, 4, 6)


class Shuffle(torch.nn.Module):
    """ShuffleNet's shuffle of two groups, then the first half of the channels."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mixed = x.reshape(4, 2, 24).permute(1, 0, 2).reshape(2, -1, 4, 4, 6)
        return torch.relu(mixed[0]) + torch.sigmoid(mixed[1])


class WholeShuffle(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(x.reshape(1, 2, 4, 4, 6).transpose(1, 2).reshape(1, 8, 4, 6))


class Rotate(torch.nn.Module):
    """Turns every image by reshaping: pixels move."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(x.reshape(1, 8, 6, 4).transpose(2, 3))


def ops(module: torch.nn.Module, path: Path) -> Counter[str]:
    export_onnx(module.eval(), (floats(*SHAPE),), path)
    return Counter(node.op_type for node in ready_graph(path).model.graph.node)


@pytest.mark.parametrize(("network", "convolutions"), [(Shuffle, 2), (WholeShuffle, 1)])
def test_a_shuffle_becomes_a_convolution_for_each_part_it_gives(
    tmp_path: Path, network: type[torch.nn.Module], convolutions: int
) -> None:
    found = ops(network(), tmp_path / "net.onnx")
    assert (found["Conv"], found["Transpose"], found["Reshape"]) == (convolutions, 0, 0)
    expect_agreement(tmp_path / "net.onnx")


def test_a_chain_that_moves_pixels_is_left_alone(tmp_path: Path) -> None:
    found = ops(Rotate(), tmp_path / "net.onnx")
    assert (found["Conv"], found["Transpose"]) == (0, 1)
    expect_agreement(tmp_path / "net.onnx")
