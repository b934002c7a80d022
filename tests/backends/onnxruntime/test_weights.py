"""Linear layers with weights of 8 and 4 bits, and with inputs quantized as they come."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgekit.backends.base import ExportRequest
from edgekit.backends.onnxruntime.backend import OnnxRuntimeBackend
from edgekit.errors import StageError
from edgekit.hardware import find_target
from edgekit.testing.onnx_networks import as_variant, residual_network
from edgekit.types import Artifact, Candidate, Precision

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

ROWS, WIDTH = 4, 256


def perceptron(path: Path) -> Path:
    """x [1, 4, 256] → MatMul, Relu, MatMul with itself transposed (no weights), and a Gemm with transposed weights."""
    from onnx import helper, numpy_helper

    rng = np.random.default_rng(0)

    def matrix(name: str, *shape: int) -> onnx.TensorProto:
        return numpy_helper.from_array((rng.standard_normal(shape) / WIDTH**0.5).astype(np.float32), name)

    nodes = [
        helper.make_node("MatMul", ["x", "w0"], ["h"], name="first"),
        helper.make_node("Relu", ["h"], ["r"], name="relu"),
        helper.make_node("Transpose", ["r"], ["t"], name="turn", perm=[0, 2, 1]),
        helper.make_node("MatMul", ["r", "t"], ["a"], name="attention"),
        helper.make_node("Flatten", ["r"], ["f"], name="flat"),
        helper.make_node("Gemm", ["f", "w1", "b"], ["y"], name="last", transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", 1, [1, ROWS, WIDTH])],
        [
            helper.make_tensor_value_info("y", 1, [1, 16]),
            helper.make_tensor_value_info("a", 1, [1, ROWS, ROWS]),
        ],
        [matrix("w0", WIDTH, WIDTH), matrix("w1", 16, ROWS * WIDTH), matrix("b", 16)],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))
    return path


def export(folder: Path, precision: Precision, network: Path | None = None) -> Artifact:
    folder.mkdir(exist_ok=True)
    made = network or perceptron(folder / "net.onnx")
    out = folder / f"out-{precision}"
    out.mkdir()
    request = ExportRequest(
        as_variant(made),
        Candidate("c", "original", "onnxruntime", precision, ""),
        find_target("generic-cpu"),
        frozenset({"avx2", "fma"}),  # 7 bits in dynamic INT8: right on every x86 CPU
        out,
        None,
        None,
    )
    return OnnxRuntimeBackend().export(request)


def answers(artifact: Artifact) -> np.ndarray:
    rng = np.random.default_rng(1)
    with OnnxRuntimeBackend().open(artifact) as session:
        return np.concatenate(
            [session.run({"x": rng.normal(size=(1, ROWS, WIDTH)).astype(np.float32)})["y"] for _ in range(16)]
        )


def signal_to_noise_db(right: np.ndarray, near: np.ndarray) -> float:
    return float(10 * np.log10(np.square(right).sum() / np.square(right - near).sum()))


@pytest.mark.parametrize(
    ("precision", "least_db", "share"), [("w8", 30, 0.35), ("w4", 15, 0.22), ("int8-dynamic", 30, 0.32)]
)
def test_linear_layers_are_smaller_and_answer_nearly_the_same(
    tmp_path: Path, precision: Precision, least_db: float, share: float
) -> None:
    plain, made = export(tmp_path / "a", "fp32"), export(tmp_path / "b", precision)
    assert signal_to_noise_db(answers(plain), answers(made)) > least_db
    assert made.size_bytes < share * plain.size_bytes
    assert made.audit.ran_as == "int8"
    assert "Linear layers" in made.audit.notes[0] or "linear layers" in made.audit.notes[0]


def test_products_without_weights_stay_float(tmp_path: Path) -> None:
    for precision in ("w4", "int8-dynamic"):
        layers = export(tmp_path / precision, precision).audit.layers  # type: ignore[arg-type]
        products = [layer for layer in layers if layer.op in ("MatMul", "FusedMatMul")]
        assert [layer.precision for layer in products] == ["fp32"], layers


def test_layers_keep_their_names(tmp_path: Path) -> None:
    layers = export(tmp_path / "a", "w4").audit.layers
    assert [layer.name for layer in layers if layer.op == "MatMulNBits"] == ["first", "last"]


@pytest.mark.parametrize("precision", ["w8", "w4", "int8-dynamic"])
def test_a_network_without_linear_layers_is_told_what_it_is_for(tmp_path: Path, precision: Precision) -> None:
    network = residual_network(tmp_path / "residual.onnx")
    model = onnx.load(str(network))
    if any(node.op_type in ("Gemm", "MatMul") for node in model.graph.node):
        network = without_linear_layers(model, tmp_path / "plain.onnx")
    with pytest.raises(
        StageError, match=f"{precision} is for linear layers in ONNX Runtime, and the network has none"
    ):
        export(tmp_path / "out", precision, network)


def without_linear_layers(model: onnx.ModelProto, path: Path) -> Path:
    """The graph up to its first product."""
    from onnx.utils import Extractor

    first = next(node for node in model.graph.node if node.op_type in ("Gemm", "MatMul"))
    shown = onnx.shape_inference.infer_shapes(model)
    part = Extractor(shown).extract_model([item.name for item in model.graph.input], [first.input[0]])
    onnx.save(part, str(path))
    return path


@pytest.mark.parametrize("precision", ["w8", "w4", "int8-dynamic"])
def test_the_same_network_gives_the_same_bytes(tmp_path: Path, precision: Precision) -> None:
    first, second = (export(tmp_path / name, precision) for name in "ab")
    assert first.files == second.files
