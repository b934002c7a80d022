"""Linear layers with smaller weights and nothing to calibrate: weight-only in blocks, and dynamic INT8."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit.backends.onnxruntime.audit import BLOCKWISE, IN_INT8
from edgekit.errors import MissingExtraError, StageError, in_one_line
from edgekit.graph.proto import read_model
from edgekit.quiet import quiet

if TYPE_CHECKING:
    import onnx

    from edgekit.hardware import Int8Rule

__all__ = ["export_dynamic", "export_weight_only"]

BLOCK = 32
"""Inputs of a layer that share one scale."""


def export_weight_only(onnx_path: Path, path: Path, bits: int) -> tuple[str, ...]:
    """Write `path`: products with constant weights as MatMulNBits, symmetric, a scale for each block of 32 inputs.

    All else is as in the variant `onnx_path`. Gives notes for the report. Raises StageError where there is no such
    product, or ONNX Runtime's quantizer refuses.
    """
    import onnx

    try:
        from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer
    except ImportError as error:
        raise MissingExtraError("onnxruntime", "onnxruntime") from error
    model = _as_products(_linear(onnx_path, f"w{bits}"))
    with quiet():
        try:
            quantizer = MatMulNBitsQuantizer(
                model, bits=bits, block_size=BLOCK, is_symmetric=True, accuracy_level=IN_INT8
            )
            quantizer.process()
        except (ValueError, RuntimeError, KeyError, AssertionError) as error:
            raise StageError("export", f"ONNX Runtime's quantizer: {in_one_line(error)}") from error
    made: Any = quantizer.model.model
    stored = [node for node in made.graph.node if node.op_type == BLOCKWISE]
    for node in stored:
        node.name = node.name.removesuffix(f"_Q{bits}")  # layers keep their names in every precision
    onnx.save(made, str(path))
    return (
        f"Weights of {len(stored)} linear layers in {bits} bits, a scale for every {BLOCK}; their inputs become int8 "
        "as they come. All else is float.",
    )


def export_dynamic(onnx_path: Path, path: Path, rule: Int8Rule) -> tuple[str, ...]:
    """Write `path`: linear layers with int8 weights per channel, whose inputs are quantized as they come.

    Convolutions stay float: ONNX Runtime's ConvInteger is slower than they are. Gives notes for the report. Raises
    StageError where there is no linear layer, or the quantizer refuses.
    """
    try:
        from onnxruntime.quantization import QuantType, quantize_dynamic
    except ImportError as error:
        raise MissingExtraError("onnxruntime", "onnxruntime") from error
    model = _linear(onnx_path, "int8-dynamic")
    with quiet():
        try:
            quantize_dynamic(
                model,
                path,
                op_types_to_quantize=["MatMul", "Gemm"],
                per_channel=True,
                reduce_range=rule.weight_bits == 7,
                weight_type=QuantType.QInt8,
                extra_options={"MatMulConstBOnly": True},
            )
        except (ValueError, RuntimeError, KeyError, AssertionError) as error:
            raise StageError("export", f"ONNX Runtime's quantizer: {in_one_line(error)}") from error
    return (
        f"Linear layers with weights of {rule.weight_bits} bits per channel and inputs quantized as they come; nothing "
        "is calibrated. All else is float.",
    )


def _linear(onnx_path: Path, precision: str) -> onnx.ModelProto:
    """The network. Raises StageError where it has no product with constant weights to store in another way."""
    model = read_model(onnx_path)
    weights = {weight.name for weight in model.graph.initializer}
    if any(
        node.op_type in ("Gemm", "MatMul") and len(node.input) > 1 and node.input[1] in weights
        for node in model.graph.node
    ):
        return model
    raise StageError(
        "export", f"{precision} is for linear layers in ONNX Runtime, and the network has none", "use int8"
    )


def _as_products(model: onnx.ModelProto) -> onnx.ModelProto:
    """Gemm with constant weights as MatMul and Add, which is what the quantizer looks for; in place."""
    from onnx import helper, numpy_helper

    graph = model.graph
    weights = {weight.name: weight for weight in graph.initializer}
    nodes = []
    for node in graph.node:
        given = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
        is_plain = not given.get("transA", 0) and given.get("alpha", 1.0) == given.get("beta", 1.0) == 1.0
        if node.op_type != "Gemm" or not is_plain or node.input[1] not in weights:
            nodes.append(node)
            continue
        name = node.input[1]
        if given.get("transB", 0):
            array = np.ascontiguousarray(numpy_helper.to_array(weights[name]).T)
            name = f"{name}/transposed"
            if name not in weights:
                weights[name] = numpy_helper.from_array(array, name)
                graph.initializer.append(weights[name])
        has_bias = len(node.input) > 2 and bool(node.input[2])
        product = f"{node.output[0]}/product" if has_bias else node.output[0]
        nodes.append(helper.make_node("MatMul", [node.input[0], name], [product], name=node.name))
        if has_bias:
            nodes.append(
                helper.make_node("Add", [product, node.input[2]], [node.output[0]], name=f"{node.name}/bias")
            )
    del graph.node[:]
    graph.node.extend(nodes)
    read = {name for node in graph.node for name in node.input}
    kept = [weight for weight in graph.initializer if weight.name in read]
    del graph.initializer[:]
    graph.initializer.extend(kept)
    return model
