"""Brings a float ONNX graph to an opset that a board's TensorRT reads, without changing what it computes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit.errors import ModelError, StageError
from edgekit.graph.lowering import (
    attributes_of,
    ir_version_of,
    rewritten,
    schema_of,
    standard_nodes,
)
from edgekit.graph.proto import first_line, opset_of

if TYPE_CHECKING:
    import onnx

__all__ = ["DECOMPOSITIONS", "decompose", "in_opset"]


def in_opset(model: onnx.ModelProto, opset: int) -> onnx.ModelProto:
    """The graph in an opset of at most `opset` and at least 13 (per-channel Q/DQ), checked, and compared by running.

    Raises StageError that names the first operation which cannot be expressed there.
    """
    import onnx

    have = opset_of(model)
    if 13 <= have <= opset:
        return model
    wanted = opset if have > opset else 13
    missing = _missing(model, wanted)
    if missing:
        raise StageError(
            "export", f"opset {wanted} does not have {missing[0]}", "export the network without it"
        )
    for change in (_relabelled, _converted):
        candidate = change(model, wanted)
        if candidate is not None and _same(model, candidate):
            return onnx.shape_inference.infer_shapes(candidate, data_prop=True)
    raise StageError(
        "export",
        f"opset {have} cannot be brought to {wanted}: {_blame(model, wanted)}",
        f"export with opset {wanted}",
    )


def _missing(model: onnx.ModelProto, opset: int) -> list[str]:
    """Operations that this opset has no schema for, as `Op (node NAME)`."""
    return [
        f"{node.op_type} (node {node.name})"
        for node in model.graph.node
        if node.domain in ("", "ai.onnx") and schema_of(node.op_type, opset) is None
    ]


def _blame(model: onnx.ModelProto, opset: int) -> str:
    """The first node of the relabelled graph that the older opset does not take, and what of it."""
    import onnx

    copy = rewritten(model, opset)
    constants = {tensor.name for tensor in copy.graph.initializer}
    for node in standard_nodes(copy):
        called, schema = f"{node.op_type} (node {node.name})", schema_of(node.op_type, opset)
        for attribute in node.attribute:
            if attribute.name not in schema.attributes:
                value = onnx.helper.get_attribute_value(attribute)
                value = value.decode() if isinstance(value, bytes) else value
                return f"{called} has {attribute.name} = {value}, which that opset does not know"
        if len(node.input) > schema.max_input:
            extra = node.input[schema.max_input]
            kind = "constant" if extra in constants else "computed"
            return f"{called} has a {kind} input {extra!r}, which that opset does not know"
    try:
        onnx.checker.check_model(copy, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as problem:
        return f"the checker says: {first_line(problem)}"
    changed = {
        node.op_type: None
        for node in standard_nodes(model)
        if schema_of(node.op_type, opset_of(model)).since_version
        != schema_of(node.op_type, opset).since_version
    }
    return f"the result computes something else; defined otherwise there: {', '.join(changed)}"


def _relabelled(model: onnx.ModelProto, opset: int) -> onnx.ModelProto | None:
    """The nodes rewritten one by one into the older schemas; None when the checker refuses the result.

    Most new versions of an operation only add types. onnx.version_converter knows few of them downwards.
    """
    copy = rewritten(model, opset)
    return copy if _passes(copy) else None


def _converted(model: onnx.ModelProto, opset: int) -> onnx.ModelProto | None:
    import onnx

    try:
        copy: onnx.ModelProto = onnx.version_converter.convert_version(model, opset)
    except (RuntimeError, ValueError, onnx.version_converter.ConvertError):
        return None
    copy.ir_version = ir_version_of(opset)
    return copy if _passes(copy) else None


def _passes(model: onnx.ModelProto) -> bool:
    from edgekit.graph.proto import check

    try:
        check(model, "the network")
    except ModelError:
        return False
    return True


def _same(model: onnx.ModelProto, other: onnx.ModelProto) -> bool:
    """Whether both give the same outputs on a random input."""
    from edgekit.graph.equivalence import difference, probe_inputs, run_onnx
    from edgekit.graph.signature import signature_of

    probe = probe_inputs(signature_of(model).inputs)
    try:
        return not difference(run_onnx(model, probe), run_onnx(other, probe), tolerance=1e-4)
    except ModelError:
        return False


def decompose(model: onnx.ModelProto, ops: frozenset[str]) -> tuple[str, ...]:
    """Write the named operations (keys of DECOMPOSITIONS) in primitive ones, in place; names of their nodes."""
    done: list[str] = []
    nodes: list[onnx.NodeProto] = []
    for node in model.graph.node:
        rewrite = DECOMPOSITIONS.get(node.op_type) if node.op_type in ops else None
        parts = rewrite(model, node) if rewrite else None
        if parts is None:
            nodes.append(node)
        else:
            nodes.extend(parts)
            done.append(node.name)
    if done:
        del model.graph.node[:]
        model.graph.node.extend(nodes)
    return tuple(done)


class _Steps:
    """Primitive nodes that stand for one node; tensors and constants are named after it."""

    def __init__(self, model: onnx.ModelProto, node: onnx.NodeProto) -> None:
        self.model, self.name, self.nodes = model, node.name, list[Any]()

    def add(self, op: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        from onnx import helper

        name = f"{self.name}/{op}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, list(inputs), [output or name], name=name, **attributes))
        return output or name

    def constant(self, value: float) -> str:
        from onnx import numpy_helper

        name = f"{self.name}/constant_{len(self.model.graph.initializer)}"
        self.model.graph.initializer.append(numpy_helper.from_array(np.array(value, np.float32), name))
        return name


def _layer_normalization(model: onnx.ModelProto, node: onnx.NodeProto) -> list[onnx.NodeProto] | None:
    """(x - mean) / sqrt(variance + epsilon) * scale + bias over the last axes; None where another output is used."""
    infos = [*model.graph.input, *model.graph.value_info, *model.graph.output]
    ranks = {info.name: len(info.type.tensor_type.shape.dim) for info in infos}
    rank, given = ranks.get(node.input[0], 0), attributes_of(node)
    if any(node.output[1:]) or not rank:
        return None
    axes = list(range(given.get("axis", -1) % rank, rank))
    steps = _Steps(model, node)
    centred = steps.add("Sub", node.input[0], _mean(steps, node.input[0], axes))
    variance = _mean(steps, steps.add("Mul", centred, centred), axes)
    deviation = steps.add("Sqrt", steps.add("Add", variance, steps.constant(given.get("epsilon", 1e-5))))
    last = steps.add("Div", centred, deviation)
    has_bias = len(node.input) > 2 and bool(node.input[2])
    last = steps.add("Mul", last, node.input[1], output="" if has_bias else node.output[0])
    if has_bias:
        steps.add("Add", last, node.input[2], output=node.output[0])
    return steps.nodes


def _mean(steps: _Steps, name: str, axes: list[int]) -> str:
    """ReduceMean in the form of the model's own opset: axes became an input with 18."""
    from onnx import numpy_helper

    if opset_of(steps.model) < 18:
        return steps.add("ReduceMean", name, axes=axes, keepdims=1)
    axes_name = f"{steps.name}/axes_{len(steps.model.graph.initializer)}"
    steps.model.graph.initializer.append(numpy_helper.from_array(np.array(axes, np.int64), axes_name))
    return steps.add("ReduceMean", name, axes_name, keepdims=1)


def _gelu(model: onnx.ModelProto, node: onnx.NodeProto) -> list[onnx.NodeProto] | None:
    """0.5 x (1 + erf(x / sqrt 2)), or its tanh form, as ONNX's operator text defines them."""
    steps, x = _Steps(model, node), node.input[0]
    if attributes_of(node).get("approximate", b"none") == b"tanh":
        cubic = steps.add("Mul", steps.add("Mul", x, x), steps.add("Mul", x, steps.constant(0.044715)))
        inner = steps.add("Mul", steps.add("Add", x, cubic), steps.constant(float(np.sqrt(2 / np.pi))))
        gate = steps.add("Tanh", inner)
    else:
        gate = steps.add("Erf", steps.add("Mul", x, steps.constant(float(np.sqrt(0.5)))))
    half = steps.add("Mul", x, steps.constant(0.5))
    steps.add("Mul", half, steps.add("Add", gate, steps.constant(1.0)), output=node.output[0])
    return steps.nodes


def _hard_swish(model: onnx.ModelProto, node: onnx.NodeProto) -> list[onnx.NodeProto] | None:
    """x * max(0, min(1, x / 6 + 0.5)), as ONNX's operator text defines it."""
    steps = _Steps(model, node)
    gate = steps.add("HardSigmoid", node.input[0], alpha=1.0 / 6.0, beta=0.5)
    steps.add("Mul", node.input[0], gate, output=node.output[0])
    return steps.nodes


def _mish(model: onnx.ModelProto, node: onnx.NodeProto) -> list[onnx.NodeProto] | None:
    """x * tanh(softplus(x))."""
    steps = _Steps(model, node)
    gate = steps.add("Tanh", steps.add("Softplus", node.input[0]))
    steps.add("Mul", node.input[0], gate, output=node.output[0])
    return steps.nodes


def _reciprocal(model: onnx.ModelProto, node: onnx.NodeProto) -> list[onnx.NodeProto] | None:
    steps = _Steps(model, node)
    steps.add("Div", steps.constant(1.0), node.input[0], output=node.output[0])
    return steps.nodes


DECOMPOSITIONS: Mapping[str, Callable[[Any, Any], list[Any] | None]] = {
    "Gelu": _gelu,
    "HardSwish": _hard_swish,
    "LayerNormalization": _layer_normalization,
    "Mish": _mish,
    "Reciprocal": _reciprocal,
}
"""Operation → how it is written in primitive ones."""
