"""Networks of which only a part can become INT8: that part does, or one line says why none can."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from edgekit.backends.base import ExportRequest
from edgekit.backends.onnxruntime.backend import OnnxRuntimeBackend
from edgekit.errors import StageError
from edgekit.files import sha256_file
from edgekit.graph import CalibrationData, onnx_cost, read_signature
from edgekit.hardware import find_target
from edgekit.quantize import find_recipe
from edgekit.types import Artifact, Candidate, Precision, Variant
from tests.backends.graphs import conv, graph, node, weights

IMAGES = np.random.default_rng(3).standard_normal((16, 4, 8, 8)).astype(np.float32)


def export(folder: Path, model: onnx.ModelProto, precision: Precision = "int8") -> Artifact:
    path = folder / "network.onnx"
    onnx.save(model, str(path))
    variant = Variant(
        "original", "original", None, "", str(path), sha256_file(path), read_signature(path), onnx_cost(path)
    )
    out = folder / precision
    out.mkdir()
    candidate = Candidate("candidate", "original", "onnxruntime", precision, "int8-minmax")
    data = CalibrationData(lambda: iter([(IMAGES,)]), len(IMAGES), "images")
    features = frozenset({"avx2", "avx512_vnni"})
    return OnnxRuntimeBackend().export(
        ExportRequest(
            variant, candidate, find_target("generic-cpu"), features, out, find_recipe("int8-minmax"), data
        )
    )


def answers(artifact: Artifact) -> np.ndarray:
    with OnnxRuntimeBackend().open(artifact) as session:
        return np.concatenate([next(iter(session.run({"x": image[None]}).values())) for image in IMAGES])


def in_integers(artifact: Artifact) -> dict[str, bool]:
    """Node that computes → whether it reads dequantized tensors and is quantized again: ONNX Runtime fuses such."""
    nodes = onnx.load(str(Path(artifact.folder) / artifact.entry)).graph.node
    after = {n.output[0] for n in nodes if n.op_type == "DequantizeLinear"}
    before = {n.input[0] for n in nodes if n.op_type == "QuantizeLinear"}
    kinds = ("Add", "Mul", "Conv", "Gemm")
    return {n.name: set(n.input) <= after and n.output[0] in before for n in nodes if n.op_type in kinds}


KINDS = {
    "cast before an addition": graph(
        [
            conv("x", "c"), node("Cast", ["c"], ["i"], to=6), node("Cast", ["i"], ["f"], to=1),
            node("Add", ["f", "c"], ["s"]), conv("s", "y"),
        ],
        {"w": weights(4, 4, 3, 3)},
    ),
    "cast before a product": graph(
        [
            node("Cast", ["x"], ["i"], to=7), node("Cast", ["i"], ["f"], to=1), node("Mul", ["f", "k"], ["s"]),
            conv("s", "y"),
        ],
        {"w": weights(4, 4, 3, 3), "k": np.float32(0.5)},
    ),
    "tied weights, one transposed": graph(
        [
            node("Flatten", ["x"], ["v"]), node("Gemm", ["v", "w"], ["h"], transB=1), node("Relu", ["h"], ["r"]),
            node("Gemm", ["r", "w"], ["y"]),
        ],
        {"w": weights(32, 256)},
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_the_rest_is_quantized(kind: str, tmp_path: Path) -> None:
    artifact = export(tmp_path, KINDS[kind])
    wanted, answer = answers(export(tmp_path, KINDS[kind], "fp32")), answers(artifact)
    quantized = in_integers(artifact).values()
    assert any(quantized)
    assert not all(quantized)
    assert np.square(answer - wanted).sum() < 0.01 * np.square(wanted).sum()


def test_float16_weights_are_refused_with_the_reason(tmp_path: Path) -> None:
    model = graph(
        [node("Cast", ["x"], ["h"], to=10), conv("h", "c"), node("Cast", ["c"], ["y"], to=1)],
        {"w": weights(4, 4, 3, 3).astype(np.float16)},
    )
    with pytest.raises(StageError, match="the network has weights in float16"):
        export(tmp_path, model)


def test_a_quantized_network_is_refused_with_the_reason(tmp_path: Path) -> None:
    model = graph(
        [
            node("QuantizeLinear", ["x", "s", "z"], ["q"]),
            node("QLinearConv", ["q", "s", "z", "w", "ws", "wz", "s", "z"], ["c"], pads=[1, 1, 1, 1]),
            node("DequantizeLinear", ["c", "s", "z"], ["y"]),
        ],
        {
            "w": np.ones((4, 4, 3, 3), np.int8), "ws": np.float32(0.02), "wz": np.int8(0),
            "s": np.float32(0.05), "z": np.uint8(128),
        },
    )  # fmt: skip
    with pytest.raises(StageError, match="the network is quantized already"):
        export(tmp_path, model)
