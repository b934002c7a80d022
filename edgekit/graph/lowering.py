"""Nodes of an ONNX graph in the form that an older opset has for them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import onnx

__all__ = ["attributes_of", "ir_version_of", "rewritten", "schema_of", "standard_nodes"]

Shapes = Mapping[str, tuple[int, ...]]

IR_VERSIONS = ((12, 7), (14, 7), (15, 8), (18, 8), (19, 9), (20, 9), (22, 10))
"""(highest opset, its IR version), from the release table of ONNX's Versioning.md."""


def ir_version_of(opset: int) -> int:
    """The IR version that came with an opset."""
    return next((ir for highest, ir in IR_VERSIONS if opset <= highest), 10)


def schema_of(op: str, opset: int) -> Any:
    """The definition of one of ONNX's own operations in an opset, or nothing where it is not there yet."""
    import onnx

    try:
        return onnx.defs.get_schema(op, opset)
    except onnx.defs.SchemaError:
        return None


def standard_nodes(model: onnx.ModelProto) -> Iterator[onnx.NodeProto]:
    """The nodes whose operations are ONNX's own."""
    return (node for node in model.graph.node if node.domain in ("", "ai.onnx"))


def attributes_of(node: onnx.NodeProto) -> dict[str, Any]:
    """A node's attributes by name; texts are bytes."""
    from onnx import helper

    return {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}


def rewritten(model: onnx.ModelProto, opset: int) -> onnx.ModelProto:
    """A copy labelled `opset`, each node in the form of that opset where it has one; nothing is checked.

    Inferred shapes are read for it, and dropped.
    """
    import onnx

    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for entry in copy.opset_import:
        if entry.domain in ("", "ai.onnx"):
            entry.version = opset
    copy.ir_version = ir_version_of(opset)
    constants = {tensor.name: tensor for tensor in copy.graph.initializer}
    shapes = _shapes(copy)
    for node in standard_nodes(copy):
        schema = schema_of(node.op_type, opset)
        _inputs_to_attributes(node, schema, constants)
        rewrite = REWRITES.get(node.op_type)
        if rewrite is not None:
            rewrite(copy, node, schema, shapes)
        _drop_defaults(node, schema)
    del copy.graph.value_info[:]
    return copy


def _shapes(model: onnx.ModelProto) -> dict[str, tuple[int, ...]]:
    """Tensor → its shape where it is static."""
    shapes = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    for info in (*model.graph.input, *model.graph.value_info, *model.graph.output):
        tensor = info.type.tensor_type
        if tensor.HasField("shape") and all(dim.HasField("dim_value") for dim in tensor.shape.dim):
            shapes[info.name] = tuple(dim.dim_value for dim in tensor.shape.dim)
    return shapes


def _reshape(model: onnx.ModelProto, node: onnx.NodeProto, schema: Any, shapes: Shapes) -> None:
    """`allowzero` only matters where a 0 is in the shape, which then is one of the output's sizes."""
    from onnx import numpy_helper

    if "allowzero" in schema.attributes:
        return
    given = next((tensor for tensor in model.graph.initializer if tensor.name == node.input[1]), None)
    sizes = numpy_helper.to_array(given).tolist() if given is not None else shapes.get(node.output[0])
    if sizes is not None and 0 not in sizes:
        _remove(node, "allowzero")


def _split(model: onnx.ModelProto, node: onnx.NodeProto, schema: Any, shapes: Shapes) -> None:
    """`num_outputs`, of opset 18, becomes the sizes of the parts: without them they have to be equal."""
    from onnx import numpy_helper

    parts = [shapes.get(name) for name in node.output]
    if "num_outputs" in schema.attributes or len(node.input) > 1 or None in parts:
        return
    axis = attributes_of(node).get("axis", 0)
    sizes = np.array([part[axis] for part in parts if part is not None], np.int64)
    name = f"{node.name or node.output[0]}/sizes"
    model.graph.initializer.append(numpy_helper.from_array(sizes, name))
    node.input.append(name)
    _remove(node, "num_outputs")


def _pad(model: onnx.ModelProto, node: onnx.NodeProto, schema: Any, shapes: Shapes) -> None:
    """`axes`, an input since opset 18, is written out: the other axes are padded by 0."""
    from onnx import numpy_helper

    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    shape = shapes.get(node.input[0])
    if len(node.input) < 4 or schema.max_input > 3 or shape is None or node.input[1] not in constants:
        return
    if node.input[3] and node.input[3] not in constants:
        return
    if node.input[3]:
        axes, rank = constants[node.input[3]] % len(shape), len(shape)
        pads = np.zeros(2 * rank, np.int64)
        pads[axes], pads[axes + rank] = np.split(constants[node.input[1]], 2)
        name = f"{node.name or node.output[0]}/pads"
        model.graph.initializer.append(numpy_helper.from_array(pads, name))
        node.input[1] = name
    del node.input[3:]


GRID_MODES = {b"linear": b"bilinear", b"cubic": b"bicubic"}


def _grid_sample(model: onnx.ModelProto, node: onnx.NodeProto, schema: Any, shapes: Shapes) -> None:
    """The modes of opset 16 have other names than those of 20."""
    if schema.since_version < 20:
        for attribute in node.attribute:
            if attribute.name == "mode":
                attribute.s = GRID_MODES.get(attribute.s, attribute.s)


REWRITES: Mapping[str, Callable[[Any, Any, Any, Shapes], None]] = {
    "GridSample": _grid_sample,
    "Pad": _pad,
    "Reshape": _reshape,
    "Split": _split,
}
"""Operation → how its newer form is written in an older schema, in place."""


def _remove(node: onnx.NodeProto, name: str) -> None:
    kept = [attribute for attribute in node.attribute if attribute.name != name]
    del node.attribute[:]
    node.attribute.extend(kept)


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
        _remove(node, "noop_with_empty_axes")


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
