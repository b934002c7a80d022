"""Networks brought to the opset that a board's TensorRT reads."""

from __future__ import annotations

import numpy as np
import pytest

from edgekit.errors import StageError
from edgekit.graph.equivalence import run_onnx
from edgekit.graph.opset import DECOMPOSITIONS, decompose, in_opset
from edgekit.graph.proto import opset_of
from tests.backends.graphs import conv, graph, node, weights

PROBE = (weights(1, 4, 8, 8, scale=1.0),)
W = {"w": weights(4, 4, 3, 3)}


def test_opset_17_becomes_13_and_computes_the_same() -> None:
    model = graph([conv("x", "a"), node("Relu", ["a"], ["b"]), node("Identity", ["b"], ["y"])], W)
    lowered = in_opset(model, 13)
    assert opset_of(lowered) == 13
    assert lowered.ir_version == 7
    np.testing.assert_array_equal(run_onnx(model, PROBE)[0], run_onnx(lowered, PROBE)[0])


def test_axes_that_became_an_input_become_an_attribute_again() -> None:
    model = graph([node("ReduceMean", ["x", "axes"], ["y"])], {"axes": np.array([2, 3])}, opset=18)
    lowered = in_opset(model, 13)
    assert len(lowered.graph.node[0].input) == 1
    np.testing.assert_allclose(run_onnx(model, PROBE)[0], run_onnx(lowered, PROBE)[0], rtol=1e-6)


def test_an_opset_that_is_read_stays() -> None:
    model = graph([conv("x", "y")], W, opset=15)
    assert in_opset(model, 17) is model


def test_an_operation_that_the_opset_lacks_is_named() -> None:
    model = graph(
        [node("GridSample", ["x", "g"], ["y"])], {"g": np.zeros((1, 3, 3, 2), np.float32)}, opset=16
    )
    with pytest.raises(StageError, match=r"opset 13 does not have GridSample \(node node_y\)"):
        in_opset(model, 13)


@pytest.mark.parametrize(
    ("made", "constants", "opset"),
    [
        (
            node("LayerNormalization", ["x", "g", "b"], ["y"], epsilon=1e-4),
            {"g": weights(8), "b": weights(8)},
            17,
        ),
        (node("LayerNormalization", ["x", "g"], ["y"], axis=2), {"g": weights(8, 8)}, 18),
        (node("Gelu", ["x"], ["y"]), {}, 20),
        (node("Gelu", ["x"], ["y"], approximate="tanh"), {}, 20),
        (node("HardSwish", ["x"], ["y"]), {}, 17),
        (node("Mish", ["x"], ["y"]), {}, 18),
        (node("Reciprocal", ["x"], ["y"]), {}, 17),
    ],
    ids=["norm", "norm-2-axes", "gelu", "gelu-tanh", "hard-swish", "mish", "reciprocal"],
)
def test_primitive_operations_compute_the_same(
    made: object, constants: dict[str, object], opset: int
) -> None:
    model = graph([made], constants, opset=opset)  # type: ignore[list-item]
    expected = run_onnx(model, PROBE)[0]
    assert decompose(model, frozenset(DECOMPOSITIONS)) == ("node_y",)
    lowered = in_opset(model, 13)
    np.testing.assert_allclose(run_onnx(lowered, PROBE)[0], expected, rtol=1e-4, atol=1e-5)


def test_only_the_named_operations_are_rewritten() -> None:
    model = graph([node("HardSwish", ["x"], ["y"])], {})
    assert decompose(model, frozenset({"Gelu"})) == ()
