"""What an OpenVINO model really runs as, layer by layer, and what its counters tell."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from edgekit.backends.openvino.ir import product_of
from edgekit.board.sessions.openvino import OpenVinoSession, told
from edgekit.types import Audit, LayerAudit, LayerRow, LayerTime

__all__ = ["audit_model", "read_layers"]

ARITHMETIC = frozenset(
    {"Convolution", "Deconvolution", "FullyConnected", "MatMul", "MHA", "ScaledDotProductAttention"}
)
PLUMBING = frozenset({"Const", "Input", "Output", "Parameter", "Result"})
MOVES = frozenset(
    {"Reorder", "Reshape", "Transpose", "StridedSlice", "Pad", "Concatenation", "Split", "Subgraph"}
)
"""Layers that move, convert or quantize data: their precision decides nothing."""

PRECISIONS = {"f32": "fp32", "f16": "fp16", "bf16": "bf16", "i8": "int8", "u8": "int8"}
STORED_BITS = {"w8": 8, "w4": 4, "fp16": 16}
SPLIT = "/WithoutBiases"
LISTED = 8


def audit_model(
    path: Path, options: Mapping[str, str], threads: int, *, wanted: str = "", in_float: Collection[str] = ()
) -> Audit:
    """Compile the model as the runner does and read its execution graph.

    `wanted` is the precision that was asked for; without it, int8 for a model with quantizers, else the
    precision hint of the options. `in_float`: ONNX nodes that a plan of integers leaves in float.
    """
    with OpenVinoSession(str(path), dict(options), threads) as session:
        layers = tuple(_layers(session.raw, path).values())
    arithmetic = [layer for layer in layers if layer.op in ARITHMETIC]
    counts = Counter(layer.precision for layer in arithmetic or layers)
    ran_as = counts.most_common(1)[0][0] if counts else ""
    asked = wanted or _asked(path, options)
    return Audit(ran_as=ran_as, layers=layers, notes=tuple(_notes(asked, ran_as, layers, in_float)))


def read_layers(path: Path, rows: Sequence[LayerRow]) -> tuple[LayerTime, ...]:
    """What OpenVINO's counters told, under the names of the ONNX nodes that the file was made from."""
    products = _products(path)
    return tuple(_layer_time(row, products) for row in rows)


def _layer_time(row: LayerRow, products: Mapping[str, str]) -> LayerTime:
    kind = row.facts.get("layerType", "")
    if not kind or kind in PLUMBING:
        return LayerTime(row.name, row.op, _from_kernel(row.facts["kernel"]), row.mean_ms)
    known = _layer(row.name, kind, row.facts, products)
    return LayerTime(known.name, known.op, known.precision, row.mean_ms)


def _layers(compiled: Any, path: Path) -> dict[str, LayerAudit]:
    """The runtime's name of each layer → the layer, in execution order, without constants and ports."""
    products = _products(path)
    ordered = []
    for node in compiled.get_runtime_model().get_ops():
        info = told(node.get_rt_info())
        kind = info.get("layerType", "")
        if kind in PLUMBING:
            continue
        order = info.get("execOrder", "")
        name = node.get_friendly_name()
        ordered.append((int(order) if order.isdigit() else 0, name, _layer(name, kind, info, products)))
    return {name: layer for _, name, layer in sorted(ordered, key=lambda entry: entry[0])}


def _layer(name: str, kind: str, info: Mapping[str, str], products: Mapping[str, str]) -> LayerAudit:
    """A layer under the name of the node that it was made from."""
    fused = [name, *info.get("originalLayersNames", "").split(",")] if kind in ARITHMETIC else []
    known = next((products[source] for source in fused if source in products), name)
    return LayerAudit(known, kind, _precision(info))


def _products(path: Path) -> dict[str, str]:
    """Names that OpenVINO may give to a layer → its ONNX node's name.

    A layer with bias was split in two: the product is named NODE/WithoutBiases, the addition after the node or,
    at the network's end, after the output.
    """
    import openvino as ov

    names = {}
    for node in ov.Core().read_model(str(path)).get_ops():
        name = product_of(node).get_friendly_name()
        if name.endswith(SPLIT):
            names[node.get_friendly_name()] = names[name] = name[: -len(SPLIT)]
    return names


def _precision(info: Mapping[str, str]) -> str:
    """What the layer computes in: its kernel tells ("brgconv_avx2_f32").

    `runtimePrecision` says f16 also where only the weights are stored so; it counts where no kernel is named.
    """
    kernel = _from_kernel(info.get("primitiveType", ""))
    raw = info.get("runtimePrecision", "")
    return kernel if kernel in PRECISIONS.values() else PRECISIONS.get(raw, raw)


def _from_kernel(kernel: str) -> str:
    """The precision at the end of a kernel's name ("jit_avx2_I8")."""
    last = kernel.rsplit("_", 1)[-1].lower()
    return PRECISIONS.get(last, last)


def _asked(path: Path, options: Mapping[str, str]) -> str:
    import openvino as ov

    if any(node.get_type_name() == "FakeQuantize" for node in ov.Core().read_model(str(path)).get_ops()):
        return "int8"
    hint = options.get("INFERENCE_PRECISION_HINT", "")
    return PRECISIONS.get(hint, hint)


def _notes(
    asked: str, ran_as: str, layers: Sequence[LayerAudit], in_float: Collection[str] = ()
) -> list[str]:
    notes = []
    arithmetic = [layer for layer in layers if layer.op in ARITHMETIC]
    planned = [layer for layer in arithmetic if layer.name in in_float and layer.precision != "int8"]
    others = [layer for layer in arithmetic if layer not in planned]
    if asked == "int8" and ran_as != asked and planned and all(kept.precision == asked for kept in others):
        left = "the others run in int8" if others else "nothing runs in int8"
        share = f"{len(planned)} of {len(arithmetic)} layers with weights are in float"
        return [f"{share} by its plan, and {left}"]
    if asked in STORED_BITS and ran_as != asked:
        notes.append(f"weights are stored in {STORED_BITS[asked]} bits; the arithmetic ran in {ran_as}")
    elif asked and ran_as and asked != ran_as:
        notes.append(
            f"asked for {asked}, ran as {ran_as}: this machine's OpenVINO has no {asked} arithmetic for it"
        )
    if asked == "int8" and ran_as == "int8":
        floats = [layer for layer in layers if layer.precision != "int8" and layer.op not in MOVES]
        for kind, which in (
            ("arithmetic layers", [layer for layer in floats if layer.op in ARITHMETIC]),
            ("other layers", [layer for layer in floats if layer.op not in ARITHMETIC]),
        ):
            if which:
                names = ", ".join(layer.name for layer in which[:LISTED])
                more = f" and {len(which) - LISTED} more" if len(which) > LISTED else ""
                notes.append(f"{kind} that stayed in float: {names}{more}")
    return notes
