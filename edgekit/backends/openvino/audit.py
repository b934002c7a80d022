"""What an OpenVINO model really runs as, layer by layer, and how long each layer takes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.backends.openvino.ir import product_of
from edgekit.board.sessions.openvino import OpenVinoSession
from edgekit.types import Audit, LayerAudit, LayerTime

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["audit_model", "profile_model"]

ARITHMETIC = frozenset(
    {"Convolution", "Deconvolution", "FullyConnected", "MatMul", "MHA", "ScaledDotProductAttention"}
)
PLUMBING = frozenset({"Const", "Input", "Output", "Parameter", "Result"})
MOVES = frozenset(
    {"Reorder", "Reshape", "Transpose", "StridedSlice", "Pad", "Concatenation", "Split", "Subgraph"}
)
"""Layers that move, convert or quantize data: their precision decides nothing."""

PRECISIONS = {"f32": "fp32", "f16": "fp16", "bf16": "bf16", "i8": "int8", "u8": "int8"}
STORED_BITS = {"w8": 8, "fp16": 16}
SPLIT = "/WithoutBiases"
WARM_RUNS = 5
LISTED = 8


def audit_model(path: Path, options: Mapping[str, str], threads: int, *, wanted: str = "") -> Audit:
    """Compile the model as the runner does and read its execution graph.

    `wanted` is the precision that was asked for; without it, int8 for a model with quantizers, else the
    precision hint of the options.
    """
    with OpenVinoSession(str(path), dict(options), threads) as session:
        layers = tuple(_layers(session.raw, path).values())
    arithmetic = [layer for layer in layers if layer.op in ARITHMETIC]
    counts = Counter(layer.precision for layer in arithmetic or layers)
    ran_as = counts.most_common(1)[0][0] if counts else ""
    asked = wanted or _asked(path, options)
    return Audit(ran_as=ran_as, layers=layers, notes=tuple(_notes(asked, ran_as, layers)))


def profile_model(
    path: Path, options: Mapping[str, str], feeds: Mapping[str, NDArray[np.generic]], runs: int, threads: int
) -> tuple[LayerTime, ...]:
    """Mean time of each executed layer in milliseconds, in execution order, from OpenVINO's own counters."""
    with OpenVinoSession(str(path), {**options, "PERF_COUNT": "YES"}, threads) as session:
        known = _layers(session.raw, path)
        session.bind(dict(feeds))
        for _ in range(WARM_RUNS):
            session.step()
        totals: dict[str, float] = {}
        operations: dict[str, tuple[str, str]] = {}
        for _ in range(runs):
            session.step()
            for entry in session.request.get_profiling_info():
                if entry.status.name != "EXECUTED":
                    continue
                name = entry.node_name
                totals[name] = totals.get(name, 0.0) + entry.real_time.total_seconds() * 1e3
                operations[name] = (entry.node_type, entry.exec_type)
    return tuple(
        LayerTime(
            name=known[name].name if name in known else name,
            op=known[name].op if name in known else operations[name][0],
            precision=known[name].precision if name in known else _from_kernel(operations[name][1]),
            time_ms=total / runs,
        )
        for name, total in totals.items()
    )


def _layers(compiled: Any, path: Path) -> dict[str, LayerAudit]:
    """The runtime's name of each layer → the layer, in execution order, without constants and ports."""
    products = _products(path)
    ordered = []
    for node in compiled.get_runtime_model().get_ops():
        info = node.get_rt_info()
        kind = _text(info, "layerType")
        if kind in PLUMBING:
            continue
        order = _text(info, "execOrder")
        name = node.get_friendly_name()
        fused = [name, *_text(info, "originalLayersNames").split(",")] if kind in ARITHMETIC else []
        known = next((products[source] for source in fused if source in products), name)
        ordered.append(
            (int(order) if order.isdigit() else 0, name, LayerAudit(known, kind, _precision(info)))
        )
    return {name: layer for _, name, layer in sorted(ordered, key=lambda entry: entry[0])}


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


def _text(info: Any, key: str) -> str:
    return str(info[key].astype(str)) if key in info else ""


def _precision(info: Any) -> str:
    """What the layer computes in: its kernel tells ("brgconv_avx2_f32").

    `runtimePrecision` says f16 also where only the weights are stored so; it counts where no kernel is named.
    """
    kernel = _from_kernel(_text(info, "primitiveType"))
    raw = _text(info, "runtimePrecision")
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


def _notes(asked: str, ran_as: str, layers: Sequence[LayerAudit]) -> list[str]:
    notes = []
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
