"""Networks brought to the opset that a board's TensorRT reads."""

from __future__ import annotations

from typing import Any

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


RANK3 = {"pads": np.array([1, 2], np.int64), "axes": np.array([-1], np.int64), "zero": np.float32(0.5)}


@pytest.mark.parametrize(
    ("made", "constants", "opset"),
    [
        (node("Reshape", ["x", "to"], ["y"], allowzero=1), {"to": np.array([1, -1])}, 18),
        (node("Reshape", ["x", "to"], ["y"], allowzero=1), {"to": np.array([1, 8, 32])}, 23),
        (node("Split", ["x"], ["y", "z", "v"], axis=3, num_outputs=3), {}, 18),
        (node("Split", ["x"], ["y", "z"], axis=2, num_outputs=2), {}, 20),
        (node("Pad", ["x", "pads", "zero", "axes"], ["y"]), RANK3, 18),
        (node("Pad", ["x", "pads", "", "axes"], ["y"], mode="reflect"), RANK3, 21),
        (node("MaxPool", ["x"], ["y"], kernel_shape=[2, 2]), {}, 22),
        (node("Cast", ["x"], ["y"], to=1, saturate=1), {}, 19),
        (node("ReduceMax", ["x", "axes"], ["y"]), RANK3, 20),
    ],
)
def test_newer_forms_become_the_older_ones(made: Any, constants: dict[str, object], opset: int) -> None:
    model = graph([made], constants, outputs=list(made.output), opset=opset)
    lowered = in_opset(model, 13)
    assert opset_of(lowered) == 13
    for expected, got in zip(run_onnx(model, PROBE), run_onnx(lowered, PROBE), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-6)


def test_a_sampler_has_the_older_names_of_its_modes() -> None:
    constants = {"g": weights(1, 3, 3, 2)}
    model = graph([node("GridSample", ["x", "g"], ["y"], mode="cubic")], constants, opset=20)
    lowered = in_opset(model, 17)
    np.testing.assert_allclose(run_onnx(lowered, PROBE)[0], run_onnx(model, PROBE)[0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("made", "constants", "opset", "said"),
    [
        (
            node("Reshape", ["x", "to"], ["y"], allowzero=1),
            {"to": np.array([0, 4, 8, 8])},
            18,
            r"Reshape \(node node_y\) has allowzero = 1, which that opset does not know",
        ),
        (
            node("ScatterElements", ["x", "at", "x"], ["y"], reduction="max", axis=3),
            {"at": np.zeros((1, 4, 8, 8), np.int64)},
            18,
            r"ScatterElements \(node node_y\) has reduction = max, which",
        ),
        (
            node("Resize", ["x", "", "s"], ["y"], mode="linear", antialias=1),
            {"s": np.array([1, 1, 0.5, 0.5], np.float32)},
            18,
            r"Resize \(node node_y\) has antialias = 1, which",
        ),
    ],
)
def test_what_an_older_opset_cannot_say_is_named(
    made: Any, constants: dict[str, object], opset: int, said: str
) -> None:
    """Beside it stands a Relu, whose newer version only has more types."""
    shape = (0, 4, 8, 8) if made.op_type == "Reshape" else (1, 4, 8, 8)
    last = node("Relu", [made.output[0]], ["last"])
    with pytest.raises(StageError, match=said):
        in_opset(graph([made, last], constants, shape=shape, outputs=["last"], opset=opset), 13)
