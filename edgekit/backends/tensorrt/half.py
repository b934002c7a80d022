"""A float32 ONNX graph in float16, for TensorRT that takes precision from the network (strong typing).

Inputs and outputs stay float32. What float16 cannot hold stays float32, and so do sums of squares and exponentials,
whose intermediate values leave float16's range long before their inputs do.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit.errors import StageError

if TYPE_CHECKING:
    import onnx
    from numpy.typing import NDArray

    from edgekit.graph import CalibrationData

__all__ = ["Halved", "largest_magnitudes", "to_half"]

LARGEST = 65504.0  # of float16 (IEEE 754-2019, binary16)
HEADROOM = 2.0
"""Values seen may grow by this on other data before float16 overflows."""

IN_FLOAT = frozenset({
    "CumSum", "Exp", "GroupNormalization", "InstanceNormalization", "LayerNormalization", "LpNormalization", "Pow",
    "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceSumSquare",
})  # fmt: skip
"""Operations that stay float32."""

GIVES_FLOAT = frozenset(
    {"Cast", "Constant", "ConstantOfShape", "EyeLike", "RandomNormal", "RandomUniform", "Range"}
)
"""Operations whose attributes say the type of what they give."""

NEVER_HALF = {"Resize": (1, 2), "Upsample": (1,)}
"""Operation → inputs that are float32 by their schema (roi and scales)."""


@dataclass(frozen=True)
class Halved:
    """The graph in float16. `in_float`: nodes that stayed float32 because float16 cannot hold their values."""

    model: onnx.ModelProto
    in_float: tuple[str, ...]


@dataclass
class _Rewriter:
    """The new graph while it grows. `half` holds the tensors that are float16 now, `floats` all that were float32."""

    model: onnx.ModelProto
    floats: frozenset[str]
    constants: Mapping[str, Any]
    half: set[str] = field(default_factory=set)
    nodes: list[Any] = field(default_factory=list)
    made: dict[str, str] = field(default_factory=dict)

    def read(self, name: str, half: bool) -> str:
        """The tensor's name in the precision asked for; a cast is added once."""
        from onnx import TensorProto, helper, numpy_helper

        if name not in self.floats or (name in self.half) == half:
            return name
        suffix = f"{name}/fp16" if half else f"{name}/fp32"
        if suffix in self.made:
            return suffix
        self.made[suffix] = name
        if name in self.constants:
            with np.errstate(over="ignore"):
                values = numpy_helper.to_array(self.constants[name]).astype(np.float16)
            self.model.graph.initializer.append(numpy_helper.from_array(values, suffix))
        else:
            kind = TensorProto.FLOAT16 if half else TensorProto.FLOAT
            self.nodes.append(helper.make_node("Cast", [name], [suffix], name=f"{suffix}/cast", to=kind))
        return suffix


def to_half(model: onnx.ModelProto, magnitudes: Mapping[str, float] | None = None) -> Halved:
    """A copy in float16. `magnitudes`: tensor → largest magnitude seen (`largest_magnitudes`).

    Needs inferred shapes and named nodes. Raises StageError for control flow, whose inner graphs are not rewritten.
    """
    import onnx
    from onnx import TensorProto, numpy_helper

    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for node in copy.graph.node:
        if node.op_type in ("If", "Loop", "Scan"):
            raise StageError(
                "export",
                f"{node.op_type} (node {node.name}) cannot be written in float16",
                "export without it, or use fp32",
            )
    constants = {tensor.name: tensor for tensor in copy.graph.initializer}
    infos = [*copy.graph.input, *copy.graph.value_info, *copy.graph.output]
    floats = {info.name for info in infos if info.type.tensor_type.elem_type == TensorProto.FLOAT}
    floats |= {name for name, tensor in constants.items() if tensor.data_type == TensorProto.FLOAT}
    unsafe = {name for name, largest in (magnitudes or {}).items() if largest * HEADROOM > LARGEST}
    unsafe |= {
        name for name in constants if name in floats and not _holds(numpy_helper.to_array(constants[name]))
    }
    rewriter = _Rewriter(copy, frozenset(floats), constants)
    in_float = _rewrite(rewriter, unsafe)
    _finish(rewriter)
    return Halved(onnx.shape_inference.infer_shapes(copy), tuple(in_float))


def _holds(values: Any) -> bool:
    """Whether float16 can hold these constants: none too large, and no lone epsilon that would become zero."""
    if values.size == 0:
        return True
    largest = float(np.abs(values).max())
    return largest <= LARGEST and not (values.size == 1 and largest > 0 and np.float16(largest) == 0)


def _rewrite(rewriter: _Rewriter, unsafe: Collection[str]) -> list[str]:
    """Node after node in the precision it gets; names of those that `unsafe` tensors keep in float32."""
    outputs = {output.name for output in rewriter.model.graph.output}
    in_float = []
    for node in rewriter.model.graph.node:
        risky = any(name in unsafe for name in (*node.input, *node.output))
        if risky:
            in_float.append(node.name)
        half = not risky and node.op_type not in IN_FLOAT | GIVES_FLOAT and _takes_half(rewriter.model, node)
        never = NEVER_HALF.get(node.op_type, ())
        for at, name in enumerate(node.input):
            node.input[at] = rewriter.read(name, half and at not in never)
        for at, name in enumerate(node.output):
            if half and name in rewriter.floats:
                inner = f"{name}/fp16" if name in outputs else name
                node.output[at] = inner
                rewriter.half.add(name)
                if inner != name:
                    rewriter.made[f"{name}/fp16"] = name
                    rewriter.half.discard(name)  # under its own name it is the graph's float32 output
        rewriter.nodes.append(node)
    return in_float


def _takes_half(model: onnx.ModelProto, node: Any) -> bool:
    """Whether the operation's schema knows float16 where it knows float32."""
    import onnx

    from edgekit.graph.proto import opset_of

    if node.domain not in ("", "ai.onnx"):
        return False
    schema = onnx.defs.get_schema(node.op_type, opset_of(model))
    floats = [set(constraint.allowed_type_strs) for constraint in schema.type_constraints]
    return all("tensor(float16)" in types for types in floats if "tensor(float)" in types)


def _finish(rewriter: _Rewriter) -> None:
    """Casts of the outputs, new node list, no stale types, no unused constants."""
    import onnx
    from onnx import TensorProto, helper

    graph = rewriter.model.graph
    made = {name for node in rewriter.nodes for name in node.output}
    for output in graph.output:
        if output.name not in made and f"{output.name}/fp16" in made:
            rewriter.nodes.append(
                helper.make_node(
                    "Cast",
                    [f"{output.name}/fp16"],
                    [output.name],
                    name=f"{output.name}/cast",
                    to=TensorProto.FLOAT,
                )
            )
    kept = [onnx.NodeProto.FromString(node.SerializeToString()) for node in rewriter.nodes]
    del graph.node[:]
    graph.node.extend(kept)
    used = {name for node in kept for name in node.input} | {output.name for output in graph.output}
    constants = [constant for constant in graph.initializer if constant.name in used]
    del graph.initializer[:]
    graph.initializer.extend(constants)
    del graph.value_info[:]


def largest_magnitudes(
    model: onnx.ModelProto, data: CalibrationData | None, *, samples: int = 64, threads: int = 1
) -> dict[str, float]:
    """Largest magnitude of each float tensor over calibration samples, or over random inputs where there are none."""
    from onnx import TensorProto

    from edgekit.graph.equivalence import probe_inputs
    from edgekit.graph.signature import signature_of
    from edgekit.graph.taps import open_taps

    infos = {
        info.name: info.type.tensor_type.elem_type for info in (*model.graph.value_info, *model.graph.output)
    }
    names = [name for name, kind in infos.items() if kind == TensorProto.FLOAT]
    names = [name for node in model.graph.node for name in node.output if name in names]
    taps = open_taps(model, names, threads=threads)
    largest: dict[str, float] = dict.fromkeys(names, 0.0)

    def look(name: str, array: NDArray[Any]) -> None:
        largest[name] = max(largest[name], float(np.abs(array).max(initial=0.0)))

    if data is not None:
        taps.visit(data, look, samples)
    else:
        for seed in range(4):
            for name, array in taps.run(probe_inputs(signature_of(model).inputs, seed)).items():
                look(name, array)
    return largest
