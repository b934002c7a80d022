"""Latency of a network on a board that is not here: a roofline, from the board's peak rates and bandwidth. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from edgekit.hardware import Target
from edgekit.precisions import PRECISIONS
from edgekit.types import Cost, Estimate, Precision

__all__ = ["Roofline", "roofline"]

CPU_USE, GPU_USE = (0.5, 0.2), (0.25, 0.05)
"""Share of the peak rate that a layer is assumed to reach: the likely one, and the one that bounds the estimate above.

edgekit's assumption, not a board's figure. On a Zen 4 core ResNet-20 at batch 1 reached half to nearly all of the
CPU's peak; small layers fill a GPU badly.
"""

CPU_LAYER_MS, GPU_LAYER_MS = 0.002, 0.01
"""Fixed time of one layer (dispatch, kernel launch), added to the likely figure; edgekit's assumption."""


SPARSE_GAIN = (2.0, 1.2, 1.0)
"""How many times as fast sparse kernels multiply: the bound (half of the products), the likely figure, the worst.

edgekit's assumption, not a board's figure: layers that wait for memory or are small gain nothing.
"""


@dataclass(frozen=True)
class Roofline:
    """`latency_ms`: low, the physical bound; value, likely; high, pessimistic; None where a fact is missing.

    `sentences` state the assumptions, or which fact is missing.
    """

    latency_ms: Estimate | None
    sentences: tuple[str, ...]


def roofline(
    target: Target, cost: Cost, precision: Precision, *, runs_as: Precision | None = None, threads: int = 1,
    device: str = "", sparse: bool = False,
) -> Roofline:  # fmt: skip
    """Time at batch 1 of one network: the sum over layers of max(operations / rate, bytes / bandwidth).

    Williams, Waterman and Patterson, "Roofline", CACM 52(4), 2009, per layer. `runs_as`: what the runtime
    computes in when only the weights have `precision`. Operations are two a MAC. Bytes of a layer: its output,
    written once and read once, and its weights once. `sparse`: the runtime has kernels for the zeros of its weights.
    """
    arithmetic = runs_as or PRECISIONS[precision].arithmetic
    peak = target.peak(arithmetic, device)
    if peak is None:
        where = f"the {device.upper()} of {target.name}" if device else target.name
        return Roofline(
            None, (f"No peak rate for {arithmetic} on {where} is known: latency is not estimated.",)
        )
    if target.bandwidth is None:
        return Roofline(None, (f"No bandwidth of {target.name} is known: latency is not estimated.",))
    share = min(threads, peak.cores) / peak.cores if peak.cores else 1.0
    per_ms = peak.tera_ops * share * 1e9
    bytes_per_ms = target.bandwidth.gb_s * 1e6
    (likely, least), layer_ms = (CPU_USE, CPU_LAYER_MS) if peak.cores else (GPU_USE, GPU_LAYER_MS)
    value_bits = PRECISIONS[arithmetic].weight_bits
    weights = cost.parameters * PRECISIONS[precision].weight_bits / 8
    total_macs = max(cost.macs, 1)

    gains = SPARSE_GAIN if sparse else (1.0, 1.0, 1.0)

    def time_ms(use: float, fixed_ms: float) -> float:
        total = 0.0
        for layer in cost.layers:
            compute = 2 * layer.macs / (per_ms * use)
            moved = 2 * layer.output_bytes * value_bits / 32 + weights * layer.macs / total_macs
            total += max(compute, moved / bytes_per_ms) + (fixed_ms if layer.macs else 0.0)
        return total

    uses, fixed = (1.0, likely, least), (0.0, layer_ms, 3 * layer_ms)
    bounds = [time_ms(use * gain, once) for use, gain, once in zip(uses, gains, fixed, strict=True)]
    zeros = (
        (f"Assumed of sparse weights: {gains[1]:g} times the rate (at best {gains[0]:g}, at worst none).",)
        if sparse
        else ()
    )
    cores = f" for {min(threads, peak.cores)} of {peak.cores} cores" if peak.cores else ""
    doubt = "" if peak.verified and target.bandwidth.verified else "; the figures are not verified"
    return Roofline(
        Estimate(bounds[1], bounds[0], bounds[2]),
        (
            f"Estimated by a roofline: {peak.tera_ops * share * 1000:g} G{'FLOP' if arithmetic[0] in 'bf' else 'OP'}/s "
            f"at {arithmetic}{cores}, {target.bandwidth.gb_s:g} GB/s{doubt}.",
            f"Assumed: {likely:.0%} of the peak rate and {layer_ms * 1000:g} µs a layer (at worst {least:.0%} and "
            f"{3 * layer_ms * 1000:g} µs; the low end is 100 % and none); every output written and read once.",
            *zeros,
        ),
    )
