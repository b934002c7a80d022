"""Recurrent states as PyTorch and ONNX have them, [layers, N, H], brought to samples along the first axis."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from edgekit.graph.signature import signature_of
from edgekit.types import InputShape, TensorSpec

if TYPE_CHECKING:
    import onnx

__all__ = ["sample_of_state", "turn_states"]


def turn_states(model: onnx.ModelProto, given: Iterable[InputShape]) -> bool:
    """Inputs [layers, N, ...] for which [1, layers, ...] is given take that, and are transposed within the network.

    In place; whether anything changed. What is given by position is none of these: two axes change places only where
    the input is named.
    """
    specs = {spec.name: spec for spec in signature_of(model).inputs}
    turned = [
        shape for shape in given if shape.name in specs and sample_of_state(specs[shape.name]) == shape.dims
    ]
    for shape in turned:
        _transpose(model, shape)
    return bool(turned)


def sample_of_state(spec: TensorSpec) -> tuple[int, ...] | None:
    """The shape of one sample of an input that looks like the state of several layers, samples first; else None.

    Such an input is [layers, N, ...] with more than one layer, N open or 1, and all else fixed.
    """
    if len(spec.shape) != 3:
        return None
    layers, batch, size = spec.shape
    if layers is None or layers == 1 or batch not in (None, 1) or size is None:
        return None
    return (1, layers, size)


def _transpose(model: onnx.ModelProto, shape: InputShape) -> None:
    from onnx import TensorShapeProto, helper

    (port,) = (port for port in model.graph.input if port.name == shape.name)
    inner = f"{shape.name}_layers_first"
    for node in _nodes(model.graph.node):
        for place, name in enumerate(node.input):
            if name == shape.name:
                node.input[place] = inner
    order = [1, 0, *range(2, len(shape.dims))]
    model.graph.node.insert(0, helper.make_node("Transpose", [shape.name], [inner], inner, perm=order))
    dims = [TensorShapeProto.Dimension(dim_value=size) for size in shape.dims]
    port.type.tensor_type.shape.CopyFrom(TensorShapeProto(dim=dims))


def _nodes(nodes: Sequence[onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
    """All nodes, those in branches and loops included: they see the names around them."""
    for node in nodes:
        yield node
        for attribute in node.attribute:
            for graph in (attribute.g, *attribute.graphs):
                yield from _nodes(graph.node)
