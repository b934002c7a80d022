"""Images in an ONNX graph, and what is written otherwise so that they can lie with their channels last.

A converter that lays images out as [N, H, W, C] turns them where an operation counts on [N, C, H, W]. Most such
operations say the same of the turned image: what is left to turn is the network's own.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

from edgekit.graph.to_torch.editing import (
    TO_FIRST,
    TO_LAST,
    GraphEditor,
    attributes_of,
)
from edgekit.graph.to_torch.sinking import ELEMENTWISE, REDUCTIONS, merge_transposes, sink_transposes

if TYPE_CHECKING:
    import onnx

__all__ = ["CARRIERS", "channels_last", "images_of", "layout_cost"]

IMAGE_OPS = frozenset(
    {
        *("AveragePool", "BatchNormalization", "Conv", "ConvTranspose", "DepthToSpace", "GlobalAveragePool"),
        *("GlobalMaxPool", "InstanceNormalization", "MaxPool", "Resize", "SpaceToDepth", "Upsample"),
    }
)
"""They have channels as their second axis, by definition."""

CARRIERS = (
    ELEMENTWISE
    | REDUCTIONS
    | {"Concat", "Dropout", "Identity", "LogSoftmax", "PRelu", "Pad", "Slice", "Softmax", "Split"}
)
"""They compute with any layout: an image stays one."""

ARITHMETIC = frozenset({"Add", "Div", "Max", "Min", "Mul", "Pow", "Sub", "Where"})
RESHAPES = frozenset({"Flatten", "Reshape", "Squeeze", "Unsqueeze"})
TURNED_ALONG = frozenset({"LogSoftmax", "Softmax"})
"""They work along one axis, which is best the last."""

UNKNOWN_TO_CONVERTER = frozenset({"Cast", "Celu", "Elu", "Mish", "Selu", "Softsign"})
"""Elementwise, but litert-torch 0.10 does not let them read channels last."""


def images_of(editor: GraphEditor, known: Iterable[str] = ()) -> frozenset[str]:
    """Tensors [N, C, H, W] that some operation takes or gives as images; `known` are such."""
    images = set(known)
    for node in editor.graph.node:
        if node.op_type in IMAGE_OPS:
            images |= {name for name in (node.input[0], *node.output) if _four_axes(editor, name)}
    carriers = [node for node in editor.graph.node if node.op_type in CARRIERS]
    before = -1
    while before != len(images):
        before = len(images)
        for node in (*carriers, *reversed(carriers)):
            tensors = [name for name in (*node.input, *node.output) if _four_axes(editor, name)]
            if any(name in images for name in tensors):
                images.update(tensors)
    return frozenset(images)


def _four_axes(editor: GraphEditor, name: str) -> bool:
    return name not in editor.constants and len(editor.shapes.get(name, ())) == 4


def channels_last(model: onnx.ModelProto, known: Iterable[str]) -> frozenset[str]:
    """Operations on images that would need channels first, written so that they take them last; in place.

    `known` are images of which the graph does not tell. Gives all of them.
    """
    editor = GraphEditor(model)
    images = images_of(editor, known)
    editor.rewrite(partial(_spread, editor, editor.readers()))
    editor.rewrite(partial(_turn_along, editor, images))
    editor.rewrite(partial(_reshape, editor, images))
    sink_transposes(editor, images)
    merge_transposes(editor)
    return images


def layout_cost(model: onnx.ModelProto, images: frozenset[str], signals: frozenset[str]) -> int:
    """How many layout operations a network of `channels_last` needs of itself when `images` have channels last, and
    `signals` among its inputs and outputs too.

    One for each transpose that does not merely give an image, or take one, as it lies; up to three for an einsum,
    which turns its operands and its result as its equation says; and what an operation that knows no images
    needs: one for each of them that it takes or gives.
    """
    editor = GraphEditor(model)
    known = IMAGE_OPS | CARRIERS | {"Transpose", "ArgMax", "ArgMin"}
    count = 0
    for node in editor.graph.node:
        touched = {name for name in (*node.input, *node.output) if name in images}
        if node.op_type == "Transpose":
            count += not _is_free(node, images, signals)
        elif node.op_type == "Einsum":
            count += len(node.input) + 1
        elif node.op_type not in known:
            count += len([name for name in touched if _has_pixels(editor.shapes[name])])
    return count


def _is_free(node: onnx.NodeProto, images: frozenset[str], signals: frozenset[str]) -> bool:
    """Whether a transpose says only how an image or a signal lies."""
    order = tuple(attributes_of(node).get("perm", ()))
    taken, given = node.input[0], node.output[0]
    return (
        (taken in images and order == TO_LAST)
        or (given in images and order == TO_FIRST)
        or (order == (0, 2, 1) and (taken in signals or given in signals))
    )


def _has_pixels(shape: Sequence[int]) -> bool:
    """Whether the order of channels and pixels makes a difference."""
    return shape[1] > 1 and math.prod(shape[2:]) > 1


def _spread(
    editor: GraphEditor, readers: Mapping[str, list[onnx.NodeProto]], node: onnx.NodeProto
) -> list[onnx.NodeProto]:
    """DepthToSpace and SpaceToDepth as what they are: a reshape, a transpose, a reshape; Expand as nothing, where what
    reads it broadcasts."""
    if node.op_type == "Expand" and _needless(editor, readers, node):
        return []
    if node.op_type not in ("DepthToSpace", "SpaceToDepth") or not _known(editor, node):
        return [node]
    settings = attributes_of(node)
    block = settings["blocksize"]
    count, channels, height, width = editor.shapes[node.input[0]]
    if node.op_type == "SpaceToDepth":
        split: tuple[int, ...] = (count, channels, height // block, block, width // block, block)
        order: tuple[int, ...] = (0, 3, 5, 1, 2, 4)
    elif settings.get("mode", b"DCR") == b"CRD":
        split, order = (count, channels // block**2, block, block, height, width), (0, 1, 4, 2, 5, 3)
    else:
        split, order = (count, block, block, channels // block**2, height, width), (0, 3, 4, 1, 5, 2)
    first = editor.reshape(node.input[0], split)
    turn = editor.transpose(first.output[0], order)
    last = editor.reshape(turn.output[0], editor.shapes[node.output[0]], node.output[0])
    last.name = node.name
    return [first, turn, last]


def _needless(editor: GraphEditor, readers: Mapping[str, list[onnx.NodeProto]], node: onnx.NodeProto) -> bool:
    """Whether all that reads an Expand would broadcast as far by itself; those then read what it expands."""
    wide = editor.shapes.get(node.output[0])
    after = readers[node.output[0]]
    for reader in after:
        others = [editor.shapes.get(name) for name in reader.input if name != node.output[0]]
        if reader.op_type not in ARITHMETIC or wide not in others:
            return False
    if not after or node.output[0] in editor.outputs:
        return False
    for reader in after:
        for place, name in enumerate(reader.input):
            if name == node.output[0]:
                reader.input[place] = node.input[0]
    return True


def _known(editor: GraphEditor, node: onnx.NodeProto) -> bool:
    return all(name in editor.shapes for name in (node.input[0], *node.output))


def _turn_along(editor: GraphEditor, images: frozenset[str], node: onnx.NodeProto) -> list[onnx.NodeProto]:
    """Work along an image's channels, and elementwise work that the converter cannot place: on the turned image."""
    from onnx import helper

    if node.input[:1] == [] or node.input[0] not in images or not _known(editor, node):
        return [node]
    settings = attributes_of(node)
    axis = settings.get("axis", 1 if editor.opset < 13 else -1) % 4
    softmax = node.op_type in TURNED_ALONG and axis == 1 and editor.opset >= 13
    turn = editor.transpose(node.input[0], TO_LAST)
    if softmax or node.op_type in UNKNOWN_TO_CONVERTER:
        shape = editor.shapes[turn.output[0]]
        middle = editor.declare(f"{node.output[0]}/last", shape, node.output[0])
        made = helper.make_node(node.op_type, [turn.output[0]], [middle], name=node.name,
                                **({"axis": 3} if softmax else settings))  # fmt: skip
        made.name = middle
        back = editor.transpose(middle, TO_FIRST, node.output[0])
        back.name = node.name
        return [turn, made, back]
    if node.op_type in ("ArgMax", "ArgMin") and settings.get("axis", 0) % 4 == 1:
        count, _, height, width = editor.shapes[node.input[0]]
        keep = settings.get("keepdims", 1)
        plain = {**settings, "axis": 3, "keepdims": 0}
        middle = editor.declare(f"{node.output[0]}/last", (count, height, width), node.output[0])
        made = helper.make_node(node.op_type, [turn.output[0]], [middle if keep else node.output[0]],
                                name=node.name, **plain)  # fmt: skip
        if not keep:
            return [turn, made]
        return [turn, made, editor.reshape(middle, (count, 1, height, width), node.output[0])]
    return [node]


def _reshape(editor: GraphEditor, images: frozenset[str], node: onnx.NodeProto) -> list[onnx.NodeProto]:
    """A reshape that keeps channels and pixels apart, between an image and something else: on turned tensors."""
    if node.op_type not in RESHAPES or not _known(editor, node):
        return [node]
    taken, given = node.input[0], node.output[0]
    before, after = editor.shapes[taken], editor.shapes[given]
    cuts: tuple[int | None, int | None]
    if taken in images:
        cuts = 2, _cut(after, before[1])
    elif given in images:
        cuts = _cut(before, after[1]), 2
    else:
        return [node]
    here, there = cuts
    if here is None or there is None or before[:1] != (1,):
        return [node]
    first = _rotation(len(before), 1, here)
    lead = 1 if after[:1] == (1,) else 0
    middle = (*after[:lead], *after[there:], *after[lead:there])
    last = _rotation(len(after), lead, lead + len(after) - there)
    nodes, source = [], taken
    if not _in_order(first):
        nodes.append(editor.transpose(source, first))
        source = nodes[-1].output[0]
    turned = not _in_order(last)
    nodes.append(editor.reshape(source, middle, "" if turned else given))
    if turned:
        nodes.append(editor.transpose(nodes[-1].output[0], last, given))
    nodes[-1].name = node.name
    return nodes


def _cut(shape: Sequence[int], channels: int) -> int | None:
    """How many axes hold the channels, the batch of 1 included; None where channels and pixels are mixed."""
    start = 1 if shape[:1] == (1,) else 0
    for end in range(start + 1 if channels > 1 else start, len(shape) + 1):
        if math.prod(shape[:end]) == channels:
            return end
    return None


def _rotation(rank: int, lead: int, cut: int) -> tuple[int, ...]:
    """The order that puts the axes from `lead` to `cut` behind the rest."""
    return (*range(lead), *range(cut, rank), *range(lead, cut))


def _in_order(order: Sequence[int]) -> bool:
    return list(order) == sorted(order)
