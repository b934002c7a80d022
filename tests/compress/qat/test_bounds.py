from __future__ import annotations

import math

import numpy as np
import onnx
from onnx import helper

from edgekit.compress.qat.bounds import ANY, bounds_of, widest

KIND = onnx.TensorProto.FLOAT


def bounds(*nodes: onnx.NodeProto) -> dict[str, tuple[float, float]]:
    constants = [
        onnx.numpy_helper.from_array(np.array(value, np.float32), name)
        for name, value in (("zero", 0), ("six", 6))
    ]
    taken = helper.make_tensor_value_info("x", KIND, [1, 4])
    given = helper.make_tensor_value_info("y", KIND, [1, 4])
    return bounds_of(helper.make_model(helper.make_graph(list(nodes), "g", [taken], [given], constants)))


def test_activations_bound_their_results_and_what_only_moves_them_keeps_that() -> None:
    node = helper.make_node
    known = bounds(
        node("Relu", ["x"], ["r"]),
        node("Clip", ["x", "zero", "six"], ["c"]),
        node("MaxPool", ["c"], ["p"], kernel_shape=[1, 1]),
        node("Sigmoid", ["x"], ["s"]),
        node("Concat", ["c", "s"], ["j"], axis=1),
        node("Add", ["c", "s"], ["a"]),
        node("Clip", ["r", "", "six"], ["y"]),
    )
    assert known == {
        "r": (0.0, math.inf),
        "c": (0.0, 6.0),
        "p": (0.0, 6.0),
        "s": (0.0, 1.0),
        "j": (0.0, 6.0),
        "y": (0.0, 6.0),
    }


def test_the_widest_of_several_holds_them_all() -> None:
    assert widest([(0.0, 6.0), (-1.0, 1.0)]) == (-1.0, 6.0)
    assert widest([(0.0, 6.0), ANY]) == ANY
