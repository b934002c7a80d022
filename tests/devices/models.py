"""Small ONNX files, made without torch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

CLASSES = 4
PIXELS = 8


def write_classifier(
    path: Path, *, batch: int | str = 1, seed: int = 0, opset: int = 17, ir_version: int = 8
) -> Path:
    """input [batch, 3, 8, 8] → Conv → Relu → GlobalAveragePool → Flatten → Gemm → scores [batch, 4]."""
    rng = np.random.default_rng(seed)
    shapes = {"cw": (8, 3, 3, 3), "cb": (8,), "fw": (CLASSES, 8), "fb": (CLASSES,)}
    weights = [
        numpy_helper.from_array(rng.standard_normal(s).astype(np.float32), n) for n, s in shapes.items()
    ]
    nodes = [
        helper.make_node("Conv", ["input", "cw", "cb"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("GlobalAveragePool", ["r"], ["p"]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("Gemm", ["f", "fw", "fb"], ["scores"], transB=1),
    ]
    shapes_outside = [batch, 3, PIXELS, PIXELS], [batch, CLASSES]
    return _save(nodes, weights, *shapes_outside, path, opset=opset, ir_version=ir_version)


def write_growing(path: Path) -> Path:
    """input [1, n] → its non-zero positions [2, k]: the output's shape depends on the values."""
    nodes = [helper.make_node("NonZero", ["input"], ["scores"])]
    return _save(nodes, [], [1, 6], ["a", "b"], path, TensorProto.INT64)


def _save(
    nodes: list[onnx.NodeProto],
    weights: list[onnx.TensorProto],
    taken: list[int | str],
    given: list[int | str],
    path: Path,
    dtype: int = TensorProto.FLOAT,
    opset: int = 17,
    ir_version: int = 8,
) -> Path:
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, taken)],
        [helper.make_tensor_value_info("scores", dtype, given)],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir_version)
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())
    return path


def write_ir(path: Path, source: Path) -> Path:
    """The ONNX file as OpenVINO's .xml and .bin."""
    import openvino

    openvino.save_model(openvino.convert_model(source), path, compress_to_fp16=False)
    return path
