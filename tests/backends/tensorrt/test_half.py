"""Float16 networks for strongly typed TensorRT."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from edgekit.backends.tensorrt.half import largest_magnitudes, to_half
from edgekit.errors import StageError
from edgekit.graph import CalibrationData
from edgekit.graph.equivalence import run_onnx
from tests.backends.graphs import constant, conv, graph, node, weights

W = {"w": weights(4, 4, 3, 3)}
PROBE = (weights(1, 4, 8, 8, scale=1.0),)


def types(model: onnx.ModelProto) -> dict[str, int]:
    infos = [*model.graph.input, *model.graph.value_info, *model.graph.output]
    return {info.name: info.type.tensor_type.elem_type for info in infos}


def test_weights_and_activations_become_float16() -> None:
    halved = to_half(graph([conv("x", "a"), node("Relu", ["a"], ["y"])], W)).model
    onnx.checker.check_model(halved, full_check=True)
    assert constant(halved, "w/fp16").dtype == np.float16
    assert types(halved)["a"] == TensorProto.FLOAT16


def test_inputs_and_outputs_stay_float32() -> None:
    halved = to_half(graph([conv("x", "y")], W)).model
    assert types(halved)["x"] == types(halved)["y"] == TensorProto.FLOAT


def test_it_computes_nearly_the_same() -> None:
    model = graph([conv("x", "a"), node("Relu", ["a"], ["b"]), node("Softmax", ["b"], ["y"])], W)
    expected, got = run_onnx(model, PROBE)[0], run_onnx(to_half(model).model, PROBE)[0]
    np.testing.assert_allclose(got, expected, atol=2e-3)
    assert not np.array_equal(got, expected)


def test_an_output_that_is_read_inside_too_is_cast_once() -> None:
    halved = to_half(graph([conv("x", "a"), node("Relu", ["a"], ["y"])], W, outputs=("a", "y"))).model
    onnx.checker.check_model(halved, full_check=True)
    assert types(halved)["a"] == TensorProto.FLOAT
    assert sum(each.op_type == "Cast" for each in halved.graph.node) == 3


def test_values_that_would_overflow_stay_float32_and_are_named() -> None:
    model = graph(
        [node("Mul", ["x", "k"], ["a"]), node("Div", ["a", "k"], ["y"])], {"k": np.float32(60000.0)}
    )
    halved = to_half(model, largest_magnitudes(model, None))
    assert halved.in_float == ("node_a", "node_y")
    assert np.isfinite(run_onnx(halved.model, PROBE)[0]).all()


def test_an_epsilon_that_would_become_zero_stays_float32() -> None:
    model = graph([node("Add", ["x", "e"], ["y"])], {"e": np.float32(1e-12)})
    assert to_half(model).in_float == ("node_y",)


def test_magnitudes_come_from_calibration_samples_where_there_are_some() -> None:
    model = graph([node("Relu", ["x"], ["y"])], {})
    data = CalibrationData(lambda: iter([(np.full((2, 4, 8, 8), 9.0, np.float32),)]), 2, "")
    assert largest_magnitudes(model, data) == {"y": 9.0}


def test_sums_of_squares_stay_float32() -> None:
    halved = to_half(
        graph([node("Pow", ["x", "two"], ["a"]), node("Relu", ["a"], ["y"])], {"two": np.float32(2)})
    ).model
    assert types(halved)["a"] == TensorProto.FLOAT


def test_the_scales_of_a_resize_stay_float32() -> None:
    scales = np.array([1, 1, 2, 2], np.float32)
    model = graph([node("Resize", ["x", "", "s"], ["y"], mode="nearest")], {"s": scales})
    halved = to_half(model).model
    onnx.checker.check_model(halved, full_check=True)
    assert constant(halved, "s").dtype == np.float32


def test_control_flow_is_refused_by_name() -> None:
    inner = onnx.helper.make_graph([], "body", [], [])
    model = graph([node("Relu", ["x"], ["y"])], {})
    model.graph.node.append(
        onnx.helper.make_node("If", ["c"], [], name="branch", then_branch=inner, else_branch=inner)
    )
    with pytest.raises(StageError, match=r"If \(node branch\)"):
        to_half(model)
