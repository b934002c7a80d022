"""Shortcuts that take every second pixel and pad the channels, in an ONNX graph: ResNet's option A."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit.graph.proto import opset_of

if TYPE_CHECKING:
    import onnx
    from numpy.typing import NDArray

__all__ = ["shortcuts_as_convolutions"]


def shortcuts_as_convolutions(
    model: onnx.ModelProto, constants: dict[str, NDArray[Any]], shapes: dict[str, tuple[int, ...]]
) -> None:
    """Every second pixel taken, channels padded with zeros: as a 1×1 convolution with a stride, in place.

    XNNPACK has no slices with a step, so each would cut the network in two. A weight matrix of ones and zeros
    computes the same numbers at the cost of C·C' multiply-adds a pixel.
    """
    from onnx import helper, numpy_helper

    graph = model.graph
    readers: dict[str, list[onnx.NodeProto]] = defaultdict(list)
    for reader in graph.node:
        for name in reader.input:
            readers[name].append(reader)
    outputs = {port.name for port in graph.output}
    opset = opset_of(model)
    done: set[str] = set()
    for first in [node for node in graph.node if node.op_type == "Slice" and opset >= 10]:
        if first.name in done:
            continue
        chain, steps = [], {2: 1, 3: 1}
        node: onnx.NodeProto | None = first
        while node is not None and node.op_type == "Slice" and _takes_steps(node, shapes, constants, steps):
            chain.append(node)
            after = readers[node.output[0]]
            node = after[0] if len(after) == 1 and node.output[0] not in outputs else None
        if not chain or steps == {2: 1, 3: 1}:
            continue
        before, extra = 0, 0
        padding = _channel_padding(node, shapes, constants, opset) if node is not None else None
        if node is not None and padding is not None and node.input[0] == chain[-1].output[0]:
            before, extra = padding
            chain.append(node)
        done.update(link.name for link in chain)
        channels = shapes[first.input[0]][1]
        weight = np.zeros((channels + before + extra, channels, 1, 1), np.float32)
        weight[before + np.arange(channels), np.arange(channels)] = 1.0
        name = f"{chain[-1].output[0]}/ones"
        graph.initializer.append(numpy_helper.from_array(weight, name))
        made = helper.make_node("Conv", [first.input[0], name], [chain[-1].output[0]], name=chain[-1].name,
                                kernel_shape=[1, 1], strides=[steps[2], steps[3]])  # fmt: skip
        graph.node.insert(list(graph.node).index(chain[-1]), made)
        for link in chain:
            graph.node.remove(link)


def _takes_steps(
    node: onnx.NodeProto,
    shapes: dict[str, tuple[int, ...]],
    constants: dict[str, NDArray[Any]],
    steps: dict[int, int],
) -> bool:
    """Whether a Slice only takes every n-th row or column from the first on; if so its steps are noted."""
    shape = shapes.get(node.input[0], ())
    if len(shape) != 4 or any(name not in constants for name in node.input[1:] if name):
        return False
    starts, ends = (constants[name].ravel().tolist() for name in node.input[1:3])
    axes = constants[node.input[3]].ravel().tolist() if len(node.input) > 3 else list(range(len(starts)))
    strides = constants[node.input[4]].ravel().tolist() if len(node.input) > 4 else [1] * len(starts)
    strides_by_axis = {}
    for start, end, axis, step in zip(starts, ends, axes, strides, strict=True):
        size = shape[axis % 4]
        if (
            axis % 4 not in steps
            or start != 0
            or step < 1
            or len(range(*slice(0, end, step).indices(size))) != -(-size // step)
        ):
            return False
        strides_by_axis[axis % 4] = step
    for axis, step in strides_by_axis.items():
        steps[axis] *= step
    return True


def _channel_padding(
    node: onnx.NodeProto,
    shapes: dict[str, tuple[int, ...]],
    constants: dict[str, NDArray[Any]],
    opset: int,
) -> tuple[int, int] | None:
    """Zeros put before and after the channels by a Pad that pads nothing else."""
    if node.op_type != "Pad" or opset < 11 or node.input[1] not in constants or len(node.input) > 3:
        return None
    mode = next((attribute.s for attribute in node.attribute if attribute.name == "mode"), b"constant")
    value = constants.get(node.input[2]) if len(node.input) > 2 and node.input[2] else np.zeros(1)
    pads = constants[node.input[1]].ravel().tolist()
    if mode != b"constant" or value is None or float(value.ravel()[0]) != 0.0 or len(pads) != 8:
        return None
    rest = [amount for place, amount in enumerate(pads) if place not in (1, 5)]
    return (pads[1], pads[5]) if not any(rest) and min(pads) >= 0 else None
