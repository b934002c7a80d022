"""Instance and group normalization of images, in elementary steps over the image with channels last."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit.graph.to_torch.editing import TO_FIRST, TO_LAST, GraphEditor, attributes_of, drop_unused

if TYPE_CHECKING:
    import onnx

__all__ = ["norms_channels_last"]


def norms_channels_last(model: onnx.ModelProto) -> frozenset[str]:
    """InstanceNormalization of [N, C, H, W], and of [N, groups, rest] between two reshapes of such an image, which
    is how exporters write group normalization; in place. Gives the images that were normalized, before and after."""
    editor, images = GraphEditor(model), set[str]()
    editor.rewrite(partial(_normalized, editor, editor.makers(), editor.readers(), images))
    drop_unused(editor.graph)
    return frozenset(images)


def _normalized(
    editor: GraphEditor,
    makers: dict[str, onnx.NodeProto],
    readers: dict[str, list[onnx.NodeProto]],
    images: set[str],
    node: onnx.NodeProto,
) -> list[onnx.NodeProto]:
    if node.op_type != "InstanceNormalization" or any(
        name not in editor.constants for name in node.input[1:]
    ):
        return [node]
    shape = editor.shapes.get(node.input[0], ())
    if len(shape) == 4:
        images |= {node.input[0], node.output[0]}
        return _steps(editor, node, node.input[0], node.output[0], 0)
    before, after = makers.get(node.input[0]), readers[node.output[0]]
    if len(shape) != 3 or before is None or before.op_type != "Reshape" or len(after) != 1:
        return [node]
    image, result = before.input[0], after[0].output[0]
    whole = editor.shapes.get(image, ())
    back = after[0].op_type == "Reshape" and editor.shapes.get(result) == whole
    if not back or len(whole) != 4 or node.output[0] in editor.outputs or whole[1] % shape[1]:
        return [node]
    after[0].output[0] = f"{result}/unread"
    images |= {image, result}
    return _steps(editor, node, image, result, shape[1])


def _steps(
    editor: GraphEditor, node: onnx.NodeProto, image: str, result: str, groups: int
) -> list[onnx.NodeProto]:
    """(x - mean) / sqrt(variance + epsilon) * scale + shift, per channel, or per group of channels."""
    from onnx import helper

    count, channels, height, width = editor.shapes[image]
    turn = editor.transpose(image, TO_LAST)
    nodes, source = [turn], turn.output[0]
    axes, wide, form = [1, 2], (count, height, width, channels), [channels]
    if groups:
        axes, wide, form = [1, 3], (count, height * width, groups, channels // groups), [groups, 1]
        nodes.append(editor.reshape(source, wide))
        source = nodes[-1].output[0]
    small = tuple(1 if axis in axes else size for axis, size in enumerate(wide))

    def step(op: str, inputs: Sequence[str], shape: Sequence[int], **settings: Any) -> str:
        name = editor.declare(f"{node.output[0]}/{op.lower()}_{len(nodes)}", shape, image)
        nodes.append(helper.make_node(op, list(inputs), [name], name=name, **settings))
        return name

    def mean(value: str) -> str:
        if editor.opset < 18:
            return step("ReduceMean", [value], small, axes=axes, keepdims=1)
        places = editor.constant(f"{value}/axes", np.array(axes, np.int64))
        return step("ReduceMean", [value, places], small, keepdims=1)

    def stored(what: str, value: Any, shape: Sequence[int]) -> str:
        return editor.constant(f"{node.output[0]}/{what}", np.asarray(value, np.float32).reshape(shape))

    centred = step("Sub", [source, mean(source)], wide)
    variance = mean(step("Mul", [centred, centred], wide))
    epsilon = stored("epsilon", attributes_of(node).get("epsilon", 1e-5), ())
    deviation = step("Sqrt", [step("Add", [variance, epsilon], small)], small)
    scale, shift = (editor.constants[name] for name in node.input[1:3])
    factor = step("Div", [stored("scale", scale, form), deviation], small)
    value = step("Mul", [centred, factor], wide)
    if np.any(shift):
        value = step("Add", [value, stored("shift", shift, form)], wide)
    if groups:
        nodes.append(editor.reshape(value, (count, height, width, channels)))
        value = nodes[-1].output[0]
    back = editor.transpose(value, TO_FIRST, result)
    back.name = node.name
    return [*nodes, back]
