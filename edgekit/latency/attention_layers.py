"""Attentions written as ONNX, each as networks have them: from the tensors that projections make to the next one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from edgekit.latency.onnx_layers import OnnxLayers

__all__ = ["write_attention"]

SCALE = np.float32(0.35)

ORDER = {"queries": [0, 2, 1, 3], "keys": [0, 2, 3, 1], "values": [0, 2, 1, 3]}
"""[1, places, heads, channels] as a product takes it."""


def write_attention(writer: OnnxLayers, name: str) -> str:
    """One attention on inputs of its own, since a runtime computes equal ones once; gives [1, queries, channels].

    In int8 every product has integers on both sides where the runtime hands them on, as ONNX Runtime does; else those
    of the scores alone: NNCF leaves the weighted sum of values in float.
    """
    family, unit = writer.family, writer.unit
    assert family.attention is not None
    form, heads = family.attention, family.groups
    queries, keys = family.size
    all_integers = writer.quantized and writer.rounds_results
    parts = {"queries": (queries, unit.channels_in), "keys": (keys, unit.channels_in),
             "values": (keys, unit.channels_out)}  # fmt: skip
    if form.packed:
        widths = [heads * width for _, width in parts.values()]
        whole = writer.handed(f"{name}.packed", (1, queries, sum(widths)))
        sizes = writer.constant(f"{name}.widths", np.array(widths, np.int64))
        brought = [f"{name}.{part}" for part in parts]
        writer.nodes_of("Split", [whole, sizes], brought, axis=2)
        if all_integers:
            brought = [writer.requantized(tensor) for tensor in brought]
    else:
        brought = [
            writer.handed(f"{name}.{part}", (1, places, heads * width))
            for part, (places, width) in parts.items()
        ]
    if form.biased:
        brought = [
            writer.node("Add", [tensor, writer.vector(f"{tensor}.bias", heads * width)], f"{tensor}.biased")
            for tensor, (_, width) in zip(brought, parts.values(), strict=True)
        ]
    turned = {}
    for tensor, (part, (places, width)) in zip(brought, parts.items(), strict=True):
        shape = writer.constant(f"{name}.{part}.shape", np.array([1, places, heads, width], np.int64))
        made = writer.node("Reshape", [tensor, shape], f"{name}.{part}.split")
        made = writer.node("Transpose", [made], f"{name}.{part}.turned", perm=ORDER[part])
        if part in form.scaled:
            made = scaled(writer, made)
        if all_integers or (writer.quantized and part != "values"):
            made = writer.requantized(made)
        turned[part] = made
    scores = writer.node("MatMul", [turned["queries"], turned["keys"]], f"{name}.scores")
    if all_integers:
        scores = writer.requantized(scores)
    if "scores" in form.scaled:
        scores = scaled(writer, scores)
    if form.masked:
        mask = writer.constant(f"{name}.mask", writer.rng.uniform(-4, 0, (1, 1, 1, keys)).astype(np.float32))
        scores = writer.node("Add", [scores, mask], f"{name}.masked")
    if all_integers and ("scores" in form.scaled or form.masked):
        scores = writer.requantized(scores)
    weights = writer.node("Softmax", [scores], f"{name}.weights", axis=-1)
    if all_integers:
        weights = writer.requantized(weights, positive=True)
    if form.guarded:
        is_none = writer.node("IsNaN", [weights], f"{name}.none")
        nothing = writer.constant(f"{name}.nothing", np.array(0, np.float32))
        weights = writer.node("Where", [is_none, nothing, weights], f"{name}.guarded")
        if all_integers:
            weights = writer.requantized(weights, positive=True)
    summed = writer.node("MatMul", [weights, turned["values"]], f"{name}.sum")
    if all_integers:
        summed = writer.requantized(summed)
    shape = writer.constant(f"{name}.shape", np.array([1, queries, heads * unit.channels_out], np.int64))
    back = writer.node("Transpose", [summed], f"{name}.back", perm=ORDER["queries"])
    return writer.node("Reshape", [back, shape], f"{name}.out")


def scaled(writer: OnnxLayers, tensor: str) -> str:
    """Times a stored number."""
    factor = writer.constant(f"{tensor}.factor", np.array(SCALE))
    return writer.node("Mul", [tensor, factor], f"{tensor}.scaled")
