"""Time per operation of a .tflite: each one alone, with the kernels that the whole network runs with.

LiteRT's Python package has no profiler per operation (its benchmark tool times whole models). So every operation
becomes a network of its own that is given the very values it gets in the whole one. What is not in these figures:
caches that the neighbours leave warm or cold. What is in each: one call into the runtime, about a microsecond.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.backends.litert.flatbuffer import Op, pack_graph, read_flatbuffer, read_ops, stored_only
from edgekit.board.hush import without_talk
from edgekit.errors import MissingExtraError
from edgekit.types import LayerPart, LayerTime

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from edgekit.backends.base import Backend
    from edgekit.types import Artifact, LayerRow

__all__ = ["layer_parts", "read_layers"]


def layer_parts(
    backend: Backend, artifact: Artifact, feeds: Mapping[str, NDArray[np.generic]], folder: Path
) -> tuple[LayerPart, ...]:
    """Each operation as a file in `folder`, with the values that it gets in the whole network, in running order.

    Raises StageError when LiteRT cannot open the file.
    """
    import numpy as np

    values = _values(backend, artifact, feeds)
    model = read_flatbuffer(Path(artifact.folder) / artifact.entry)
    ops = read_ops(model)
    files: dict[str, str] = {}  # a tensor that several operations read is written once
    parts = []
    for index, op in enumerate(_timed(ops)):
        content = _alone(model, ops, op)
        (folder / f"{index}.tflite").write_bytes(content)
        names = [str(details["name"]) for details in _interpreter(model_content=content).get_input_details()]
        for name in names:
            if name not in files:
                files[name] = f"{len(files)}.npy"
                np.save(folder / files[name], values[name], allow_pickle=False)
        parts.append(LayerPart(f"{index}.tflite", {name: files[name] for name in names}))
    return tuple(parts)


def read_layers(path: Path, rows: Sequence[LayerRow]) -> tuple[LayerTime, ...]:
    """The parts' times under the names of the operations that they hold."""
    ops = _timed(read_ops(read_flatbuffer(path)))
    return tuple(
        LayerTime(op.name, op.kind, op.precision, row.mean_ms) for op, row in zip(ops, rows, strict=True)
    )


def _timed(ops: Sequence[Op]) -> tuple[Op, ...]:
    """Those that take time: others only unpack stored weights, once."""
    return tuple(op for op in ops if not stored_only(op))


def _values(
    backend: Backend, artifact: Artifact, feeds: Mapping[str, NDArray[np.generic]]
) -> dict[str, NDArray[Any]]:
    """Tensor name → its value, of all that the network computes on one sample."""
    opened: Any = backend.open(artifact)  # the runner's LiteRtSession
    with opened as session:
        session.raw = keeping = _interpreter(
            model_path=str(Path(artifact.folder) / artifact.entry),
            experimental_preserve_all_tensors=True,
        )
        session.run(dict(feeds))  # puts the inputs in the file's own form
        computed = {int(place) for op in keeping._get_ops_details() for place in op["outputs"]}
        computed |= {int(details["index"]) for details in keeping.get_input_details()}
        return {
            str(details["name"]): keeping.get_tensor(details["index"])
            for details in keeping.get_tensor_details()
            if int(details["index"]) in computed
        }


def _interpreter(**source: Any) -> Any:
    """An interpreter with its tensors allocated."""
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ModuleNotFoundError as error:
        raise MissingExtraError("ai-edge-litert", "tflite") from error
    with without_talk(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the memory that kept tensors take
        made = Interpreter(**source)
        made.allocate_tensors()
    return made


def _alone(model: Any, ops: tuple[Op, ...], op: Op) -> bytes:
    """One operation as a .tflite of its own, with the operations that only unpack its stored weights."""
    from ai_edge_litert import schema_py_generated as schema

    graph = model.subgraphs[0]
    needed = {tensor.name for tensor in op.inputs}
    chosen = [source.index for source in ops if stored_only(source) and source.name in needed] + [op.index]
    raw = [copy.copy(graph.operators[index]) for index in chosen]
    made = {int(place) for step in raw[:-1] for place in step.outputs}
    given = [tensor.name for tensor in op.inputs if not tensor.constant]
    used = list(
        dict.fromkeys(int(place) for step in raw for place in (*step.inputs, *step.outputs) if place >= 0)
    )
    moved = {place: position for position, place in enumerate(used)}
    tensors, buffers = [], [schema.BufferT()]
    for place in used:
        tensor = copy.copy(graph.tensors[place])
        buffers.append(model.buffers[tensor.buffer])
        tensor.buffer = len(buffers) - 1
        tensors.append(tensor)
    names = {place: _name(graph.tensors[place]) for place in used}
    inputs = [moved[place] for place in used if names[place] in given and place not in made]
    outputs = [moved[int(place)] for place in raw[-1].outputs]
    for step in raw:
        step.inputs = [moved[int(place)] if place >= 0 else -1 for place in step.inputs]
        step.outputs = [moved[int(place)] for place in step.outputs]
    return pack_graph(model.version, model.operatorCodes, tensors, buffers, raw, inputs, outputs)


def _name(tensor: Any) -> str:
    return tensor.name.decode() if isinstance(tensor.name, bytes) else str(tensor.name)
