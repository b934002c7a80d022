"""Tables of which a network takes rows, as the vectors of its words; and their rows in int8."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import onnx
    from numpy.typing import NDArray

__all__ = ["look_ups", "store_rows_in_int8"]

LEAST_VALUES = 4096
"""Of a smaller table nothing is worth saving."""

LARGEST = 127


def look_ups(model: onnx.ModelProto) -> tuple[str, ...]:
    """Nodes that take rows of a stored float table [rows, width] by computed numbers, in graph order.

    That is a Gather along the first axis, of a table that only such read. Nodes must have names (`name_nodes`).
    """
    from onnx import TensorProto

    graph = model.graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    outputs = {port.name for port in graph.output}
    others: set[str] = {*outputs}
    taking: list[Any] = []
    for node in graph.node:
        table = constants.get(node.input[0]) if node.op_type == "Gather" else None
        fits = (
            table is not None
            and table.data_type == TensorProto.FLOAT
            and len(table.dims) == 2
            and table.dims[1] > 1
            and table.dims[0] * table.dims[1] >= LEAST_VALUES
            and node.input[1] not in constants
            and _axis(node) in (0, -2)
        )
        if fits:
            taking.append(node)
        else:
            others.update(node.input)
    return tuple(node.name for node in taking if node.input[0] not in others)


def store_rows_in_int8(model: onnx.ModelProto, nodes: Collection[str]) -> None:
    """The tables of these `look_ups` in int8 with a scale for each row, in place: row and scale are taken by the same
    numbers and multiplied, in operators that every opset has. The last node has the name of the Gather."""
    from onnx import TensorProto, helper, numpy_helper

    graph = model.graph
    stored = {tensor.name: tensor for tensor in graph.initializer}
    tables: dict[str, None] = {}
    made: list[Any] = []
    for node in graph.node:
        if node.name not in nodes:
            made.append(node)
            continue
        table, numbers = node.input
        tables.setdefault(table)
        row, scale, number = (f"{node.output[0]}/{part}" for part in ("row", "scale", "float"))
        made += [
            helper.make_node("Gather", [f"{table}/int8", numbers], [row], name=f"{node.name}/row", axis=0),
            helper.make_node(
                "Gather", [f"{table}/scale", numbers], [scale], name=f"{node.name}/scale", axis=0
            ),
            helper.make_node("Cast", [row], [number], name=f"{node.name}/float", to=TensorProto.FLOAT),
            helper.make_node("Mul", [number, scale], list(node.output), name=node.name),
        ]
    for table in tables:
        integers, scales = _rows(numpy_helper.to_array(stored.pop(table)))
        stored[f"{table}/int8"] = numpy_helper.from_array(integers, f"{table}/int8")
        stored[f"{table}/scale"] = numpy_helper.from_array(scales, f"{table}/scale")
    del graph.node[:], graph.initializer[:]
    graph.node.extend(made)
    graph.initializer.extend(stored.values())


def _rows(table: NDArray[Any]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Integers [rows, width] and scales [rows, 1]: the largest magnitude of a row over 127, 1 of a row of zeros."""
    edge = np.abs(table).max(axis=1, keepdims=True)
    scale = np.asarray(np.where(edge > 0, edge, LARGEST) / LARGEST, np.float32)
    return np.clip(np.rint(table / scale), -LARGEST, LARGEST).astype(np.int8), scale


def _axis(node: Any) -> int:
    return next((int(attribute.i) for attribute in node.attribute if attribute.name == "axis"), 0)
