"""What each operation of a .tflite really runs as, and which of them XNNPACK takes."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from edgekit.backends.litert.flatbuffer import COMPUTE, LAYOUT, Op, read_flatbuffer, read_ops, stored_only
from edgekit.board.hush import without_talk
from edgekit.errors import MissingExtraError, StageError, in_one_line
from edgekit.types import Audit, LayerAudit

__all__ = ["audit", "delegated", "float_compute"]

BOUNDARY = frozenset({"QUANTIZE", "DEQUANTIZE"})
MOVES = frozenset({"RESHAPE", "SQUEEZE", "EXPAND_DIMS"})
NAMED_IN_NOTE = 6


def audit(path: Path, threads: int = 1) -> Audit:
    """Each operation with its precision, and notes on what stays float or outside XNNPACK.

    Raises StageError when LiteRT cannot open the file.
    """
    ops = tuple(op for op in read_ops(read_flatbuffer(path)) if not stored_only(op))
    taken = delegated(path, threads)
    layers = tuple(LayerAudit(op.name, op.kind, op.precision) for op in ops)
    return Audit(ran_as=_ran_as(ops), layers=layers, notes=(*_float_notes(ops), *_delegate_notes(ops, taken)))


def delegated(path: Path, threads: int = 1) -> frozenset[int]:
    """Indices of the operations that XNNPACK takes, as the interpreter's graph shows it.

    A delegate stands at the end of the list of operations as one DELEGATE per part it took, with that part's
    inputs and outputs: what lies between these is its own. (`_get_ops_details` is the interpreter's only list
    of operations; AI Edge Quantizer reads it too.)
    """
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ModuleNotFoundError as error:
        raise MissingExtraError("ai-edge-litert", "tflite") from error
    try:
        with without_talk():
            interpreter = Interpreter(str(path), num_threads=threads)
            interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        raise StageError(
            "open", f"LiteRT refuses {path.name}: {in_one_line(error)}", "export it again"
        ) from error
    ops = interpreter._get_ops_details()
    makers = {int(tensor): op for op in ops if op["op_name"] != "DELEGATE" for tensor in op["outputs"]}
    nodes: set[int] = set()
    for part in ops:
        if part["op_name"] != "DELEGATE":
            continue
        given = {int(tensor) for tensor in part["inputs"]}
        queue = [int(tensor) for tensor in part["outputs"]]
        while queue:
            tensor = queue.pop()
            maker = makers.get(tensor)
            if tensor in given or maker is None or int(maker["index"]) in nodes:
                continue
            nodes.add(int(maker["index"]))
            queue += [int(tensor) for tensor in maker["inputs"]]
    return frozenset(nodes)


def float_compute(ops: Sequence[Op]) -> tuple[Op, ...]:
    """Operations that calculate in float: not those that only quantize, dequantize or reshape."""
    return tuple(
        op
        for op in ops
        if op.precision != "int8" and op.kind not in BOUNDARY | MOVES and not _on_integers(op)
    )


def _on_integers(op: Op) -> bool:
    """Indices and shapes are no float arithmetic."""
    return bool(op.outputs) and op.outputs[0].dtype in ("int32", "int64", "bool")


def _ran_as(ops: Sequence[Op]) -> str:
    """The precision of most operations that multiply."""
    kinds = [op.precision for op in ops if op.kind in COMPUTE] or [op.precision for op in ops]
    return max(sorted(set(kinds)), key=kinds.count) if kinds else "fp32"


def _float_notes(ops: Sequence[Op]) -> tuple[str, ...]:
    """Of a quantized network: what calculates in float, and its layout operations."""
    notes = []
    if any(op.precision == "int8" and op.kind in COMPUTE for op in ops):
        stayed = float_compute(ops)
        notes.append(
            f"{len(stayed)} of {len(ops)} operations calculate in float"
            + (f": {_named(stayed)}." if stayed else ".")
        )
    moved = [op for op in ops if op.kind in LAYOUT]
    if moved:
        notes.append(f"{len(moved)} layout operations: {_named(moved)}.")
    return tuple(notes)


def _delegate_notes(ops: Sequence[Op], taken: Collection[int]) -> tuple[str, ...]:
    left = [op for op in ops if op.index not in taken]
    if not left:
        return (f"XNNPACK takes all {len(ops)} operations.",)
    return (
        f"XNNPACK takes {len(ops) - len(left)} of {len(ops)} operations; left to LiteRT's own kernels: {_named(left)}.",
    )


def _named(ops: Sequence[Op]) -> str:
    named = ", ".join(f"{op.kind} {op.name}" for op in ops[:NAMED_IN_NOTE])
    return named + (f" and {len(ops) - NAMED_IN_NOTE} more" if len(ops) > NAMED_IN_NOTE else "")
