"""An ONNX graph made ready for conversion: constants folded, shapes static, patterns named by one operator."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit.errors import MissingExtraError
from edgekit.graph.proto import read_model, simplify
from edgekit.graph.sizes import fix_sizes
from edgekit.graph.to_torch.editing import GraphEditor, constants_of, shapes_of
from edgekit.graph.to_torch.layout import channels_last, images_of, layout_cost
from edgekit.graph.to_torch.norms import norms_channels_last
from edgekit.graph.to_torch.shortcut import shortcuts_as_convolutions
from edgekit.graph.to_torch.shuffle import picks_as_convolutions
from edgekit.graph.to_torch.signals import signals_as_images

if TYPE_CHECKING:
    import onnx

__all__ = ["ReadyGraph", "ready_graph"]

FOLDABLE = frozenset({"Constant", "ConstantOfShape", "Identity", "Shape", "Size", "Range", "NonZero"})
"""Operators that a simplified graph is free of."""

GELU_ONE, GELU_HALF, SQRT_TWO = 1.0, 0.5, 2.0**0.5


@dataclass(frozen=True)
class ReadyGraph:
    """`images` [N, C, H, W] are best laid out with channels last, and so are `signals` [N, C, L] among the inputs and
    outputs."""

    model: onnx.ModelProto
    images: frozenset[str]
    signals: frozenset[str]

    @property
    def layout_cost(self) -> int:
        """How many layout operations the network needs of itself."""
        return layout_cost(self.model, self.images, self.signals)


def ready_graph(path: Path) -> ReadyGraph:
    """The network of the file, batch 1, every node named, images as channels-last has them.

    Raises ModelError for what is no ONNX file or has dynamic shapes beside the batch.
    """
    import onnx

    model = read_model(path)
    changed = fix_sizes(model, path.name)
    listed = {port.name for port in model.graph.initializer} & {port.name for port in model.graph.input}
    unnamed = any(not node.name for node in model.graph.node)
    foldable = any(node.op_type in FOLDABLE for node in model.graph.node)
    if changed or listed or unnamed or foldable:
        model = simplify(model)
    try:
        model = onnx.shape_inference.infer_shapes(model, data_prop=True)
    except (onnx.shape_inference.InferenceError, RuntimeError):
        return ReadyGraph(model, frozenset(), frozenset())  # what has no shape is refused by name
    _name_gelu(model)
    picks_as_convolutions(model, constants_of(model), shapes_of(model))
    shortcuts_as_convolutions(model, constants_of(model), shapes_of(model))
    signals = signals_as_images(model)
    normalized = norms_channels_last(model)
    known = frozenset((*signals.values(), *normalized))
    _flatten_channels_last(model, images_of(GraphEditor(model), known))
    images = channels_last(model, known)
    ports = {port.name for port in (*model.graph.input, *model.graph.output)}
    return ReadyGraph(model, images, frozenset(signals) & ports)


def _consumers(graph: onnx.GraphProto) -> dict[str, list[onnx.NodeProto]]:
    """Tensor → nodes that read it; graph outputs count as read by None's stand-in, an empty node list entry."""
    readers: dict[str, list[onnx.NodeProto]] = defaultdict(list)
    for node in graph.node:
        for name in node.input:
            readers[name].append(node)
    return readers


def _name_gelu(model: onnx.ModelProto) -> None:
    """x · ½ · (1 + erf(x / √2)), as exporters below opset 20 write it, becomes Gelu, in place.

    Only that exact chain is taken: Div or Mul by a constant, Erf, Add 1, Mul by x, Mul by ½ (in either order).
    """
    if not any(node.op_type == "Erf" for node in model.graph.node):
        return
    try:
        import onnx_ir
        from onnxscript.rewriter import RewriteRule, RewriteRuleSet
    except ModuleNotFoundError as problem:
        raise MissingExtraError("onnxscript", "tflite") from problem

    def form(scaling: str, half_first: bool) -> Callable[..., Any]:
        def pattern(op: Any, x: Any, root: Any, unit: Any, half: Any) -> Any:
            gate = op.Add(op.Erf(getattr(op, scaling)(x, root)), unit)
            if half_first:
                return op.Mul(op.Mul(x, half), gate, _outputs=["y"])
            return op.Mul(op.Mul(x, gate), half, _outputs=["y"])

        return pattern

    def fits(scale: float) -> Callable[..., bool]:
        def check(context: Any, x: Any, root: Any, unit: Any, half: Any, y: Any) -> bool:
            values = [value.const_value for value in (root, unit, half)]
            return all(
                value is not None and value.size == 1 and abs(value.numpy().item() - wanted) < 1e-3 * wanted
                for value, wanted in zip(values, (scale, GELU_ONE, GELU_HALF), strict=True)
            )

        return check

    def gelu(op: Any, x: Any, y: Any, **constants: Any) -> Any:
        return op.Gelu(x, _name=y.producer().name)

    rules = [
        RewriteRule(form(scaling, half_first), gelu, fits(scale))
        for scaling, scale in (("Div", SQRT_TWO), ("Mul", 1 / SQRT_TWO))
        for half_first in (False, True)
    ]
    graph = onnx_ir.from_proto(model)
    if RewriteRuleSet(rules, commute=True).apply_to_model(graph):
        model.CopyFrom(onnx_ir.to_proto(graph))


def _flatten_channels_last(model: onnx.ModelProto, images: frozenset[str]) -> None:
    """One of `images` [1, C, H, W] flattened into a constant matrix product: flattened as [1, H, W, C], rows reordered;
    in place.

    A runtime with channels last would else transpose the image first.
    """
    import onnx
    from onnx import helper, numpy_helper

    graph, constants, shapes = model.graph, constants_of(model), shapes_of(model)
    readers = _consumers(graph)
    outputs = {port.name for port in graph.output}
    initializers = {tensor.name: tensor for tensor in graph.initializer}
    for node in list(graph.node):
        if node.op_type not in ("Flatten", "Reshape") or node.output[0] in outputs:
            continue
        shape, flat = shapes.get(node.input[0], ()), shapes.get(node.output[0], ())
        after = readers[node.output[0]]
        if (
            node.input[0] not in images
            or flat != (1, int(np.prod(shape[1:])))
            or shape[2] * shape[3] == 1
            or len(after) != 1
        ):
            continue
        product = after[0]
        fits = product.op_type in ("Gemm", "MatMul") and product.input[0] == node.output[0]
        attributes = {attribute.name: attribute.i for attribute in product.attribute}
        if not fits or product.input[1] not in constants or attributes.get("transA"):
            continue
        if len(readers[product.input[1]]) != 1:
            continue
        order = np.arange(flat[1]).reshape(shape[1:]).transpose(1, 2, 0).ravel()
        weight = constants[product.input[1]]
        moved = weight[:, order] if attributes.get("transB") else weight[order]
        initializers[product.input[1]].CopyFrom(
            numpy_helper.from_array(np.ascontiguousarray(moved), product.input[1])
        )
        turned = f"{node.output[0]}/channels_last"
        turn = helper.make_node("Transpose", [node.input[0]], [turned], name=f"{node.name}/channels_last",
                                perm=[0, 2, 3, 1])  # fmt: skip
        graph.node.insert(list(graph.node).index(node), turn)
        node.input[0] = turned
        info = helper.make_tensor_value_info(
            turned, onnx.TensorProto.FLOAT, [shape[0], shape[2], shape[3], shape[1]]
        )
        graph.value_info.append(info)
