"""What `edgekit profile` makes of measured layers: their rank, their rate, and where the time goes."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgekit.types import Cost, LayerTime

__all__ = ["Row", "bottlenecks", "fused_into", "rank"]

SLOW_SHARE = 0.25
"""A layer below this share of the median rate of the network's layers is called slow for its MACs."""


@dataclass(frozen=True)
class Row:
    """One layer of the runtime. `share`: of the sum of all layers. `macs`: None where no one node stands for it."""

    name: str
    op: str
    precision: str
    time_ms: float
    share: float
    macs: int | None
    gmac_s: float | None


def fused_into(onnx_path: Path) -> dict[str, str]:
    """Node → the node whose only reader it is: ONNX Runtime names a fused layer after the last of its nodes."""
    import onnx

    nodes = onnx.load(str(onnx_path), load_external_data=False).graph.node
    makers = {name: node.name for node in nodes for name in node.output}
    readers = Counter(name for node in nodes for name in node.input)
    return {
        node.name: makers[name]
        for node in nodes
        for name in node.input[:1]
        if name in makers and readers[name] == 1
    }


def rank(times: Sequence[LayerTime], cost: Cost | None, fused: Mapping[str, str]) -> tuple[Row, ...]:
    """Layers with their MACs, slowest first.

    A layer's MACs are those of the ONNX node of its name; where that has none, of the node that `fused` says it
    stands for, and the layer is named after that.
    """
    macs = {layer.name: layer.macs for layer in cost.layers if layer.macs} if cost else {}
    total = sum(layer.time_ms for layer in times)

    def node(name: str) -> str:
        return name if name in macs or fused.get(name) not in macs else fused[name]

    rows = [
        Row(
            node(layer.name),
            layer.op,
            layer.precision,
            layer.time_ms,
            layer.time_ms / total if total else 0.0,
            macs.get(node(layer.name)),
            _rate(macs.get(node(layer.name)), layer.time_ms),
        )
        for layer in times
    ]
    return tuple(sorted(rows, key=lambda row: -row.time_ms))


def _rate(macs: int | None, time_ms: float) -> float | None:
    return macs / time_ms / 1e6 if macs and time_ms > 0 else None


def bottlenecks(rows: Sequence[Row]) -> list[str]:
    """Sentences on where the time goes: the layers that take half of it, those slow for their work, the rest."""
    total = sum(row.time_ms for row in rows)
    if not total:
        return ["no layer took a measurable time"]
    half, count = 0.0, 0
    while half < 0.5 * total and count < len(rows):
        half += rows[count].time_ms
        count += 1
    named = ", ".join(f"{row.name} ({row.share:.0%})" for row in rows[: min(count, 3)])
    more = ", ..." if count > 3 else ""
    told = [f"{count} of {len(rows)} layers take half of the time: {named}{more}"]
    rates = [row.gmac_s for row in rows if row.gmac_s is not None]
    if len(rates) >= 3:
        limit = SLOW_SHARE * statistics.median(rates)
        slow = [row for row in rows if row.gmac_s is not None and row.gmac_s < limit and row.share >= 0.01]
        if slow:
            names = ", ".join(f"{row.name} ({row.gmac_s:.1f} GMAC/s)" for row in slow[:5])
            told.append(f"slow for their work (median {statistics.median(rates):.1f} GMAC/s): {names}")
    without = sum(row.time_ms for row in rows if row.macs is None) / total
    if rates and without >= 0.1:
        told.append(f"layers without multiplications take {without:.0%} of the time")
    return told
