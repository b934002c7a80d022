"""Weights that a .tflite holds without their zeros: compressed rows, unpacked when the file is loaded (DENSIFY).

XNNPACK unpacks them itself, and takes their being stored so as the hint to look for its sparse kernels: 1x1
convolutions that follow each other from a 3x3 convolution with stride 2 on an image on, with more than two thirds of
their weights zero (tensorflow/lite/delegates/xnnpack/README.md, "Sparse Inference").
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit.backends.litert.flatbuffer import read_flatbuffer, read_ops, write_flatbuffer

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["store_sparse"]

LAYERS = frozenset({"CONV_2D", "FULLY_CONNECTED"})
"""Whose weights have the input channels on their last axis, along which rows are compressed."""

WORTH = 0.8
"""Of its size, that compressed weights may have to be stored so; edgekit's rule."""


def store_sparse(path: Path) -> tuple[str, ...]:
    """The float .tflite at `path` with the zeros of its weights left out where that makes it smaller, in place.

    Gives notes for the report; none where nothing changed. The values are the same.
    """
    from ai_edge_litert import schema_py_generated as schema

    model = read_flatbuffer(path)
    graph = model.subgraphs[0]
    readers = [int(place) for raw in graph.operators for place in raw.inputs]
    unpacking: list[Any] = []
    stored = plain = 0
    for op, raw in zip(read_ops(model), graph.operators, strict=True):
        if op.kind not in LAYERS or not op.inputs[1].constant or op.inputs[1].dtype != "float32":
            continue
        place = int(raw.inputs[1])
        tensor = graph.tensors[place]
        data = model.buffers[tensor.buffer].data
        if data is None:  # beyond the flatbuffer
            continue
        values = np.frombuffer(bytes(bytearray(data)), np.float32)
        rows = values.reshape(-1, op.inputs[1].shape[-1])
        packed = _sparsity(rows, op.inputs[1].shape)
        kept = values[values != 0]
        size = kept.nbytes + _index_bytes(packed)
        if readers.count(place) > 1 or size > WORTH * values.nbytes:
            continue
        stored, plain = stored + size, plain + values.nbytes
        held, filled = copy.copy(tensor), schema.BufferT()
        filled.data = np.frombuffer(kept.tobytes(), np.uint8)
        held.buffer, held.sparsity, held.name = len(model.buffers), packed, tensor.name + b"/nonzero"
        model.buffers.append(filled)
        _without_values(model, tensor)
        unpack = schema.OperatorT()
        unpack.opcodeIndex = _opcode(model)
        unpack.inputs, unpack.outputs = [len(graph.tensors)], [place]
        unpack.builtinOptionsType = schema.BuiltinOptions.DensifyOptions
        unpack.builtinOptions = schema.DensifyOptionsT()
        graph.tensors.append(held)
        unpacking.append(unpack)
    if not unpacking:
        return ()
    graph.operators = [*unpacking, *graph.operators]
    write_flatbuffer(model, path)
    return (
        f"Weights of {len(unpacking)} layers are stored without their zeros, in {stored:,} bytes instead of "
        f"{plain:,}; they are unpacked when the file is loaded.",
    )


def _sparsity(rows: NDArray[np.float32], shape: tuple[int, ...]) -> Any:
    """The description of compressed rows [R, I]: how many each has before it, and at which input channels."""
    from ai_edge_litert import schema_py_generated as schema

    live = rows != 0
    described = schema.SparsityParametersT()
    described.traversalOrder, described.blockMap = list(range(len(shape))), []
    described.dimMetadata = []
    for size in shape[:-1]:
        dense = schema.DimensionMetadataT()
        dense.format, dense.denseSize = schema.DimensionType.DENSE, size
        described.dimMetadata.append(dense)
    last = schema.DimensionMetadataT()
    last.format = schema.DimensionType.SPARSE_CSR
    last.arraySegmentsType, last.arraySegments = _indices(np.concatenate([[0], live.sum(1).cumsum()]))
    last.arrayIndicesType, last.arrayIndices = _indices(live.nonzero()[1])
    described.dimMetadata.append(last)
    return described


def _indices(values: NDArray[np.integer[Any]]) -> tuple[int, Any]:
    """In the narrowest type of the schema: its number there, and the vector."""
    from ai_edge_litert import schema_py_generated as schema

    kinds = schema.SparseIndexVector
    largest = int(values.max(initial=0))
    for limit, number, vector, dtype in (
        (1 << 8, kinds.Uint8Vector, schema.Uint8VectorT(), np.uint8),
        (1 << 16, kinds.Uint16Vector, schema.Uint16VectorT(), np.uint16),
        (1 << 31, kinds.Int32Vector, schema.Int32VectorT(), np.int32),
    ):
        if largest < limit:
            vector.values = values.astype(dtype)
            return number, vector
    raise OverflowError(f"{largest} does not fit into an index")


def _index_bytes(described: Any) -> int:
    last = described.dimMetadata[-1]
    return int(last.arraySegments.values.nbytes + last.arrayIndices.values.nbytes)


def _without_values(model: Any, tensor: Any) -> None:
    """The tensor as one that is computed; its values stay where another tensor holds the same."""
    from ai_edge_litert import schema_py_generated as schema

    place = tensor.buffer
    tensor.buffer = 0
    if not any(other.buffer == place for graph in model.subgraphs for other in graph.tensors):
        model.buffers[place] = schema.BufferT()


def _opcode(model: Any) -> int:
    """The place of DENSIFY among the file's operators."""
    from ai_edge_litert import schema_py_generated as schema

    number = schema.BuiltinOperator.DENSIFY
    for place, code in enumerate(model.operatorCodes):
        if code.builtinCode == number:
            return place
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = number
    code.version = 1
    model.operatorCodes.append(code)
    return len(model.operatorCodes) - 1
