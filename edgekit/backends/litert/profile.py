"""Time per operation of a .tflite: each one alone, with the kernels that the whole network runs with.

LiteRT's Python package has no profiler per operation (its benchmark tool times whole models). So every operation
becomes a network of its own that is given the very values it gets in the whole one. What is not in these figures:
caches that the neighbours leave warm or cold. What is in each: one call into the runtime, about a microsecond.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.backends.litert.flatbuffer import Op, read_flatbuffer, read_ops, stored_only
from edgekit.board.hush import without_talk
from edgekit.errors import MissingExtraError
from edgekit.types import LayerTime

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from edgekit.backends.base import Backend
    from edgekit.types import Artifact

__all__ = ["profile"]

WARMUP_RUNS = 20


def profile(
    backend: Backend,
    artifact: Artifact,
    feeds: Mapping[str, NDArray[np.generic]],
    runs: int,
    threads: int = 1,
) -> tuple[LayerTime, ...]:
    """Mean milliseconds of each operation over `runs` runs, in the order they run.

    Raises StageError when LiteRT cannot open the file.
    """
    path = Path(artifact.folder) / artifact.entry
    values = _values(backend, artifact, feeds, threads)
    model = read_flatbuffer(path)
    ops = read_ops(model)
    return tuple(
        LayerTime(op.name, op.kind, op.precision, _time(_alone(model, ops, op), values, runs, threads))
        for op in ops
        if not stored_only(op)
    )


def _values(
    backend: Backend, artifact: Artifact, feeds: Mapping[str, NDArray[np.generic]], threads: int
) -> dict[str, NDArray[Any]]:
    """Tensor name → its value, of all that the network computes on one sample."""
    opened: Any = backend.open(artifact, threads)  # the runner's LiteRtSession
    with opened as session:
        session.raw = keeping = _interpreter(
            threads,
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


def _interpreter(threads: int, **source: Any) -> Any:
    """An interpreter with its tensors allocated."""
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ModuleNotFoundError as error:
        raise MissingExtraError("ai-edge-litert", "tflite") from error
    with without_talk(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the memory that kept tensors take
        made = Interpreter(num_threads=threads, **source)
        made.allocate_tensors()
    return made


def _alone(model: Any, ops: tuple[Op, ...], op: Op) -> bytes:
    """One operation as a .tflite of its own, with the operations that only unpack its stored weights."""
    from ai_edge_litert import schema_py_generated as schema
    from ai_edge_litert.tools import flatbuffer_utils

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
    part, whole = schema.SubGraphT(), schema.ModelT()
    part.tensors, part.operators, part.inputs, part.outputs = tensors, raw, inputs, outputs
    whole.version, whole.operatorCodes, whole.subgraphs = model.version, model.operatorCodes, [part]
    whole.buffers = buffers
    return bytes(flatbuffer_utils.convert_object_to_bytearray(whole))


def _name(tensor: Any) -> str:
    return tensor.name.decode() if isinstance(tensor.name, bytes) else str(tensor.name)


def _time(content: bytes, values: Mapping[str, NDArray[Any]], runs: int, threads: int) -> float:
    """Mean milliseconds of one run, by the runner's own clock."""
    from edgekit.board.timing import timed_runs

    interpreter = _interpreter(threads, model_content=content)
    for details in interpreter.get_input_details():
        interpreter.set_tensor(details["index"], values[details["name"]])
    timed_runs(interpreter.invoke, WARMUP_RUNS)
    samples = timed_runs(interpreter.invoke, max(runs, 1))
    return sum(samples) / len(samples)
