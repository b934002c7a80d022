"""Where Q/DQ pairs stand for TensorRT."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest

from edgekit.backends.tensorrt.qdq import insert_pairs, quantized_tensors, settled_ranges
from edgekit.graph.wiring import coverage
from edgekit.quantize import Range
from tests.backends.graphs import constant, conv, graph, inputs_of, maker_of, node, weights

W = {"w": weights(4, 4, 3, 3), "v": weights(4, 4, 3, 3, seed=2)}


def ranges(*names: str, **others: tuple[float, float]) -> dict[str, Range]:
    """±1 for the named tensors, and what is given for others."""
    return {**{name: Range(-1.0, 1.0) for name in names}, **{n: Range(*pair) for n, pair in others.items()}}


def residual() -> onnx.ModelProto:
    """conv a → relu b → conv c; add c and b → relu r → conv y."""
    nodes = [
        conv("x", "a"),
        node("Relu", ["a"], ["b"]),
        conv("b", "c", "v"),
        node("Add", ["c", "b"], ["s"]),
        node("Relu", ["s"], ["r"]),
        conv("r", "y"),
    ]
    return graph(nodes, W)


def with_pairs(
    model: onnx.ModelProto, observed: dict[str, Range], *, in_float: tuple[str, ...] = (), **options: Any
) -> tuple[onnx.ModelProto, tuple[str, ...]]:
    """Q/DQ by observed ranges, settled first; and what there was to say of them."""
    settled = settled_ranges(model, observed, in_float)
    return insert_pairs(model, settled.ranges, in_float=in_float, **options), settled.notes


KNOWN = ranges("x", "b", "c", "s", "r", "y")


def test_every_convolution_reads_dequantized_data_and_weights() -> None:
    quantized, _ = with_pairs(residual(), KNOWN)
    onnx.checker.check_model(quantized, full_check=True)
    assert coverage(quantized).in_float == ()
    assert len(coverage(quantized).quantized) == 3


def test_a_float_graph_counts_as_float() -> None:
    assert len(coverage(residual()).in_float) == 3


def test_no_pair_stands_between_a_convolution_and_its_activation() -> None:
    quantized, _ = with_pairs(residual(), KNOWN)
    assert inputs_of(quantized, "node_b") == ["a"]


def test_both_inputs_of_a_residual_addition_are_quantized() -> None:
    quantized, _ = with_pairs(residual(), KNOWN)
    assert [maker_of(quantized, name) for name in inputs_of(quantized, "node_s")] == ["DequantizeLinear"] * 2


def test_behind_a_residual_addition_the_pair_follows_its_activation() -> None:
    quantized, _ = with_pairs(residual(), KNOWN)
    assert inputs_of(quantized, "node_r") == ["s"]
    assert inputs_of(quantized, "node_y")[0] == "r/dequantized"


def test_one_tensor_is_quantized_once_however_many_read_it() -> None:
    quantized, _ = with_pairs(residual(), KNOWN)
    assert inputs_of(quantized, "node_c")[0] == inputs_of(quantized, "node_s")[1] == "b/dequantized"


def test_activations_are_symmetric_with_zero_point_0() -> None:
    quantized, _ = with_pairs(residual(), ranges("x", "c", "s", "r", "y", b=(0.0, 6.35)))
    assert constant(quantized, "b/scale") == pytest.approx(6.35 / 127)
    assert constant(quantized, "b/zero_point") == 0
    assert constant(quantized, "b/zero_point").dtype == np.int8


def test_weights_have_a_scale_per_output_channel() -> None:
    quantized, _ = with_pairs(residual(), KNOWN)
    expected = np.abs(W["w"]).max(axis=(1, 2, 3)) / 127
    np.testing.assert_allclose(constant(quantized, "node_a/weight/scale"), expected, rtol=1e-6)
    assert not constant(quantized, "node_a/weight/zero_point").any()


def test_weights_per_tensor_have_one_scale() -> None:
    quantized, _ = with_pairs(residual(), KNOWN, per_channel=False)
    assert constant(quantized, "node_a/weight/scale").shape == ()


@pytest.mark.parametrize(
    ("kind", "shape", "attributes", "axis"),
    [
        ("Gemm", (5, 12), {"transB": 1}, 0),
        ("Gemm", (12, 5), {}, 1),
        ("MatMul", (12, 5), {}, 1),
    ],
)
def test_matrix_weights_are_cut_along_their_outputs(
    kind: str, shape: tuple[int, int], attributes: dict[str, int], axis: int
) -> None:
    model = graph([node(kind, ["x", "m"], ["y"], **attributes)], {"m": weights(*shape)}, shape=(1, 12))
    quantized, _ = with_pairs(model, ranges("x", "y"))
    assert constant(quantized, "node_y/weight/scale").shape == (5,)
    pair = next(each for each in quantized.graph.node if each.name == "node_y/weight/dequantize")
    assert [each.i for each in pair.attribute if each.name == "axis"] == [axis]


def test_transposed_convolutions_are_cut_along_axis_1() -> None:
    model = graph([node("ConvTranspose", ["x", "w"], ["y"])], {"w": weights(4, 6, 2, 2)})
    quantized, _ = with_pairs(model, ranges("x", "y"))
    assert constant(quantized, "node_y/weight/scale").shape == (6,)


def test_int8_weights_and_pairs_mean_the_same() -> None:
    from edgekit.graph.equivalence import run_onnx

    probe = (weights(1, 4, 8, 8, scale=1.0),)
    forms = [with_pairs(residual(), KNOWN, weights=form)[0] for form in ("integers", "pairs")]
    first, second = (run_onnx(each, probe)[0] for each in forms)
    np.testing.assert_array_equal(first, second)
    assert constant(forms[0], "node_a/weight/quantized").dtype == np.int8


def test_the_bias_stays_float() -> None:
    model = graph([node("Conv", ["x", "w", "b"], ["y"])], {**W, "b": weights(4)})
    quantized, _ = with_pairs(model, ranges("x", "y"))
    assert inputs_of(quantized, "node_y")[2] == "b"
    assert constant(quantized, "b").dtype == np.float32


def test_the_inputs_of_a_concatenation_share_one_scale() -> None:
    nodes = [
        conv("x", "a"),
        conv("x", "b", "v"),
        node("Concat", ["a", "b"], ["k"], axis=1),
        conv("k", "y", "wide"),
    ]
    model = graph(nodes, {**W, "wide": weights(4, 8, 3, 3)})
    quantized, _ = with_pairs(model, ranges("x", "k", "y", a=(-1.0, 0.5), b=(-0.1, 4.0)))
    assert constant(quantized, "a/scale") == constant(quantized, "b/scale") == pytest.approx(4.0 / 127)
    assert [maker_of(quantized, each) for each in inputs_of(quantized, "node_k")] == ["DequantizeLinear"] * 2


def test_concatenations_that_share_an_input_share_one_scale() -> None:
    nodes = [
        conv("x", "a"),
        conv("x", "b", "v"),
        conv("x", "c", "w"),
        node("Concat", ["a", "b"], ["k"], axis=1),
        node("Concat", ["b", "c"], ["l"], axis=1),
        conv("k", "y", "wide"),
        conv("l", "z", "wide"),
    ]
    model = graph(nodes, {**W, "wide": weights(4, 8, 3, 3)}, outputs=("y", "z"))
    quantized, _ = with_pairs(model, ranges("x", "b", "k", "l", "y", "z", a=(0, 2.0), c=(0, 3.0)))
    assert {float(constant(quantized, f"{name}/scale")) for name in "abc"} == {np.float32(3.0 / 127)}


def test_pools_and_reshapes_pass_integers_through() -> None:
    nodes = [
        conv("x", "a"),
        node("Relu", ["a"], ["b"]),
        node("MaxPool", ["b"], ["p"], kernel_shape=[2, 2], strides=[2, 2]),
        node("Flatten", ["p"], ["f"]),
        node("Gemm", ["f", "m"], ["y"]),
    ]
    model = graph(nodes, {**W, "m": weights(64, 3)})
    assert quantized_tensors(model, {"x", "b", "p", "f", "y"}) == ("x", "b")
    quantized, _ = with_pairs(model, ranges("x", "b", "p", "f", "y"))
    assert inputs_of(quantized, "node_p") == ["b/dequantized"]
    assert coverage(quantized).in_float == ()


def test_average_pools_over_layers_are_quantized() -> None:
    nodes = [conv("x", "a"), node("Relu", ["a"], ["b"]), node("GlobalAveragePool", ["b"], ["y"])]
    quantized, _ = with_pairs(graph(nodes, W), ranges("x", "b", "y"))
    assert inputs_of(quantized, "node_y") == ["b/dequantized"]


def test_products_of_activations_get_both_inputs_quantized() -> None:
    nodes = [node("Transpose", ["x"], ["t"], perm=[0, 1, 3, 2]), node("MatMul", ["x", "t"], ["y"])]
    quantized, _ = with_pairs(graph(nodes, {}), ranges("x", "t", "y"))
    assert inputs_of(quantized, "node_y") == ["x/dequantized", "t/dequantized"]


def test_softmax_and_normalization_read_float() -> None:
    nodes = [
        node("LayerNormalization", ["x", "g"], ["n"]),
        node("MatMul", ["n", "m"], ["h"]),
        node("Softmax", ["h"], ["y"]),
    ]
    model = graph(nodes, {"g": weights(8), "m": weights(8, 8)})
    quantized, _ = with_pairs(model, ranges("x", "n", "h", "y"))
    assert inputs_of(quantized, "node_n")[0] == "x"
    assert inputs_of(quantized, "node_y") == ["h"]


def test_a_constant_addition_is_no_residual() -> None:
    nodes = [conv("x", "a"), node("Add", ["a", "c"], ["y"])]
    quantized, _ = with_pairs(graph(nodes, {**W, "c": weights(1, 4, 1, 1)}), ranges("x", "a", "y"))
    assert inputs_of(quantized, "node_y") == ["a", "c"]


def test_layers_kept_in_float_have_no_pairs() -> None:
    quantized, _ = with_pairs(residual(), KNOWN, in_float=("node_c",))
    assert inputs_of(quantized, "node_c") == ["b", "v"]
    assert coverage(quantized).in_float == ("node_c",)


def test_a_network_output_stays_what_it_was() -> None:
    nodes = [conv("x", "a"), conv("a", "y", "v")]
    quantized, _ = with_pairs(graph(nodes, W, outputs=("a", "y")), ranges("x", "a", "y"))
    assert maker_of(quantized, "a") == "Conv"
    assert inputs_of(quantized, "node_y")[0] == "a/dequantized"


def test_a_tensor_that_was_always_zero_gets_a_safe_range_and_is_told() -> None:
    quantized, notes = with_pairs(residual(), ranges("x", "c", "s", "r", "y", b=(0.0, 0.0)))
    assert constant(quantized, "b/scale") == pytest.approx(1.0 / 127)
    assert any("Always zero" in note and "b" in note for note in notes)


def test_a_tensor_with_a_single_value_is_told() -> None:
    _, notes = with_pairs(residual(), ranges("x", "c", "s", "r", "y", b=(2.0, 2.0)))
    assert any("Only one value" in note and "more varied" in note for note in notes)


def test_weights_of_zeros_stay_zeros() -> None:
    model = graph([conv("x", "y")], {"w": np.zeros((4, 4, 3, 3), np.float32)})
    quantized, _ = with_pairs(model, ranges("x", "y"), weights="integers")
    assert np.isfinite(constant(quantized, "node_y/weight/scale")).all()
    assert not constant(quantized, "node_y/weight/quantized").any()
