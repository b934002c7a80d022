"""What an INT8 build decided, in words: for the page and for `edgekit profile`."""

from __future__ import annotations

from collections.abc import Mapping

from edgekit.types import FloatLayer, FloatReason, QuantizationSummary

__all__ = ["quantization_texts"]

REASONS: Mapping[FloatReason, str] = {
    "sensitive": "most sensitive",
    "between": "beside those, where going into int8 and back would cost more",
    "recipe": "named by the recipe",
    "small": "too small to gain",
    "runtime": "no integer kernel that gains",
    "apart": "joins values too far apart for one scale",
    "stream": "sums of a transformer, a few of whose features are far larger than the rest",
}
SHOWN = 6
BY_RUNTIME = "left to the runtime's quantizer"


def quantization_texts(summary: QuantizationSummary) -> dict[str, str]:
    """Heading → text, in the order in which they are shown."""
    return {
        "integers": _integers(summary),
        "ranges": BY_RUNTIME
        if summary.ranges is None
        else f"{summary.ranges} tensors, observer {summary.observer}",
        "shared scales": BY_RUNTIME
        if summary.shared_scales is None
        else f"{summary.shared_scales} group{'' if summary.shared_scales == 1 else 's'}",
        "in float": _in_float(summary),
        "corrected biases": _biases(summary),
        **({"tables": f"{', '.join(summary.tables)}: rows in int8, a scale each"} if summary.tables else {}),
        **({"repaired before": "; ".join(summary.repairs)} if summary.repairs else {}),
    }


def _integers(summary: QuantizationSummary) -> str:
    zero = "zero point 0" if summary.symmetric else "any zero point"
    return (
        f"{summary.activation} activations, {zero}; {summary.weight} weights of {summary.weight_bits} bits "
        f"{summary.granularity.replace('-', ' ')}"
    )


def _in_float(summary: QuantizationSummary) -> str:
    """Layers by reason, the first few by name."""
    parts = []
    for reason, meaning in REASONS.items():
        names = [_named(layer) for layer in summary.in_float if layer.reason == reason]
        if names:
            more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
            parts.append(f"{', '.join(names[:SHOWN])}{more} ({meaning})")
    return "; ".join(parts) or "none"


def _named(layer: FloatLayer) -> str:
    """Its name, with what it costs and gives where it was chosen by that."""
    if layer.extra_ms is None or layer.noise is None:
        return layer.name
    return f"{layer.name} {layer.extra_ms * 1e3:+.3g} us for {layer.noise:.2g} of the noise"


def _biases(summary: QuantizationSummary) -> str:
    if summary.bias_correction == "none":
        return "none"
    count = BY_RUNTIME if summary.corrected_biases is None else str(summary.corrected_biases)
    return f"{count} ({summary.bias_correction})"
