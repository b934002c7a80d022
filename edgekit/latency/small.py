"""Matrix products that OpenVINO's INT8 leaves in float, because they are small beside the whole network."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from edgekit.latency.unit import MULTIPLE, Unit

__all__ = ["SMALL_SHARE", "largest_product", "when_small"]

SMALL_SHARE = 0.005
"""OpenVINO's INT8 leaves matrix products below this share of all MACs in float: see backends/openvino/quantize.py."""


def largest_product(unit: Unit) -> float:
    """Multiply-accumulates of the larger product of an attention; of other units all."""
    widths = unit.channels_in, unit.channels_out
    return unit.macs * max(widths) / sum(widths) if unit.family.kind == "attention" else unit.macs


def when_small(units: Sequence[Unit], limit: float) -> Iterator[Unit]:
    """Matrix products in int8 as they are in float with one side so narrow that they have less MACs than `limit`; of
    attentions those of each smaller number of heads.
    """
    for unit in units:
        if unit.family.kind == "attention" and unit.family.precision == "int8":
            yield from _small_attentions(unit, limit)
        if unit.family.kind not in ("linear", "product") or unit.family.precision != "int8":
            continue
        step = unit.family.width_step
        in_float = unit.in_precision("fp32")
        most_in, most_out = (
            int(limit * channels / unit.macs) // step * step
            for channels in (unit.channels_in, unit.channels_out)
        )
        if most_in:
            yield in_float.resized(channels_in=most_in)
        if most_out:
            yield in_float.resized(channels_out=most_out)


def _small_attentions(unit: Unit, limit: float) -> Iterator[Unit]:
    """The widest in float for each number of heads."""
    heads = unit.family.groups
    per_channel = largest_product(unit) / (heads * max(unit.channels_in, unit.channels_out))
    for count in range(heads, 0, -1):
        most = int(limit / (per_channel * count)) // MULTIPLE * MULTIPLE
        if most:
            yield unit.in_precision("fp32").resized(
                channels_in=min(most, unit.channels_in),
                channels_out=min(most, unit.channels_out),
                heads=count,
            )
