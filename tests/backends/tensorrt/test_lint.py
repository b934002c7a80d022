"""What TensorRT on a board cannot take, told before any work."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from edgekit.backends.tensorrt.lint import Examination, examine
from edgekit.backends.tensorrt.operators import dla_fallbacks
from edgekit.hardware import find_target
from edgekit.types import Issue
from tests.backends.graphs import conv, graph, node, weights

W = {"w": weights(4, 4, 3, 3)}


def lint(model: onnx.ModelProto, tmp_path: Path, target: str = "jetson-nano") -> Examination:
    path = tmp_path / "network.onnx"
    onnx.save(model, str(path))
    return examine(path, find_target(target))


def errors(found: Examination) -> list[Issue]:
    return [issue for issue in found.issues if issue.severity == "error"]


def test_a_plain_network_has_no_error(tmp_path: Path) -> None:
    assert errors(lint(graph([conv("x", "y")], W), tmp_path)) == []


def test_a_newer_opset_is_told_and_lowered(tmp_path: Path) -> None:
    (issue,) = lint(graph([conv("x", "y")], W, opset=17), tmp_path).issues
    assert issue.severity == "warning"
    assert "it is written in opset 13" in issue.reason


def test_an_operation_that_the_opset_lacks_is_an_error(tmp_path: Path) -> None:
    model = graph([node("GridSample", ["x", "g"], ["y"])], {"g": np.zeros((1, 3, 3, 2), np.float32)})
    (issue,) = errors(lint(model, tmp_path))
    assert "GridSample" in issue.reason
    assert issue.node == "node_y"


def test_the_same_operation_is_taken_by_a_newer_board(tmp_path: Path) -> None:
    model = graph([node("GridSample", ["x", "g"], ["y"])], {"g": np.zeros((1, 3, 3, 2), np.float32)})
    assert errors(lint(model, tmp_path, "jetson-orin-nano")) == []


def test_an_operation_without_support_names_node_reason_and_remedy(tmp_path: Path) -> None:
    model = graph([node("NonZero", ["x"], ["y"])], {})
    (issue,) = errors(lint(model, tmp_path))
    assert (issue.node, "NonZero" in issue.reason, bool(issue.remedy)) == ("node_y", True, True)


def test_layer_normalization_is_no_error_on_an_old_board(tmp_path: Path) -> None:
    model = graph([node("LayerNormalization", ["x", "g"], ["y"])], {"g": weights(8)})
    assert errors(lint(model, tmp_path)) == []


def test_a_foreign_operation_is_an_error(tmp_path: Path) -> None:
    model = graph([conv("x", "y")], W)
    model.opset_import.append(onnx.helper.make_opsetid("my.domain", 1))
    model.graph.node[0].op_type, model.graph.node[0].domain = "Magic", "my.domain"
    assert any("my.domain.Magic" in issue.reason for issue in errors(lint(model, tmp_path)))


@pytest.mark.parametrize("target", ["jetson-nano", "jetson-orin-nano", "rtx-ada"])
@pytest.mark.parametrize("pool", ["MaxPool", "AveragePool"])
def test_a_pool_over_a_signal_is_taken_and_compiles(tmp_path: Path, pool: str, target: str) -> None:
    model = graph([node(pool, ["x"], ["y"], kernel_shape=[2], strides=[2])], {}, shape=(1, 4, 16))
    found = lint(model, tmp_path, target)
    assert [issue for issue in found.issues if "refuses" in found.done or issue.severity == "error"] == []


@pytest.mark.parametrize(
    ("pool", "rank", "told"),
    [("LpPool", 1, "over 1 dimension is"), ("MaxPool", 4, "over 4 dimensions is")],
)
def test_a_pool_over_other_dimensions_is_an_error(tmp_path: Path, pool: str, rank: int, told: str) -> None:
    model = graph([node(pool, ["x"], ["y"], kernel_shape=[2] * rank)], {}, shape=(1, 4, *[4] * rank))
    (issue,) = errors(lint(model, tmp_path, "jetson-orin-nano"))
    assert told in issue.reason


def test_a_newer_form_that_means_the_same_is_no_error(tmp_path: Path) -> None:
    """torch's default exporter writes it."""
    nodes = [node("Relu", ["x"], ["a"]), node("Reshape", ["a", "to"], ["y"], allowzero=1)]
    model = graph(nodes, {"to": np.array([1, -1])}, opset=18)
    assert errors(lint(model, tmp_path)) == []


def test_a_newer_form_that_matters_names_itself(tmp_path: Path) -> None:
    nodes = [node("Relu", ["x"], ["a"]), node("Resize", ["a", "", "s"], ["y"], mode="linear", antialias=1)]
    model = graph(nodes, {"s": np.array([1, 1, 0.5, 0.5], np.float32)}, opset=18)
    reasons = [issue.reason for issue in errors(lint(model, tmp_path))]
    assert any("antialias = 1" in reason for reason in reasons)
    assert not any("Relu" in reason for reason in reasons)


def test_indices_of_a_pool_are_an_error(tmp_path: Path) -> None:
    model = graph([node("MaxPool", ["x"], ["y", "i"], kernel_shape=[2, 2])], {}, outputs=("y", "i"))
    model.graph.output[1].type.tensor_type.elem_type = onnx.TensorProto.INT64
    assert any("indices" in issue.reason for issue in errors(lint(model, tmp_path)))


def test_cubic_resizing_is_an_error(tmp_path: Path) -> None:
    scales = np.array([1, 1, 2, 2], np.float32)
    model = graph([node("Resize", ["x", "", "s"], ["y"], mode="cubic")], {"s": scales})
    assert any("mode = cubic" in issue.reason for issue in errors(lint(model, tmp_path)))


def test_a_quantized_bias_and_uint8_are_errors(tmp_path: Path) -> None:
    constants = {"q": np.zeros((1, 4, 8, 8), np.int32), "k": np.float32(1), "z": np.uint8(3)}
    nodes = [
        node("DequantizeLinear", ["q", "k"], ["b"]),
        node("QuantizeLinear", ["x", "k", "z"], ["i"]),
        node("DequantizeLinear", ["i", "k", "z"], ["d"]),
        node("Add", ["d", "b"], ["y"]),
    ]
    found = errors(lint(graph(nodes, constants), tmp_path, "rtx-ada"))
    reasons = " ".join(issue.reason for issue in found)
    assert "int32" in reasons
    assert "uint8" in reasons


def test_a_double_output_is_told(tmp_path: Path) -> None:
    model = graph([node("Cast", ["x"], ["y"], to=onnx.TensorProto.DOUBLE)], {})
    model.graph.output[0].type.tensor_type.elem_type = onnx.TensorProto.DOUBLE
    assert any("double" in issue.reason for issue in lint(model, tmp_path).issues)


def test_another_target_than_tensorrts_is_an_error(tmp_path: Path) -> None:
    (issue,) = errors(lint(graph([conv("x", "y")], W), tmp_path, "generic-cpu"))
    assert "does not run TensorRT" in issue.reason


@pytest.mark.parametrize(
    ("target", "told"),
    [
        ("rtx-ada", "compiled for sm_89"),
        ("jetson-orin-nano", "stands in for sm_87"),
        ("jetson-nano", "read by the parser"),
    ],
)
def test_it_says_which_check_was_done(tmp_path: Path, target: str, told: str) -> None:
    pytest.importorskip("tensorrt_rtx")
    assert told in lint(graph([conv("x", "y")], W), tmp_path, target).done


def test_without_tensorrt_rtx_it_says_that_rules_alone_were_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgekit.backends.tensorrt import compile_check as trt_check

    monkeypatch.setattr(trt_check, "find_spec", lambda _name: None)
    assert "edgekit[tensorrt-rtx]" in lint(graph([conv("x", "y")], W), tmp_path, "rtx-ada").done


def test_what_falls_back_from_the_dla_is_told_with_its_reason() -> None:
    nodes = [
        node("Conv", ["x", "big"], ["a"], kernel_shape=[33, 33], pads=[16, 16, 16, 16]),
        node("Erf", ["a"], ["y"]),
    ]
    fallen = dict(dla_fallbacks(graph(nodes, {"big": weights(4, 4, 33, 33)})))
    assert fallen["node_y"] == "Erf is not on the DLA"
    assert "1 to 32" in fallen["node_a"]


def test_boards_with_a_dla_are_told_what_it_lacks(tmp_path: Path) -> None:
    found = lint(graph([node("Erf", ["x"], ["y"])], {}), tmp_path, "jetson-orin-nx")
    assert any("falls back to the GPU" in issue.reason and issue.node == "node_y" for issue in found.issues)
    assert errors(found) == []
