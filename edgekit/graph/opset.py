"""Brings a float ONNX graph to an opset that a board's TensorRT reads, without changing what it computes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit.errors import ModelError, StageError
from edgekit.graph.proto import opset_of

if TYPE_CHECKING:
    import onnx

__all__ = ["DECOMPOSITIONS", "decompose", "in_opset"]

IR_VERSIONS = ((12, 7), (14, 7), (15, 8), (18, 8), (19, 9), (20, 9), (22, 10))
"""(highest opset, its IR version), from the release table of ONNX's Versioning.md."""


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
        if node.domain in ("", "ai.onnx") and _schema(node.op_type, opset) is None
    ]


def _schema(op: str, opset: int) -> Any:
    import onnx

    try:
        return onnx.defs.get_schema(op, opset)
    except onnx.defs.SchemaError:
        return None


def _blame(model: onnx.ModelProto, opset: int) -> str:
    """The first node whose operation is defined otherwise there."""
    have = opset_of(model)
    for node in model.graph.node:
        new, old = _schema(node.op_type, have), _schema(node.op_type, opset)
        if new is not None and old is not None and new.since_version != old.since_version:
            return f"{node.op_type} (node {node.name}) is defined otherwise there"
    return "the checker refuses the result"


def _relabelled(model: onnx.ModelProto, opset: int) -> onnx.ModelProto | None:
    """The nodes rewritten one by one into the older schemas; None when the checker refuses the result.

    Most new versions of an operation only add types. onnx.version_converter knows few of them downwards.
    """
    import onnx

    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for entry in copy.opset_import:
        if entry.domain in ("", "ai.onnx"):
            entry.version = opset
    copy.ir_version = next((ir for highest, ir in IR_VERSIONS if opset <= highest), 10)
    constants = {tensor.name: tensor for tensor in copy.graph.initializer}
    for node in copy.graph.node:
        if node.domain not in ("", "ai.onnx"):
            continue
        schema = _schema(node.op_type, opset)
        _inputs_to_attributes(node, schema, constants)
        _drop_defaults(node, schema)
    del copy.graph.value_info[:]
    return copy if _passes(copy) else None


def _inputs_to_attributes(node: onnx.NodeProto, schema: Any, constants: Mapping[str, Any]) -> None:
    """Reductions take `axes` as an input from opset 18 (ReduceSum: 13) on, before that as an attribute."""
    from onnx import helper, numpy_helper

    if not node.op_type.startswith("Reduce") or len(node.input) < 2 or "axes" not in schema.attributes:
        return
    axes = constants.get(node.input[1])
    if axes is not None:
        node.attribute.append(helper.make_attribute("axes", numpy_helper.to_array(axes).tolist()))
    if axes is not None or not node.input[1]:
        del node.input[1:]
        kept = [attribute for attribute in node.attribute if attribute.name != "noop_with_empty_axes"]
        del node.attribute[:]
        node.attribute.extend(kept)


NEWER_DEFAULTS: Mapping[str, tuple[Any, ...]] = {
    "allowzero": (0,),
    "antialias": (0,),
    "keep_aspect_ratio_policy": (b"stretch",),
    "noop_with_empty_axes": (0,),
    "reduction": (b"none",),
    "training_mode": (0,),
    "saturate": (1,),
}
"""Attributes of newer schemas → values at which they mean what the older schema does."""


def _drop_defaults(node: onnx.NodeProto, schema: Any) -> None:
    from onnx import helper

    kept = []
    for attribute in node.attribute:
        neutral = NEWER_DEFAULTS.get(attribute.name, ())
        if attribute.name in schema.attributes or helper.get_attribute_value(attribute) not in neutral:
            kept.append(attribute)
    del node.attribute[:]
    node.attribute.extend(kept)


def _converted(model: onnx.ModelProto, opset: int) -> onnx.ModelProto | None:
    import onnx

    try:
        copy: onnx.ModelProto = onnx.version_converter.convert_version(model, opset)
    except (RuntimeError, ValueError, onnx.version_converter.ConvertError):
        return None
    copy.ir_version = next((ir for highest, ir in IR_VERSIONS if opset <= highest), 10)
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


def _attributes(node: onnx.NodeProto) -> dict[str, Any]:
    from onnx import helper

    return {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}


def _layer_normalization(model: onnx.ModelProto, node: onnx.NodeProto) -> list[onnx.NodeProto] | None:
    """(x - mean) / sqrt(variance + epsilon) * scale + bias over the last axes; None where another output is used."""
    infos = [*model.graph.input, *model.graph.value_info, *model.graph.output]
    ranks = {info.name: len(info.type.tensor_type.shape.dim) for info in infos}
    rank, given = ranks.get(node.input[0], 0), _attributes(node)
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
    if _attributes(node).get("approximate", b"none") == b"tanh":
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
