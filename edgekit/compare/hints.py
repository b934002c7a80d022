"""What to try where two artifacts differ. Each hint rests on a figure that was measured, and tells it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgekit.compare.layouts import LAYOUTS

if TYPE_CHECKING:
    from edgekit.backends.tensors import Grid, TensorFacts, Weights
    from edgekit.compare.layouts import Layout
    from edgekit.compare.parts import PartDifference
    from edgekit.compare.statistics import Difference

__all__ = ["Remedies", "layer_hints", "output_hints"]

OUTSIDE, CLIPPED = 0.0005, 0.3
"""Shares of values cut off, and of the error that this makes, from which cutting off is to blame."""

COARSE_DB = 27.0
"""Rounding to a grid that alone leaves less is to blame, where it explains the error (within 3 dB)."""

SHARED_LEVELS = 8
"""A part whose values span no more steps of the grid is lost by it."""

NARROW, FEW_LEVELS = 1e-3, 16
WEIGHTS_OFF, GAIN_OFF, LINEAR = 0.05, 0.05, 0.02
NEGLIGIBLE = 0.02  # of the largest channel's norm: what rounding does to a channel that is next to nothing
SHIFTED = 0.5


@dataclass(frozen=True)
class Remedies:
    """How to get what a hint asks for, in words that name recipes of the artifact's runtime."""

    wider: str = "a min-max observer"
    tighter: str = "an MSE or percentile observer"
    keep_float: str = "keep it in float"
    bias: str = "of the weights' rounding"


def layer_hints(
    difference: Difference,
    a: TensorFacts,
    b: TensorFacts,
    *,
    inputs_db: float | None = None,
    suspects: Sequence[tuple[Layout, float]] = (),
    part: PartDifference | None = None,
    remedies: Remedies = Remedies(),
    diverges: bool = True,
) -> tuple[str, ...]:
    """Sentences on one tensor, the most telling first; `suspects` are layouts in which the values do agree.

    Where the artifacts begin to differ (`diverges`) something is said even if no single cause was found.
    """
    hints = [
        *_broken_values(difference),
        *_layout(suspects),
        *_shared_scale(part, b.grid, remedies),
        *_weights(a.weights, b.weights, remedies),
        *_linear(difference, a.op == "input"),
        *_range(difference, b.grid, a.op == "input", remedies),
    ]
    hints = hints or (_shift(difference, remedies) if a.op != "input" else [])
    if hints or not diverges:
        return tuple(hints)
    if inputs_db is not None and difference.sqnr_db >= inputs_db - 1.0:
        return ("its inputs are as far apart as it is: it passes on what the layers before it lost",)
    if b.grid or (b.weights and b.weights.grid):
        return (f"no single cause stands out: {remedies.keep_float}",)
    return ()


def output_hints(
    difference: Difference, *, softmax: str = "", suspects: Sequence[tuple[Layout, float]] = ()
) -> tuple[str, ...]:
    """Sentences on one output; `softmax` names the side that ends in one where the other does not."""
    if softmax:
        return (f"{softmax} ends in a softmax, the other does not: compare or deploy them with the same end",)
    return (*_broken_values(difference), *_layout(suspects), *_linear(difference, False))


def _broken_values(difference: Difference) -> list[str]:
    hints = []
    for side, share in zip("AB", difference.not_finite, strict=True):
        if share > 0:
            hints.append(f"{share:.2%} of {side}'s values are NaN or infinite: overflow in its arithmetic?")
    low, high = difference.range_b
    if low == high and difference.range_a[0] < difference.range_a[1]:
        hints.append(f"B gives {low:.4g} everywhere: its scale is degenerate, or the layer is cut off")
    return hints


def _layout(suspects: Sequence[tuple[Layout, float]]) -> list[str]:
    return [
        f"the values do agree {LAYOUTS[layout]} (correlation {correlation:.3f}): a layout is mixed up"
        for layout, correlation in suspects
    ]


def _shared_scale(part: PartDifference | None, grid: Grid | None, remedies: Remedies) -> list[str]:
    """Whether a part is lost since the scale that it shares is made for larger ones."""
    if part is None or not part.lost or grid is None:
        return []
    width = part.range_a[1] - part.range_a[0]
    if width > SHARED_LEVELS * grid.step:
        return []
    return [
        f"one scale holds all of it ({grid.low:.4g} to {grid.high:.4g} in steps of {grid.step:.3g}), which leaves "
        f"{width / grid.step:.1f} steps to this part: {remedies.keep_float}, or give its parts outputs of their own"
    ]


def _weights(a: Weights | None, b: Weights | None, remedies: Remedies) -> list[str]:
    if a is None or b is None or len(a.norms) != len(b.norms):
        return []
    hints = []
    smallest = min((edge for edge in a.edges if edge > 0), default=0.0)
    levels = smallest / b.step if b.step > 0 else FEW_LEVELS
    if b.grid == "per-tensor" and levels < FEW_LEVELS:
        ratio = max(a.edges) / smallest
        hints.append(
            f"its weights share one scale, but their channels' ranges differ {ratio:.0f}-fold: the smallest "
            f"has {levels:.1f} levels to each side: quantize weights per channel"
        )
        return hints
    ratios = [
        right / left if left > 0 else float(right > 0) + 1.0
        for left, right in zip(a.norms, b.norms, strict=True)
    ]
    largest = max(a.norms)
    off = [
        place
        for place, ratio in enumerate(ratios)
        if abs(ratio - 1.0) > WEIGHTS_OFF and abs(b.norms[place] - a.norms[place]) > NEGLIGIBLE * largest
    ]
    if off:
        worst = max(off, key=lambda place: abs(ratios[place] - 1.0))
        hints.append(
            f"weights differ in {len(off)} of {len(ratios)} output channels: in channel {worst} B's norm is "
            f"{ratios[worst]:.3g} times A's: another checkpoint, or a damaged layer"
        )
    return hints


def _linear(difference: Difference, is_input: bool) -> list[str]:
    """B as a multiple of A, where that explains nine tenths of the error and more."""
    error = 10.0 ** (-difference.sqnr_db / 10.0)
    if difference.unexplained > min(LINEAR, 0.1 * error):
        return []
    width = difference.range_a[1] - difference.range_a[0]
    if abs(difference.gain - 1.0) < GAIN_OFF and abs(difference.offset) < GAIN_OFF * width:
        return []
    cause = "the samples' preprocessing differs (--scale, --mean, --std)" if is_input else (
        "a scale, a mean or a normalization differs there"
    )  # fmt: skip
    return [f"B is {difference.gain:.4g} × A {difference.offset:+.4g}: {cause}"]


def _range(difference: Difference, grid: Grid | None, is_input: bool, remedies: Remedies) -> list[str]:
    """Whether the grid is too narrow or too coarse for the values."""
    if grid is None or difference.grid_db is None:
        return []
    low, high = difference.range_a
    ends = f"{grid.low:.4g} to {grid.high:.4g}"
    if grid.high - grid.low < NARROW * (high - low):
        return [
            f"its range is {ends}, its values go from {low:.4g} to {high:.4g}: it was calibrated on samples that "
            "are all alike, or not at all: calibrate with more of them"
        ]
    if difference.outside_share > OUTSIDE and difference.clipped_share > CLIPPED:
        remedy = (
            "are the samples preprocessed as the artifact wants them (--scale, --mean, --std)?"
            if is_input
            else f"more calibration samples, or {remedies.wider}"
        )
        return [
            f"{difference.outside_share:.2%} of its values lie outside of its range ({ends}; they go from {low:.4g} "
            f"to {high:.4g}), which makes {difference.clipped_share:.0%} of its error: {remedy}"
        ]
    if difference.grid_db < COARSE_DB and difference.grid_db < difference.sqnr_db + 3.0:
        return [
            f"its range is {ends} in steps of {grid.step:.3g}: outliers make the steps too coarse for most values, "
            f"rounding alone leaves {difference.grid_db:.0f} dB: {remedies.tighter}, or {remedies.keep_float}"
        ]
    return []


def _shift(difference: Difference, remedies: Remedies) -> list[str]:
    if difference.shift_share <= SHIFTED or difference.sqnr_db > 40.0:
        return []
    return [
        f"{difference.shift_share:.0%} of its error is a constant shift of each channel, which bias correction takes "
        f"out ({remedies.bias})"
    ]
