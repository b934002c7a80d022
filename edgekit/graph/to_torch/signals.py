"""Signals [N, C, L] in an ONNX graph as images one pixel high, [N, C, 1, L].

Converters know two-dimensional operations best, and lay out only images. A signal stays an image for as long as
its operations allow; what knows no images gets the signal back by a reshape.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit.graph.to_torch.editing import GraphEditor, attributes_of
from edgekit.graph.to_torch.layout import CARRIERS, images_of
from edgekit.graph.to_torch.sinking import REDUCTIONS

if TYPE_CHECKING:
    import onnx
    from numpy.typing import NDArray

__all__ = ["signals_as_images"]

SOURCES = frozenset(
    {
        *("AveragePool", "BatchNormalization", "Conv", "ConvTranspose", "GlobalAveragePool", "GlobalMaxPool"),
        *("InstanceNormalization", "MaxPool", "Resize", "Upsample"),
    }
)
"""Where signals are taken and given by definition."""

SHAPERS = frozenset({"Flatten", "Reshape", "Squeeze", "Unsqueeze"})
"""They read an image as they read the signal: the values lie in the same order."""

AXIS = {0: 0, 1: 1, 2: 3}
WINDOWS = {"kernel_shape": 1, "strides": 1, "dilations": 1, "output_padding": 0, "output_shape": 1}
"""Attribute → its value along the axis of height 1."""


def signals_as_images(model: onnx.ModelProto) -> dict[str, str]:
    """Every operation on signals over images one pixel high, in place. Gives signal → its image."""
    editor = GraphEditor(model)
    lifting = _Lifting(editor, _signals(editor))
    editor.rewrite(lifting.rewritten)
    lifting.give_back()
    return lifting.images


def _is_signal(editor: GraphEditor, name: str) -> bool:
    return name not in editor.constants and len(editor.shapes.get(name, ())) == 3


def _signals(editor: GraphEditor) -> frozenset[str]:
    """Tensors [N, C, L] that some operation takes or gives as signals, and what is computed with them."""
    signals: set[str] = set()
    images = images_of(editor)
    for node in editor.graph.node:
        if node.op_type in SOURCES and _liftable(editor, node):
            names = (node.input[0], *node.output)
        elif node.op_type in SHAPERS and node.input[0] in images and _joins_pixels(editor, node):
            names = (node.output[0],)
        else:
            continue
        signals |= {name for name in names if _is_signal(editor, name)}
    carriers = [node for node in editor.graph.node if node.op_type in CARRIERS and _liftable(editor, node)]
    before = -1
    while before != len(signals):
        before = len(signals)
        for node in (*carriers, *reversed(carriers)):
            tensors = [name for name in (*node.input, *node.output) if _is_signal(editor, name)]
            if any(name in signals for name in tensors):
                signals.update(tensors)
    return frozenset(signals)


def _joins_pixels(editor: GraphEditor, node: onnx.NodeProto) -> bool:
    """[N, C, H, W] → [N, C, HW]."""
    shape = editor.shapes[node.input[0]]
    return editor.shapes.get(node.output[0]) == (*shape[:2], shape[2] * shape[3])


def _liftable(editor: GraphEditor, node: onnx.NodeProto) -> bool:
    """Whether a node on tensors of three axes can be one on four."""
    if node.op_type == "InstanceNormalization":  # between reshapes it is a group normalization
        makers = editor.makers()
        maker = makers.get(node.input[0])
        return maker is None or maker.op_type != "Reshape"
    tensors = [name for name in (*node.input, *node.output) if name and name not in editor.constants]
    ranks = {len(editor.shapes.get(name, (0,) * 9)) for name in tensors}
    stored = [name for name in node.input[1:] if name in editor.constants]
    if node.op_type in REDUCTIONS:
        return ranks <= {2, 3} and _reduced(editor, node) is not None
    if node.op_type in ("Slice", "Pad", "Split", "Resize", "Upsample"):
        return ranks == {3} and len(stored) == len([name for name in node.input[1:] if name])
    return ranks <= {0, 3}


def _reduced(editor: GraphEditor, node: onnx.NodeProto) -> list[int] | None:
    """The axes of a reduction that stays within images one pixel high, or gives [N, C]; None for others."""
    settings = attributes_of(node)
    if len(node.input) > 1 and node.input[1] not in editor.constants:
        return None
    given = editor.constants[node.input[1]].tolist() if len(node.input) > 1 else settings.get("axes")
    axes = sorted(axis % 3 for axis in given) if given else []
    keeps = settings.get("keepdims", 1)
    return axes if axes == [2] or (axes in ([1], [1, 2]) and keeps) else None


class _Lifting:
    """`images`: signal → its image. A graph's own inputs and outputs keep their form."""

    def __init__(self, editor: GraphEditor, signals: frozenset[str]) -> None:
        self.editor = editor
        self.images = {name: f"{name}/image" for name in sorted(signals)}
        for name, image in self.images.items():
            count, channels, length = editor.shapes[name]
            editor.declare(image, (count, channels, 1, length), name)
        self.made = {name for node in editor.graph.node for name in node.output}
        self.given_back: set[str] = set()

    def rewritten(self, node: onnx.NodeProto) -> list[onnx.NodeProto]:
        """What stands for `node`; a signal that comes from outside is made an image before its first reader."""
        touched = [name for name in (*node.input, *node.output) if name in self.images]
        if not touched:
            return [node]
        nodes = []
        for name in dict.fromkeys(node.input):
            if name in self.images and name not in self.made:
                nodes.append(
                    self.editor.reshape(name, self.editor.shapes[self.images[name]], self.images[name])
                )
                self.made.add(name)
        if node.op_type in SHAPERS:
            nodes.append(self._shaper(node))
        elif node.op_type in SOURCES | CARRIERS and _liftable(self.editor, node):
            nodes.append(self._lifted(node))
        elif node.op_type == "Gather" and self._takes_one_place(node):
            nodes += self._one_place(node)
        else:
            self._plain(node, nodes)
        return nodes

    def give_back(self) -> None:
        """Graph outputs in their own form."""
        for name in sorted(self.editor.outputs & set(self.images) - self.given_back):
            self.editor.graph.node.append(self._signal_of(name))

    def _signal_of(self, name: str) -> onnx.NodeProto:
        self.given_back.add(name)
        return self.editor.reshape(self.images[name], self.editor.shapes[name], name)

    def _plain(self, node: onnx.NodeProto, nodes: list[onnx.NodeProto]) -> None:
        """A node that stays as it is: it reads signals, and what it gives is made an image."""
        for name in dict.fromkeys(node.input):
            if name in self.images and name not in self.given_back and self._is_computed(name):
                nodes.append(self._signal_of(name))
        nodes.append(node)
        for name in node.output:
            if name in self.images:
                shape = self.editor.shapes[self.images[name]]
                nodes.append(self.editor.reshape(name, shape, self.images[name]))
                self.given_back.add(name)

    def _is_computed(self, name: str) -> bool:
        return name not in {port.name for port in self.editor.graph.input}

    def _shaper(self, node: onnx.NodeProto) -> onnx.NodeProto:
        """A reshape from or to a signal: from or to its image."""
        result = self.images.get(node.output[0], node.output[0])
        source = self.images.get(node.input[0], node.input[0])
        made = self.editor.reshape(source, self.editor.shapes[result], result)
        made.name = node.name
        return made

    def _lifted(self, node: onnx.NodeProto) -> onnx.NodeProto:
        """The node over four axes."""
        from onnx import helper

        settings = attributes_of(node)
        inputs = [self.images.get(name, name) for name in node.input]
        for place, name in enumerate(node.input):
            if place and name in self.editor.constants:
                inputs[place] = self._constant(node, place, name)
        if node.input[0] in self.editor.constants:
            inputs[0] = self._constant(node, 0, node.input[0])
        for key, along_height in WINDOWS.items():
            if key in settings:
                settings[key] = [along_height, *settings[key]]
        if "pads" in settings:
            half = len(settings["pads"]) // 2
            before, after = settings["pads"][:half], settings["pads"][half:]
            settings["pads"] = (
                [0, *before, 0, *after]
                if half == 1
                else [*before[:2], 0, *before[2:], *after[:2], 0, *after[2:]]
            )
        if "axis" in settings or node.op_type in ("Softmax", "LogSoftmax"):
            default = -1 if node.op_type in ("Softmax", "LogSoftmax") and self.editor.opset >= 13 else 1
            settings["axis"] = AXIS[settings.get("axis", default) % 3]
        if "axes" in settings:
            settings["axes"] = self._axes(node, settings["axes"])
        if "scales" in settings:
            settings["scales"] = [*settings["scales"][:2], 1.0, *settings["scales"][2:]]
        outputs = [self.images.get(name, name) for name in node.output]
        return helper.make_node(node.op_type, inputs, outputs, name=node.name, **settings)

    def _axes(self, node: onnx.NodeProto, axes: Sequence[int]) -> list[int]:
        """A mean over the length is one over the image, which converters know."""
        moved = sorted(AXIS[axis % 3] for axis in axes)
        return [2, *moved] if node.op_type in REDUCTIONS and moved == [3] else moved

    def _constant(self, node: onnx.NodeProto, place: int, name: str) -> str:
        """A constant input in the form that four axes want."""
        value = self.editor.constants[name]
        lifted = self._form(node, place, value)
        if lifted is value:
            return name
        return self.editor.constant(f"{node.output[0]}/input_{place}", lifted)

    def _form(self, node: onnx.NodeProto, place: int, value: NDArray[Any]) -> NDArray[Any]:
        op = node.op_type
        if op in ("Conv", "ConvTranspose"):
            return value[:, :, None] if place == 1 else value
        if op in ("BatchNormalization", "InstanceNormalization"):
            return value
        if op in ("Resize", "Upsample"):
            return np.insert(value, 2, 1) if value.size == 3 else value
        if op in REDUCTIONS or (op, place) in (("Slice", 3), ("Pad", 3)):
            axes = value.ravel().tolist()
            return np.array(
                self._axes(node, axes) if op in REDUCTIONS else [AXIS[a % 3] for a in axes], np.int64
            )
        if op == "Pad" and place == 1:
            has_axes = len(node.input) > 3 and node.input[3]
            return value if has_axes else np.insert(value, (2, 5), 0)
        if op in ("Pad", "Slice", "Split", "Clip"):
            return value
        return np.expand_dims(value, value.ndim - 1) if value.ndim > 1 else value

    def _takes_one_place(self, node: onnx.NodeProto) -> bool:
        axis = attributes_of(node).get("axis", 0) % 3
        index = self.editor.constants.get(node.input[1])
        return node.input[0] in self.images and axis == 2 and index is not None and index.ndim == 0

    def _one_place(self, node: onnx.NodeProto) -> list[onnx.NodeProto]:
        """x[:, :, i] as a slice of the image and a reshape, which moves nothing."""
        from onnx import helper

        source = self.images[node.input[0]]
        count, channels, _, length = self.editor.shapes[source]
        place = int(self.editor.constants[node.input[1]]) % length
        cut = self.editor.declare(f"{node.output[0]}/place", (count, channels, 1, 1), node.input[0])
        bounds = [
            self.editor.constant(f"{cut}/{what}", np.array([value], np.int64))
            for what, value in (("start", place), ("end", place + 1), ("axis", 3))
        ]
        slicing = helper.make_node("Slice", [source, *bounds], [cut], name=node.name)
        return [slicing, self.editor.reshape(cut, (count, channels), node.output[0])]
