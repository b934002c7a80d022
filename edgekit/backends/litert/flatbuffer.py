"""Reading and rewriting .tflite flatbuffers: operations, tensors, names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.errors import MissingExtraError, StageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "COMPUTE",
    "LAYOUT",
    "Op",
    "Tensor",
    "pack_graph",
    "read_flatbuffer",
    "read_ops",
    "rename",
    "replace_biases",
    "stored_only",
    "write_flatbuffer",
]

COMPUTE = frozenset(
    {"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV", "BATCH_MATMUL", "CONV_3D"}
)
"""Operations that multiply: what decides in which precision a network runs."""

LAYOUT = frozenset({"TRANSPOSE", "DEPTH_TO_SPACE", "SPACE_TO_DEPTH", "REVERSE_V2"})
"""Operations that only change the order of values in memory."""

UNPACKING = frozenset({"DEQUANTIZE", "DENSIFY"})
"""Operations by which stored weights become those that layers read: from float16, and from what is not zero."""

IDENTIFIER = b"TFL3"


@dataclass(frozen=True)
class Tensor:
    """One tensor; `dtype` is numpy's name. `scale` and `zero_point` hold one value, or one per channel."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    constant: bool
    scale: tuple[float, ...] = ()
    zero_point: tuple[int, ...] = ()


@dataclass(frozen=True)
class Op:
    """One operation of the main subgraph, by TFLite's name. Absent optional inputs are left out."""

    index: int
    kind: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]

    @property
    def name(self) -> str:
        """Named by what it computes."""
        return self.outputs[0].name if self.outputs else f"{self.kind.lower()}_{self.index}"

    @property
    def precision(self) -> str:
        """In what it computes, by the types it takes: int8-dynamic has float activations and int8 weights."""
        data = [tensor.dtype for tensor in self.inputs if not tensor.constant] or ["float32"]
        weights = [tensor.dtype for tensor in self.inputs if tensor.constant]
        if data[0] in ("int8", "uint8"):
            return "int8"
        if data[0] == "float16":
            return "fp16"
        if data[0] != "float32":
            return data[0]
        return "int8-dynamic" if self.kind in COMPUTE and "int8" in weights else "fp32"


def read_flatbuffer(path: Path) -> Any:
    """The file as the schema's object tree. Raises StageError for what is no whole .tflite."""
    try:
        from ai_edge_litert.tools import flatbuffer_utils
    except ModuleNotFoundError as error:
        raise MissingExtraError("ai-edge-litert", "tflite") from error
    import struct

    try:
        content = path.read_bytes()
        if content[4:8] != IDENTIFIER:
            raise StageError("open", f"{path.name} is no .tflite file", "export it again")
        return flatbuffer_utils.read_model_from_bytearray(bytearray(content))
    except (IndexError, TypeError, ValueError, UnicodeDecodeError, struct.error, OSError) as error:
        raise StageError(
            "open", f"{path.name} is a damaged .tflite file: {error}", "export it again"
        ) from error


def write_flatbuffer(model: Any, path: Path) -> None:
    """Write the object tree; equal trees give equal bytes."""
    from ai_edge_litert.tools import flatbuffer_utils

    path.write_bytes(bytes(flatbuffer_utils.convert_object_to_bytearray(model)))


def pack_graph(
    version: int,
    codes: Sequence[Any],
    tensors: Sequence[Any],
    buffers: Sequence[Any],
    operators: Sequence[Any],
    inputs: Sequence[int],
    outputs: Sequence[int],
) -> bytes:
    """A .tflite of one graph, of the schema's objects; `inputs` and `outputs` are places among its tensors."""
    from ai_edge_litert import schema_py_generated as schema
    from ai_edge_litert.tools import flatbuffer_utils

    graph, whole = schema.SubGraphT(), schema.ModelT()
    graph.tensors, graph.operators = list(tensors), list(operators)
    graph.inputs, graph.outputs = list(inputs), list(outputs)
    whole.version, whole.operatorCodes, whole.subgraphs = version, list(codes), [graph]
    whole.buffers = list(buffers)
    return bytes(flatbuffer_utils.convert_object_to_bytearray(whole))


@lru_cache(maxsize=1)
def _names() -> tuple[Mapping[int, str], Mapping[int, str]]:
    """Numbers of operators and of tensor types → their names in the schema."""
    from ai_edge_litert import schema_py_generated as schema

    ops = {value: name for name, value in vars(schema.BuiltinOperator).items() if isinstance(value, int)}
    types = {value: name.lower() for name, value in vars(schema.TensorType).items() if isinstance(value, int)}
    return ops, types


def dtype_of(number: int) -> str:
    """numpy's name of a tensor type."""
    return _names()[1].get(number, f"type {number}")


def read_ops(model: Any) -> tuple[Op, ...]:
    """Operations of the main subgraph in the order they run."""
    graph = model.subgraphs[0]
    tensors = [_tensor(model, tensor) for tensor in graph.tensors]
    codes = _names()[0]
    ops = []
    for index, op in enumerate(graph.operators):
        code = model.operatorCodes[op.opcodeIndex]
        number = max(code.builtinCode, code.deprecatedBuiltinCode)
        inputs = tuple(tensors[place] for place in _listed(op.inputs) if place >= 0)
        outputs = tuple(tensors[place] for place in _listed(op.outputs))
        ops.append(Op(index, codes.get(number, str(number)), inputs, outputs))
    return tuple(ops)


def stored_only(op: Op) -> bool:
    """Whether an operation only unpacks stored weights, which happens once, when the file is loaded."""
    return op.kind in UNPACKING and all(tensor.constant for tensor in op.inputs)


def rename(model: Any, names: Mapping[int, str]) -> None:
    """Give tensors of the main subgraph new names, by index, in place."""
    for index, name in names.items():
        model.subgraphs[0].tensors[index].name = name.encode()


def replace_biases(model: Any, biases: Mapping[str, tuple[NDArray[Any], NDArray[Any]]]) -> None:
    """Give layers new biases, in place. `biases`: the tensor a layer computes → its bias now, and the new one.

    A layer without a bias input, or whose bias is another one than told, is left as it is.
    """
    import copy

    import numpy as np

    graph = model.subgraphs[0]
    for op, raw in zip(read_ops(model), graph.operators, strict=True):
        if op.kind not in COMPUTE or op.name not in biases or len(raw.inputs) < 3 or raw.inputs[2] < 0:
            continue
        now, new = biases[op.name]
        old = graph.tensors[raw.inputs[2]]
        data = model.buffers[old.buffer].data
        held = (
            np.frombuffer(bytes(bytearray(data)), np.float32) if data is not None else np.zeros(0, np.float32)
        )
        if held.shape != now.shape or not np.allclose(held, now, rtol=1e-4, atol=1e-6):
            continue
        buffer, tensor = copy.copy(model.buffers[old.buffer]), copy.copy(old)  # layers may share one of zeros
        buffer.data = np.frombuffer(np.asarray(new, np.float32).tobytes(), np.uint8)
        tensor.buffer, tensor.name = len(model.buffers), f"{op.name}/bias".encode()
        raw.inputs = [*map(int, raw.inputs[:2]), len(graph.tensors), *map(int, raw.inputs[3:])]
        model.buffers.append(buffer)
        graph.tensors.append(tensor)


def _tensor(model: Any, raw: Any) -> Tensor:
    buffer = model.buffers[raw.buffer] if raw.buffer < len(model.buffers) else None
    held = buffer is not None and (
        (buffer.data is not None and len(buffer.data) > 0) or (buffer.size or 0) > 0
    )
    grid = raw.quantization
    scale = tuple(map(float, _listed(grid.scale))) if grid is not None else ()
    zero = tuple(map(int, _listed(grid.zeroPoint))) if grid is not None else ()
    name = raw.name.decode() if isinstance(raw.name, bytes) else str(raw.name)
    return Tensor(name, dtype_of(raw.type), tuple(map(int, _listed(raw.shape))), held, scale, zero)


def _listed(values: Any) -> list[Any]:
    """The schema gives arrays, lists or None."""
    return [] if values is None else list(values)
