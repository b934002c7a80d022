"""Small ONNX graphs, node by node."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

IMAGE = (1, 4, 8, 8)
node = helper.make_node


def weights(*shape: int, scale: float = 0.2, seed: int = 1) -> NDArray[np.float32]:
    return (np.random.default_rng(seed).standard_normal(shape) * scale).astype(np.float32)


def graph(
    nodes: Sequence[onnx.NodeProto],
    constants: dict[str, Any],
    *,
    shape: tuple[int | str, ...] = IMAGE,
    outputs: Sequence[str] = ("y",),
    opset: int = 17,
) -> onnx.ModelProto:
    """Input x float32 of `shape`; every node gets its first output's name; shapes are inferred."""
    for each in nodes:
        each.name = each.name or f"node_{each.output[0]}"
    made = helper.make_graph(
        list(nodes),
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [onnx.ValueInfoProto(name=name) for name in outputs],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    inferred = onnx.shape_inference.infer_shapes(model)
    for output in inferred.graph.output:
        output.type.tensor_type.elem_type = output.type.tensor_type.elem_type or TensorProto.FLOAT
    onnx.checker.check_model(inferred)
    return inferred


def conv(source: str, target: str, weight: str = "w", **attributes: Any) -> onnx.NodeProto:
    return node("Conv", [source, weight], [target], pads=[1, 1, 1, 1], **attributes)


def maker_of(model: onnx.ModelProto, tensor: str) -> str:
    """Op type of the node that makes a tensor; "" for inputs and constants."""
    return next((each.op_type for each in model.graph.node if tensor in each.output), "")


def inputs_of(model: onnx.ModelProto, name: str) -> list[str]:
    """The inputs of the node of that name."""
    return list(next(each for each in model.graph.node if each.name == name).input)


def constant(model: onnx.ModelProto, name: str) -> Any:
    return numpy_helper.to_array(next(each for each in model.graph.initializer if each.name == name))
