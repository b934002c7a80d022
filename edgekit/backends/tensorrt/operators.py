"""Which ONNX operations TensorRT's parser and the DLA take.

Sources: onnx-tensorrt, docs/operators.md as of TensorRT 8.4 (opset 13, taken for 8.2 too), 8.5 (opset 17) and 10.15
(opset 24). Operations that are in the last table only, and whose first version no table told, carry the version
of that table. For the DLA: the operator support matrix of NVIDIA's Deep-Learning-Accelerator-SW repository (Orin,
TensorRT 8.5), and TensorRT's documentation, "DLA Supported Layers and Restrictions".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from edgekit.graph.opset import DECOMPOSITIONS
from edgekit.types import Issue

if TYPE_CHECKING:
    import onnx

__all__ = ["dla_fallbacks", "missing_operations", "operation_issues"]

Version = tuple[int, ...]

FROM_THE_START = frozenset({
    "Abs", "Acos", "Acosh", "Add", "And", "ArgMax", "ArgMin", "Asin", "Asinh", "Atan", "Atanh", "AveragePool",
    "BatchNormalization", "Cast", "Ceil", "Celu", "Clip", "Concat", "Constant", "ConstantOfShape", "Conv",
    "ConvTranspose", "Cos", "Cosh", "CumSum", "DepthToSpace", "DequantizeLinear", "Div", "Dropout", "Einsum", "Elu",
    "Equal", "Erf", "Exp", "Expand", "EyeLike", "Flatten", "Floor", "Gather", "GatherElements", "GatherND", "Gemm",
    "GlobalAveragePool", "GlobalLpPool", "GlobalMaxPool", "Greater", "GreaterOrEqual", "GRU", "HardSigmoid",
    "Identity", "If", "InstanceNormalization", "IsNaN", "LRN", "LSTM", "LeakyRelu", "Less", "LessOrEqual", "Log",
    "LogSoftmax", "Loop", "LpNormalization", "LpPool", "MatMul", "Max", "MaxPool", "Mean", "Min", "Mul", "Neg",
    "NonMaxSuppression", "Not", "Or", "PRelu", "Pad", "Pow", "QuantizeLinear", "RNN", "RandomUniform",
    "RandomUniformLike", "Range", "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax",
    "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum", "ReduceSumSquare", "Relu", "Reshape", "Resize",
    "ReverseSequence", "Round", "Scan", "ScatterElements", "ScatterND", "Selu", "Shape", "Sigmoid", "Sign", "Sin",
    "Sinh", "Size", "Slice", "Softmax", "Softplus", "Softsign", "SpaceToDepth", "Split", "Sqrt", "Squeeze", "Sub",
    "Sum", "Tan", "Tanh", "ThresholdedRelu", "Tile", "TopK", "Transpose", "Unsqueeze", "Upsample", "Where", "Xor",
})  # fmt: skip
"""Supported in the oldest table."""

SINCE: Mapping[str, Version] = {
    **dict.fromkeys((
        "GridSample", "HardSwish", "MeanVarianceNormalization", "Mod", "NonZero", "OneHot", "RandomNormal",
        "RandomNormalLike", "Reciprocal", "RoiAlign", "Shrink", "Trilu",
    ), (8, 5)),
    # TensorRT 8.6 release notes: INormalizationLayer, and the parser's LayerNormalization, GroupNormalization.
    **dict.fromkeys(("GroupNormalization", "LayerNormalization"), (8, 6)),
    **dict.fromkeys((
        "Attention", "BlackmanWindow", "CastLike", "DeformConv", "Gelu", "HammingWindow", "HannWindow", "Hardmax",
        "IsInf", "Mish", "RMSNormalization", "RotaryEmbedding", "STFT",
    ), (10, 15)),
}  # fmt: skip
"""Operation → first table that supports it."""

INSTEAD: Mapping[str, str] = {
    "QLinearConv": "give the float network: edgekit quantizes it",
    "QLinearMatMul": "give the float network: edgekit quantizes it",
    "ConvInteger": "give the float network: edgekit quantizes it",
    "MatMulInteger": "give the float network: edgekit quantizes it",
    "DynamicQuantizeLinear": "give the float network: edgekit quantizes it",
    "NonZero": "compute a mask instead of positions, or do this step after the network",
    "NonMaxSuppression": "do this step after the network",
    "OneHot": "compare with a constant range: Equal, then Cast",
    "RoiAlign": "do this step after the network",
    "GroupNormalization": "write it as Reshape, InstanceNormalization, Reshape",
}

POOLED_DIMENSIONS: Mapping[str, range] = {
    "AveragePool": range(1, 4),
    "LpPool": range(2, 4),
    "MaxPool": range(1, 4),
}
"""Pool → how many dimensions it may go over. The tables say 2 or 3; the parser's poolingHelper makes two of one since
8.0, not for LpPool (TensorRT-RTX 1.7.1 refuses that)."""

RESIZE_MODES: Mapping[str, frozenset[object]] = {
    "mode": frozenset({b"nearest", b"linear"}),
    "coordinate_transformation_mode": frozenset({
        b"half_pixel", b"pytorch_half_pixel", b"tf_half_pixel_for_nn", b"asymmetric", b"align_corners",
    }),
    "antialias": frozenset({0}),
}  # fmt: skip


def missing_operations(known: Version) -> frozenset[str]:
    """Operations without support at this version that can be written in primitive ones."""
    return frozenset(op for op in DECOMPOSITIONS if SINCE.get(op, (0,)) > known)


def operation_issues(model: onnx.ModelProto, known: Version) -> Iterator[Issue]:
    """What a parser of this version refuses, or takes only in part, with each node. Nodes must have names."""
    from onnx import helper

    for node in model.graph.node:
        settings = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
        yield from _support(node, known)
        yield from _restrictions(model, node, settings)
    yield from _types(model, known)


def _support(node: Any, known: Version) -> Iterator[Issue]:
    if node.domain not in ("", "ai.onnx"):
        reason = f"{node.domain}.{node.op_type} is no operation of ONNX: TensorRT would need a plug-in for it"
        yield Issue("error", node.name, reason, "replace it by operations of ONNX")
    elif node.op_type not in FROM_THE_START and SINCE.get(node.op_type, (99,)) > known:
        since = SINCE.get(node.op_type)
        version = ".".join(str(part) for part in known[:2])
        when = f"; it came by {since[0]}.{since[1]}" if since else ""
        instead = INSTEAD.get(node.op_type, "replace it, or do this step outside the network")
        yield Issue("error", node.name, f"TensorRT {version} does not take {node.op_type}{when}", instead)


def _restrictions(model: Any, node: Any, settings: Mapping[str, Any]) -> Iterator[Issue]:
    constants = {tensor.name for tensor in model.graph.initializer}
    if node.op_type in POOLED_DIMENSIONS:
        pooled = len(settings.get("kernel_shape", (1, 1)))
        if pooled not in POOLED_DIMENSIONS[node.op_type]:
            yield Issue(
                "error",
                node.name,
                f"{node.op_type} over {pooled} dimension{'s' if pooled > 1 else ''} is not taken",
                "pool over two dimensions, one of them of size 1",
            )
        if any(dilation != 1 for dilation in settings.get("dilations", ())):
            yield Issue(
                "error",
                node.name,
                f"{node.op_type} with dilations is not taken",
                "use a pool without dilation",
            )
        if len(node.output) > 1 and node.output[1]:
            yield Issue(
                "error", node.name, "MaxPool's second output (indices) is not taken", "compute them otherwise"
            )
    if node.op_type in ("Resize", "Upsample"):
        for name, allowed in RESIZE_MODES.items():
            if name in settings and settings[name] not in allowed:
                value = settings[name].decode() if isinstance(settings[name], bytes) else settings[name]
                yield Issue(
                    "error", node.name, f"Resize with {name} = {value} is not taken", "use nearest or linear"
                )
    if node.op_type == "TopK" and node.input[1] not in constants:
        yield Issue("error", node.name, "TopK takes only a constant K", "export with a fixed K")
    if node.op_type in ("If", "Loop", "Scan"):
        reason = f"{node.op_type} is taken in part, and what is inside stays in float"
        yield Issue("warning", node.name, reason, "export without control flow")
    if node.op_type == "NonZero":
        yield Issue(
            "warning", node.name, "the size of NonZero's output depends on the values", INSTEAD["NonZero"]
        )


def _types(model: Any, known: Version) -> Iterator[Issue]:
    """Types of inputs, outputs and constants that TensorRT does not have, or changes."""
    from onnx import TensorProto

    names = TensorProto.DataType.Name
    kinds = TensorProto
    allowed = {kinds.FLOAT, kinds.FLOAT16, kinds.INT32, kinds.BOOL, kinds.INT8}
    allowed |= {kinds.INT64, kinds.BFLOAT16, kinds.UINT8} if known >= (10,) else set()
    for side, values in (("input", model.graph.input), ("output", model.graph.output)):
        for value in values:
            kind = value.type.tensor_type.elem_type
            if kind in allowed:
                continue
            told = f"{side} {value.name} has type {names(kind).lower()}"
            if kind in (kinds.INT64, kinds.DOUBLE):
                narrow = "int32" if kind == kinds.INT64 else "float32"
                yield Issue("warning", "", f"{told}, which TensorRT makes {narrow}", f"export it as {narrow}")
            else:
                yield Issue(
                    "error", "", f"{told}, which TensorRT does not take", "export it as float32 or int32"
                )
    makers = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            yield from _quantized(node, makers)
    doubles = sorted(name for name, kind in makers.items() if kind == kinds.DOUBLE)
    if doubles:
        yield Issue("warning", "", f"constants of type double become float32: {', '.join(doubles[:3])}", "")


def _quantized(node: Any, constants: Mapping[str, int]) -> Iterator[Issue]:
    from onnx import TensorProto

    zero = constants.get(node.input[2]) if len(node.input) > 2 else None
    if constants.get(node.input[0]) == TensorProto.INT32 or zero == TensorProto.INT32:
        yield Issue(
            "error",
            node.name,
            "DequantizeLinear of int32 (a quantized bias) is refused",
            "keep the bias in float",
        )
    elif zero == TensorProto.UINT8:
        yield Issue(
            "error", node.name, f"{node.op_type} of uint8 is refused", "quantize to int8 with zero point 0"
        )


DLA_OPERATIONS = frozenset({
    "Abs", "Add", "AveragePool", "BatchNormalization", "Clip", "Concat", "Conv", "ConvTranspose", "Constant", "Cos",
    "Equal", "Flatten", "Gemm", "LRN", "LeakyRelu", "MatMul", "Max", "MaxPool", "Mul", "PRelu", "Relu", "Reshape",
    "Resize", "Sigmoid", "Slice", "Softmax", "Sub", "Sum", "Tanh", "Transpose", "Upsample",
})  # fmt: skip
"""Native on Orin's DLA through TensorRT; Flatten is a Reshape."""

DLA_LIMITS: Mapping[str, Mapping[str, tuple[int, int]]] = {
    "Conv": {"kernel_shape": (1, 32), "strides": (1, 8), "pads": (0, 31), "dilations": (1, 32)},
    "ConvTranspose": {"kernel_shape": (1, 32), "strides": (1, 32), "pads": (0, 0), "dilations": (1, 1)},
    "AveragePool": {"kernel_shape": (1, 8), "strides": (1, 16), "pads": (0, 7)},
    "MaxPool": {"kernel_shape": (1, 8), "strides": (1, 16), "pads": (0, 7)},
}
"""Operation → attribute → smallest and largest value on the DLA (Layer Support and Restrictions)."""

DLA_LARGEST_DIMENSION = 8192


def dla_fallbacks(model: onnx.ModelProto) -> tuple[tuple[str, str], ...]:
    """(node, why) of every node that would run on the GPU instead of the DLA. Needs inferred shapes."""
    from onnx import helper

    constants = {tensor.name for tensor in model.graph.initializer}
    infos = [*model.graph.input, *model.graph.value_info, *model.graph.output]
    shapes = {info.name: [dim.dim_value for dim in info.type.tensor_type.shape.dim] for info in infos}
    fallbacks = []
    for node in model.graph.node:
        settings = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
        reason = _dla_reason(node, settings, constants)
        if not reason and any(
            dim > DLA_LARGEST_DIMENSION for name in node.output for dim in shapes.get(name, ())
        ):
            reason = f"a dimension above {DLA_LARGEST_DIMENSION}"
        if reason:
            fallbacks.append((node.name, reason))
    return tuple(fallbacks)


def _dla_reason(node: Any, settings: Mapping[str, Any], constants: set[str]) -> str:
    if node.op_type not in DLA_OPERATIONS:
        return f"{node.op_type} is not on the DLA"
    if node.op_type in ("MatMul", "Gemm") and node.input[1] not in constants:
        return f"{node.op_type} of two activations is not on the DLA"
    for name, (low, high) in DLA_LIMITS.get(node.op_type, {}).items():
        values = settings.get(name, ())
        if any(not low <= value <= high for value in values):
            return f"{node.op_type} with {name} {list(values)}, the DLA takes {low} to {high}"
    return ""
