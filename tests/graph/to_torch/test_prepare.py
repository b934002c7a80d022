"""Patterns that are written otherwise before conversion, and those that must be left alone."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.graph.to_torch.prepare import ready_graph
from edgekit.model import export_onnx
from edgekit.testing.networks import TinyTransformer
from edgekit.testing.onnx_networks import residual_network
from tests.graph.to_torch.test_module import expect_agreement, floats

onnx = pytest.importorskip("onnx")
torch = pytest.importorskip("torch")


def ops(path: Path) -> Counter[str]:
    return Counter(node.op_type for node in ready_graph(path).model.graph.node)


def exported(module: Any, shape: tuple[int, ...], path: Path) -> Path:
    export_onnx(module.eval(), (floats(*shape),), path)
    return path


def test_gelu_written_with_erf_becomes_one_node(tmp_path: Path) -> None:
    path = exported(TinyTransformer(), (1, 1, 8, 8), tmp_path / "net.onnx")
    found = ops(path)
    assert (found["Gelu"], found["Erf"]) == (1, 0)
    expect_agreement(path)


def test_an_erf_of_another_scale_is_left_alone(tmp_path: Path) -> None:
    class Odd(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x * 0.5 * (1 + torch.erf(x / 2.0))

    path = exported(Odd(), (1, 8), tmp_path / "net.onnx")
    assert ops(path)["Erf"] == 1
    expect_agreement(path)


def test_a_gelu_whose_inside_is_given_out_is_left_alone(tmp_path: Path) -> None:
    class Inside(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            gate = 1 + torch.erf(x / 2**0.5)
            return x * gate * 0.5, gate

    path = exported(Inside(), (1, 8), tmp_path / "net.onnx")
    assert ops(path)["Erf"] == 1
    expect_agreement(path)


def test_a_strided_padded_shortcut_becomes_a_convolution(tmp_path: Path) -> None:
    found = ops(residual_network(tmp_path / "net.onnx"))
    assert (found["Slice"], found["Pad"], found["Conv"]) == (0, 0, 4)


@pytest.mark.parametrize("place", ["[:, :, 1::2, ::2]", "[:, ::2]", "[:, :, :4, :4]"])
def test_other_slices_are_left_alone(tmp_path: Path, place: str) -> None:
    class Sliced(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y: torch.Tensor = {
                "[:, :, 1::2, ::2]": lambda: x[:, :, 1::2, ::2],
                "[:, ::2]": lambda: x[:, ::2],
                "[:, :, :4, :4]": lambda: x[:, :, :4, :4],
            }[place]()
            return torch.relu(y)

    path = exported(Sliced(), (1, 4, 8, 8), tmp_path / "net.onnx")
    expect_agreement(path)
    assert ops(path)["Slice"] >= 1


def test_an_image_is_flattened_as_it_lies_with_channels_last(tmp_path: Path) -> None:
    layers = (torch.nn.Conv2d(1, 4, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(4 * 36, 5))
    path = exported(torch.nn.Sequential(*layers), (1, 1, 8, 8), tmp_path / "net.onnx")
    assert ops(path)["Transpose"] == 1
    expect_agreement(path)


def test_a_flattened_image_that_is_given_out_keeps_its_order(tmp_path: Path) -> None:
    path = exported(
        torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3), torch.nn.Flatten()), (1, 1, 8, 8), tmp_path / "n.onnx"
    )
    assert ops(path)["Transpose"] == 0
    expect_agreement(path)


def test_shapes_that_are_computed_from_static_ones_are_folded(tmp_path: Path) -> None:
    helper = onnx.helper
    nodes = [
        helper.make_node("Shape", ["x"], ["s"]),
        helper.make_node("Gather", ["s", "zero"], ["n"]),
        helper.make_node("Unsqueeze", ["n", "axis"], ["n1"]),
        helper.make_node("Concat", ["n1", "rest"], ["shape"], axis=0),
        helper.make_node("Reshape", ["x", "shape"], ["y"]),
    ]
    constants = {"zero": np.array(0), "axis": np.array([0]), "rest": np.array([-1])}
    made = helper.make_graph(
        nodes, "g",
        [helper.make_tensor_value_info("x", 1, [1, 4, 2, 2])], [helper.make_tensor_value_info("y", 1, [1, 16])],
        [onnx.numpy_helper.from_array(value.astype(np.int64), name) for name, value in constants.items()],
    )  # fmt: skip
    path = tmp_path / "net.onnx"
    onnx.save(helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))
    assert set(ops(path)) == {"Reshape"}
    expect_agreement(path)
