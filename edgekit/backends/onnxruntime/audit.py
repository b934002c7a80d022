"""What each layer of an ONNX Runtime session really runs as, and what its profiler tells."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from edgekit.types import Audit, LayerAudit, LayerRow, LayerTime

__all__ = ["BLOCKWISE", "IN_INT8", "audit", "read_layers"]

INTEGER_OPS = frozenset(
    {"ConvInteger", "DynamicQuantizeMatMul", "MatMulInteger", "MatMulIntegerToFloat", "QAttention", "QGemm"}
)
BETWEEN = frozenset({"QuantizeLinear", "DequantizeLinear", "Transpose", "ReorderInput", "ReorderOutput"})
BLOCKWISE, IN_INT8 = "MatMulNBits", 4
"""A product with weights in blocks of few bits, and the accuracy_level at which its inputs become int8 as they come.

On x86 with VNNI a product of 512 x 512 with one row took 0.45 of the time of level 0 in 4 bits, and a thirtieth in 8
bits, for which level 0 has no kernel of its own (measured with ONNX Runtime 1.31)."""
ARITHMETIC = ("Conv", "Gemm", "MatMul", "Attention", "LSTM", "GRU")
NAMED_IN_NOTE = 6


def audit(open_with: Callable[[Mapping[str, str]], Any], path: Path) -> Audit:
    """Let ONNX Runtime write the graph it optimized of `path` for this machine; read what became of each layer."""
    import onnx

    names = _node_names(path)

    with tempfile.TemporaryDirectory(prefix="edgekit-") as folder:
        optimized = Path(folder) / "optimized.onnx"
        with open_with({"optimized_model_filepath": str(optimized)}):
            pass
        graph = onnx.load(str(optimized)).graph
    integers = _integer_tensors(graph)
    layers = tuple(
        LayerAudit(_original(node.name, names), node.op_type, _precision(node, integers))
        for node in graph.node
    )
    arithmetic = [layer for layer in layers if _is_arithmetic(layer.op)]
    in_int8 = [layer for layer in arithmetic if layer.precision == "int8"]
    ran_as = "int8" if 2 * len(in_int8) > len(arithmetic) else "fp32"
    return Audit(ran_as=ran_as, layers=layers, notes=_notes(layers, arithmetic, bool(integers)))


def read_layers(path: Path, rows: Sequence[LayerRow]) -> tuple[LayerTime, ...]:
    """What ONNX Runtime's profiler told, under the names of the file that it had loaded."""
    names = _node_names(path)
    return tuple(
        LayerTime(
            _original(row.name, names),
            row.op,
            _from_kinds(row.op, not {"int8", "uint8"}.isdisjoint(row.facts["takes"].split(","))),
            row.mean_ms,
        )
        for row in rows
    )


def _node_names(path: Path) -> dict[str, str]:
    """First output → node name of the file that ONNX Runtime loads."""
    import onnx

    return {node.output[0]: node.name for node in onnx.load(str(path)).graph.node if node.output}


def _original(name: str, names: Mapping[str, str]) -> str:
    """The file's name of an optimized node.

    Fused integer layers get `_token_NUMBER` appended; a blocked convolution is named by its output and `_nchwc`.
    """
    plain = re.sub(r"_token_\d+$", "", name)
    return names.get(plain.removesuffix("_nchwc"), plain)


def _integer_tensors(graph: Any) -> set[str]:
    """Tensors of 8-bit integers: made by a quantizing node, or passed on by one that moves data."""
    from onnx import TensorProto

    bytes_ = (TensorProto.INT8, TensorProto.UINT8)
    integers = {info.name for info in graph.value_info if info.type.tensor_type.elem_type in bytes_}
    integers |= {constant.name for constant in graph.initializer if constant.data_type in bytes_}
    for node in graph.node:
        quantizes = node.op_type == "QuantizeLinear" or node.op_type.startswith("QLinear")
        moves = node.op_type != "DequantizeLinear" and not _is_arithmetic(node.op_type)
        if quantizes or (moves and node.input and node.input[0] in integers):
            integers.update(node.output)
    return integers


def _precision(node: Any, integers: set[str]) -> str:
    if node.op_type == BLOCKWISE:
        levels = [attribute.i for attribute in node.attribute if attribute.name == "accuracy_level"]
        return "int8" if levels == [IN_INT8] else "fp32"
    return _from_kinds(node.op_type, bool(node.input) and node.input[0] in integers)


def _from_kinds(op: str, takes_integers: bool) -> str:
    """Precision of an op: by its kind where that says it, else by what it takes."""
    if op.startswith("QLinear") or op in INTEGER_OPS:
        return "int8"
    if op in ("QuantizeLinear", "DequantizeLinear"):
        return "fp32"
    return "int8" if takes_integers else "fp32"


def _is_arithmetic(op: str) -> bool:
    return op not in BETWEEN and any(kind in op for kind in ARITHMETIC)


def _notes(layers: tuple[LayerAudit, ...], arithmetic: list[LayerAudit], quantized: bool) -> tuple[str, ...]:
    """Sentences on what stayed float inside a quantized network."""
    if not quantized:
        return ()
    notes = []
    still_float = [layer.name for layer in arithmetic if layer.precision != "int8"]
    if still_float:
        named = ", ".join(still_float[:NAMED_IN_NOTE])
        more = f" and {len(still_float) - NAMED_IN_NOTE} more" if len(still_float) > NAMED_IN_NOTE else ""
        notes.append(
            f"{len(still_float)} of {len(arithmetic)} arithmetic layers run in float: {named}{more}."
        )
    others = [layer for layer in layers if layer.precision == "fp32" and layer.op not in BETWEEN]
    others = [layer for layer in others if layer not in arithmetic]
    if others:
        kinds = ", ".join(sorted({layer.op for layer in others}))
        notes.append(f"{len(others)} other nodes run in float ({kinds}).")
    return tuple(notes)
