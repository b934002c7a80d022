"""Zeros among the weights of an ONNX graph."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgekit.graph.zeros import count_zeros, sparse_layers


def halved(*shape: int, axis: int) -> Any:
    """Weights of which the first two of each four along `axis` are zero."""
    values = np.ones(shape, np.float32)
    np.moveaxis(values, axis, -1)[..., np.arange(shape[axis]) % 4 < 2] = 0.0
    return values


def model(nodes: list[Any], weights: dict[str, Any]) -> onnx.ModelProto:
    value = helper.make_tensor_value_info
    return helper.make_model(
        helper.make_graph(
            nodes, "g", [value("x", TensorProto.FLOAT, None)], [value("y", TensorProto.FLOAT, None)],
            [numpy_helper.from_array(array, name) for name, array in weights.items()],
        )
    )  # fmt: skip


@pytest.mark.parametrize(
    ("op", "shape", "axis", "settings", "is_sparse"),
    [
        ("Conv", (8, 4, 3, 3), 1, {}, True),
        ("Conv", (4, 8, 3, 3), 0, {}, False),
        ("Conv", (8, 4, 1, 1), 1, {"group": 2}, False),
        ("Conv", (8, 8), 1, {}, True),
        ("Gemm", (8, 4), 1, {"transB": 1}, True),
        ("Gemm", (4, 8), 0, {}, True),
        ("Gemm", (4, 8), 1, {}, False),
        ("MatMul", (4, 8), 0, {}, True),
        ("MatMul", (4, 8), 1, {}, False),
        ("ConvTranspose", (4, 4, 3, 3), 1, {}, False),
    ],
)
def test_2_4_counts_along_the_input_channels(
    op: str, shape: tuple[int, ...], axis: int, settings: dict[str, int], is_sparse: bool
) -> None:
    made = model(
        [helper.make_node(op, ["x", "w"], ["y"], "layer", **settings)], {"w": halved(*shape, axis=axis)}
    )
    assert sparse_layers(made) == (("layer",) if is_sparse else ())
    assert count_zeros(made) == (np.prod(shape) // 2, np.prod(shape))


def test_an_odd_width_and_one_weight_too_many_are_not_2_4() -> None:
    node = helper.make_node("Conv", ["x", "w"], ["y"], "layer")
    assert sparse_layers(model([node], {"w": np.zeros((8, 6, 1, 1), np.float32)})) == ()
    values = halved(8, 8, 1, 1, axis=1)
    values[3, 5] = 1.0
    assert sparse_layers(model([node], {"w": values})) == ()


def test_stored_weights_are_seen_through_q_dq_and_casts() -> None:
    nodes = [
        helper.make_node("DequantizeLinear", ["w", "s"], ["d"]),
        helper.make_node("Cast", ["d"], ["c"], to=TensorProto.FLOAT),
        helper.make_node("Conv", ["x", "c"], ["y"], "layer"),
    ]
    made = model(nodes, {"w": halved(8, 4, 1, 1, axis=1).astype(np.int8), "s": np.float32(0.1)})
    assert sparse_layers(made) == ("layer",)


def test_a_product_of_two_activations_has_no_weights() -> None:
    made = model([helper.make_node("MatMul", ["x", "x"], ["y"], "layer")], {})
    assert (count_zeros(made), sparse_layers(made)) == ((0, 0), ())
