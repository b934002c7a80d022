"""Channel shuffles and the like in an ONNX graph: chains of reshapes and transposes that only pick channels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit.graph.to_torch.editing import drop_unused

if TYPE_CHECKING:
    import onnx
    from numpy.typing import NDArray

__all__ = ["picks_as_convolutions"]

MOVES = frozenset({"Gather", "Reshape", "Transpose"})
LONGEST = 6  # nodes in such a chain: two reshapes, a transpose and a gather in ShuffleNet V2


def picks_as_convolutions(
    model: onnx.ModelProto, constants: Mapping[str, NDArray[Any]], shapes: Mapping[str, tuple[int, ...]]
) -> None:
    """Chains with a Transpose that leave images whole and only pick channels become 1×1 convolutions, in place.

    With channels last, each reshape that splits the channels would cost transposes of five axes. A convolution
    with ones and zeros computes the same numbers. Which channels a chain picks is found by running it on numbers
    that tell where they come from.
    """
    from onnx import helper, numpy_helper

    graph = model.graph
    makers = {name: node for node in graph.node for name in node.output}
    for last in list(graph.node):
        shape = shapes.get(last.output[0], ())
        if last.op_type not in MOVES or len(shape) != 4:
            continue
        chain = _chain(last, makers, constants, shapes, shape)
        picked = _picked(chain, constants, shapes) if chain else None
        if picked is None:
            continue
        source = chain[0].input[0]
        weight = np.zeros((shape[1], shapes[source][1], 1, 1), np.float32)
        weight[np.arange(shape[1]), picked] = 1.0
        name = f"{last.output[0]}/picks"
        graph.initializer.append(numpy_helper.from_array(weight, name))
        made = helper.make_node("Conv", [source, name], [last.output[0]], name=last.name, kernel_shape=[1, 1])
        graph.node.insert(list(graph.node).index(last), made)
        graph.node.remove(last)
        makers[last.output[0]] = made
    drop_unused(graph)


def _chain(
    last: onnx.NodeProto,
    makers: Mapping[str, onnx.NodeProto],
    constants: Mapping[str, NDArray[Any]],
    shapes: Mapping[str, tuple[int, ...]],
    shape: tuple[int, ...],
) -> list[onnx.NodeProto]:
    """The nodes from an image of the same size to `last`, with a Transpose among them; empty if there are none."""
    chain: list[onnx.NodeProto] = []
    node: onnx.NodeProto | None = last
    while node is not None and node.op_type in MOVES and len(chain) < LONGEST:
        if len(node.input) > 1 and node.input[1] not in constants:
            return []
        chain.insert(0, node)
        before = shapes.get(node.input[0], ())
        turned = any(link.op_type == "Transpose" for link in chain)
        if turned and len(before) == 4 and before[0] == 1 and before[2:] == shape[2:]:
            return chain
        node = makers.get(node.input[0])
    return []


def _picked(
    chain: list[onnx.NodeProto], constants: Mapping[str, NDArray[Any]], shapes: Mapping[str, tuple[int, ...]]
) -> NDArray[np.int64] | None:
    """Which channel of the source each result's channel is; None where pixels move too."""
    source, result = shapes[chain[0].input[0]], shapes[chain[-1].output[0]]
    values = np.arange(np.prod(source), dtype=np.int64).reshape(source)
    for node in chain:
        attributes = {attribute.name: attribute for attribute in node.attribute}
        if node.op_type == "Reshape":
            values = values.reshape(shapes[node.output[0]])
        elif node.op_type == "Transpose":
            values = values.transpose(list(attributes["perm"].ints) if "perm" in attributes else None)
        else:
            axis = attributes["axis"].i if "axis" in attributes else 0
            values = np.take(values, constants[node.input[1]], axis)
    pixels = source[2] * source[3]
    picked = values.reshape(result[1], pixels)[:, 0] // pixels
    whole = picked[:, None] * pixels + np.arange(pixels)
    return picked if (values.reshape(result[1], pixels) == whole).all() else None
