"""Exact rewrites that let ONNX Runtime keep integers where it would go back to float."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import onnx

__all__ = ["keep_padding_in_integers", "means_to_pooling"]


def means_to_pooling(model: onnx.ModelProto) -> None:
    """ReduceMean over the two image axes becomes GlobalAveragePool, in place: that one has an integer kernel.

    Needs inferred shapes: only inputs [N, C, H, W] are touched.
    """
    from onnx import helper

    constants = _constants(model)
    ranks = {
        info.name: len(info.type.tensor_type.shape.dim)
        for info in [*model.graph.input, *model.graph.value_info]
    }
    nodes: list[onnx.NodeProto] = []
    for node in model.graph.node:
        settings = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
        axes = settings.get("axes")
        if node.op_type == "ReduceMean" and len(node.input) > 1 and node.input[1] in constants:
            axes = constants[node.input[1]].tolist()
        spatial = axes is not None and sorted(axis % 4 for axis in axes) == [2, 3]
        if node.op_type != "ReduceMean" or not spatial or ranks.get(node.input[0]) != 4:
            nodes.append(node)
            continue
        keeps = settings.get("keepdims", 1) == 1
        pooled = node.output[0] if keeps else f"{node.output[0]}/pooled"
        nodes.append(helper.make_node("GlobalAveragePool", [node.input[0]], [pooled], name=node.name))
        if not keeps:
            nodes.append(
                helper.make_node("Flatten", [pooled], list(node.output), name=f"{node.name}/flatten", axis=1)
            )
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def keep_padding_in_integers(model: onnx.ModelProto) -> None:
    """DequantizeLinear → Pad with zeros → QuantizeLinear of the same scale becomes a Pad of integers, in place.

    ONNX Runtime 1.31 drops such pairs around Slice, Reshape and others, but not around Pad. Zero is the zero
    point. Works on per-tensor pairs only.
    """
    producers = {name: node for node in model.graph.node for name in node.output}
    consumers: dict[str, list[onnx.NodeProto]] = {}
    for node in model.graph.node:
        for name in node.input:
            consumers.setdefault(name, []).append(node)
    outputs = {output.name for output in model.graph.output}
    constants = _constants(model)
    removed = []
    for pad in model.graph.node:
        before = producers.get(pad.input[0]) if pad.op_type == "Pad" else None
        after = consumers.get(pad.output[0], []) if before is not None else []
        if (
            before is None
            or before.op_type != "DequantizeLinear"
            or len(after) != 1
            or pad.output[0] in outputs
        ):
            continue
        if (
            after[0].op_type != "QuantizeLinear"
            or not _same_grid(before, after[0], constants)
            or not _pads_zero(pad, constants)
        ):
            continue
        axes = list(pad.input)[3:]
        pad.input[:] = [before.input[0], pad.input[1], after[0].input[2], *axes]
        pad.output[0] = after[0].output[0]
        removed.append(after[0].name)
    kept = [node for node in model.graph.node if node.name not in removed]
    del model.graph.node[:]
    model.graph.node.extend(kept)
    _drop_unused_pairs(model, outputs)


def _constants(model: onnx.ModelProto) -> dict[str, Any]:
    from onnx import numpy_helper

    return {initializer.name: numpy_helper.to_array(initializer) for initializer in model.graph.initializer}


def _same_grid(first: onnx.NodeProto, second: onnx.NodeProto, constants: dict[str, Any]) -> bool:
    """Whether two Q/DQ nodes have the same per-tensor scale and zero point."""
    values = []
    for node in (first, second):
        if len(node.input) < 3 or any(
            name not in constants or constants[name].ndim for name in node.input[1:3]
        ):
            return False
        values.append((float(constants[node.input[1]]), int(constants[node.input[2]])))
    return values[0] == values[1]


def _pads_zero(pad: onnx.NodeProto, constants: dict[str, Any]) -> bool:
    mode = next((attribute.s for attribute in pad.attribute if attribute.name == "mode"), b"constant")
    value = pad.input[2] if len(pad.input) > 2 else ""
    return mode == b"constant" and (not value or (value in constants and not np.any(constants[value])))


def _drop_unused_pairs(model: onnx.ModelProto, outputs: set[str]) -> None:
    """Remove DequantizeLinear nodes that nobody reads any more."""
    used = {name for node in model.graph.node for name in node.input} | outputs
    kept = [n for n in model.graph.node if n.op_type != "DequantizeLinear" or n.output[0] in used]
    del model.graph.node[:]
    model.graph.node.extend(kept)
