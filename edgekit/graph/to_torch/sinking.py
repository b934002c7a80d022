"""Transposes of images moved behind what follows them, until they meet their inverse or a convolution.

litert-torch lays out what is computed between convolutions, but takes a transpose in the graph for one that must
stay: what stands between two of them has to be written for channels last here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit.graph.to_torch.editing import (
    TO_FIRST,
    TO_LAST,
    GraphEditor,
    attributes_of,
    drop_unused,
    order_of,
)

if TYPE_CHECKING:
    import onnx
    from numpy.typing import NDArray

__all__ = ["ELEMENTWISE", "REDUCTIONS", "merge_transposes", "sink_transposes"]

ELEMENTWISE = frozenset(
    {
        *("Abs", "Add", "And", "Cast", "Ceil", "Celu", "Clip", "Cos", "Div"),
        *("Elu", "Equal", "Erf", "Exp", "Floor", "Gelu", "Greater", "GreaterOrEqual", "HardSigmoid"),
        *("HardSwish", "LeakyRelu", "Less", "LessOrEqual", "Log", "Max", "Min", "Mish", "Mul"),
        *("Neg", "Not", "Or", "Pow", "Reciprocal", "Relu", "Round", "Selu", "Sigmoid"),
        *("Sign", "Sin", "Softplus", "Softsign", "Sqrt", "Sub", "Sum", "Tanh", "Where"),
        *("Xor"),
    }
)  # fmt: skip
ALONG_AXIS = frozenset({"Concat", "LogSoftmax", "Softmax", "Split"})
REDUCTIONS = frozenset({"ReduceL2", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceSum"})
PLACE = {0: 0, 1: 3, 2: 1, 3: 2}
"""Axis of [N, C, H, W] → the same of [N, H, W, C]."""


def sink_transposes(editor: GraphEditor, images: frozenset[str]) -> None:
    """Behind every operation that does the same to the turned image; in place."""
    turned: dict[str, str] = {}

    def sunk(node: onnx.NodeProto) -> list[onnx.NodeProto]:
        if node.op_type == "Transpose":
            if tuple(order_of(editor, node)) == TO_FIRST:
                turned[node.output[0]] = node.input[0]
            return [node]
        data = [name for name in node.input if name and name not in editor.constants]
        better = any(name in turned for name in data) or _is_misread(editor, node)
        if not better or not _can_sink(editor, node, data, images, turned):
            return [node]
        return _behind(editor, node, turned)

    editor.rewrite(sunk)


def _is_misread(editor: GraphEditor, node: onnx.NodeProto) -> bool:
    """Whether the converter would read an image with channels first: to pad it with a number, to take its norm, and
    to reduce it to something that is no image, but for a mean over the image, which it knows as a pooling."""
    if node.op_type == "Pad":
        return bool(attributes_of(node).get("mode", b"constant") == b"constant")
    if node.op_type == "ReduceL2":
        return True
    kept = attributes_of(node).get("keepdims", 1)
    pooled = node.op_type == "ReduceMean" and _axes(editor, node) == [2, 3]
    return node.op_type in REDUCTIONS and not kept and not pooled


def _can_sink(
    editor: GraphEditor,
    node: onnx.NodeProto,
    data: Sequence[str],
    images: frozenset[str],
    turned: dict[str, str],
) -> bool:
    if any(name not in images and name not in turned for name in data):
        return False
    stored = all(name in editor.constants for name in node.input[1:] if name)
    if node.op_type in ELEMENTWISE:
        return all(len(editor.shapes.get(name, ())) == 4 for name in node.output)
    if node.op_type in ALONG_AXIS:
        return editor.opset >= 13 and all(name in editor.shapes for name in node.output)
    if node.op_type in REDUCTIONS:
        axes = _axes(editor, node)
        kept = [axis for axis in range(4) if axis not in axes]
        whole = attributes_of(node).get("keepdims", 1) or 1 not in kept or kept in ([0, 1], [1])
        return stored and bool(axes) and bool(whole)
    if node.op_type == "Pad":
        return editor.opset >= 11 and stored and len(node.input) < 4
    return node.op_type == "Slice" and editor.opset >= 10 and stored and len(node.input) > 3


def _axes(editor: GraphEditor, node: onnx.NodeProto) -> list[int]:
    given = (
        editor.constants.get(node.input[1], np.zeros(0, np.int64)).tolist()
        if len(node.input) > 1
        else attributes_of(node).get("axes", ())
    )
    return sorted(axis % 4 for axis in given)


def _behind(editor: GraphEditor, node: onnx.NodeProto, turned: dict[str, str]) -> list[onnx.NodeProto]:
    """The node on turned images, and its results turned back."""
    from onnx import helper

    nodes: list[onnx.NodeProto] = []
    inputs = []
    for place, name in enumerate(node.input):
        if name in editor.constants:
            inputs.append(_constant(editor, node, place, name))
        elif name and name not in turned:
            nodes.append(editor.transpose(name, TO_LAST))
            inputs.append(nodes[-1].output[0])
        else:
            inputs.append(turned.get(name, name))
    settings = attributes_of(node)
    if node.op_type in ALONG_AXIS:
        default = -1 if node.op_type in ("Softmax", "LogSoftmax") else 0
        settings["axis"] = PLACE[settings.get("axis", default) % 4]
    if "axes" in settings:
        settings["axes"] = sorted(PLACE[axis % 4] for axis in settings["axes"])
    results = []
    for name in node.output:
        shape = editor.shapes[name]
        if len(shape) == 4:
            results.append(editor.declare(f"{name}/last", [shape[axis] for axis in TO_LAST], name))
        else:
            results.append(name)
    nodes.append(helper.make_node(node.op_type, inputs, results, name=node.name, **settings))
    for name, result in zip(node.output, results, strict=True):
        if result != name:
            nodes.append(editor.transpose(result, TO_FIRST, name))
            nodes[-1].name = f"{name}/first"
            turned[name] = result
    return nodes


def _constant(editor: GraphEditor, node: onnx.NodeProto, place: int, name: str) -> str:
    """A constant input as turned images want it."""
    value = _form(editor.constants[name], node.op_type, place)
    if value is editor.constants[name]:
        return name
    return editor.constant(f"{node.output[0]}/input_{place}", value)


def _form(value: NDArray[Any], op: str, place: int) -> NDArray[Any]:
    if op in REDUCTIONS:
        return np.array(sorted(PLACE[axis % 4] for axis in value.ravel().tolist()), np.int64)
    if op == "Slice" and place == 3:
        return np.array([PLACE[axis % 4] for axis in value.ravel().tolist()], np.int64)
    if op == "Pad" and place == 1:
        return np.concatenate([value[:4][list(TO_LAST)], value[4:][list(TO_LAST)]])
    if op in ELEMENTWISE or op == "Concat":
        return (
            value
            if value.size == 1
            else value.reshape((1,) * (4 - value.ndim) + value.shape).transpose(TO_LAST)
        )
    return value


def merge_transposes(editor: GraphEditor) -> None:
    """Two transposes in a row become one, or none where the second undoes the first; in place."""
    import onnx

    makers = editor.makers()
    replaced: dict[str, str] = {}

    def merged(node: onnx.NodeProto) -> list[onnx.NodeProto]:
        for place, name in enumerate(node.input):
            node.input[place] = replaced.get(name, name)
        before = makers.get(node.input[0]) if node.op_type == "Transpose" else None
        if before is None or before.op_type != "Transpose":
            return [node]
        inner, outer = (order_of(editor, turn) for turn in (before, node))
        order = [inner[axis] for axis in outer]
        if list(order) == sorted(order) and node.output[0] not in editor.outputs:
            replaced[node.output[0]] = before.input[0]
            return []
        node.input[0] = before.input[0]
        del node.attribute[:]
        node.attribute.append(onnx.helper.make_attribute("perm", order))
        return [node]

    editor.rewrite(merged)
    drop_unused(editor.graph)
