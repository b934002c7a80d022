"""What stays float between the products of a transformer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from edgekit.graph.layers import name_nodes
from edgekit.graph.taps import load_graph
from edgekit.model import export_onnx
from edgekit.quantize.stream import between_products
from edgekit.testing.networks import TinyConvNet, TinyTransformer


def test_sums_and_products_by_element_of_a_transformer(tmp_path: Path) -> None:
    torch.manual_seed(0)
    path = tmp_path / "net.onnx"
    export_onnx(TinyTransformer().eval(), (np.zeros((1, 1, 8, 8), np.float32),), path)
    model = load_graph(path)
    kinds = {node.name: node.op_type for node in model.graph.node}
    told = between_products(model)
    assert {layer.reason for layer in told} == {"stream"}
    assert {kinds[layer.name] for layer in told} >= {"Add"}
    assert "MatMul" not in {kinds[layer.name] for layer in told}
    assert sum(kind == "Add" for kind in kinds.values()) == sum(kinds[layer.name] == "Add" for layer in told)


def test_nothing_of_a_network_of_convolutions(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    export_onnx(TinyConvNet().eval(), (np.zeros((1, 1, 8, 8), np.float32),), path)
    assert between_products(load_graph(path)) == ()


@pytest.mark.parametrize(("body", "expected"), [
    ("c = Conv(x, w) a = Add(c, x)", []),
    ("c = Conv(x, w) r = Relu(c) a = Mul(r, x)", ["Mul"]),
    ("a = Add(x, x)", ["Add"]),
    ("b = Add(x, x) a = Conv(b, w)", []),
])  # fmt: skip
def test_what_stands_beside_a_convolution_is_left_to_it(body: str, expected: list[str]) -> None:
    model = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 17]> g (float[1,4,4,4] x, float[4,4,1,1] w) => (float[N] y) { '
        f"{body} s = MatMul(a, x) p = Softmax<axis=-1>(s) y = MatMul(p, a) }}"
    )
    name_nodes(model)
    kinds = {node.name: node.op_type for node in model.graph.node}
    assert [kinds[layer.name] for layer in between_products(model)] == expected
