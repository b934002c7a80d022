"""The precisions: one row each, with all that holds for them in every runtime and on every board.

To add one: its name in `types.Precision`, a row here, and the runtimes of `targets/*.toml` that have it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from edgekit.types import Precision

__all__ = ["OFFERED", "PRECISIONS"]


@dataclass(frozen=True)
class PrecisionRow:
    """One precision.

    `weight_bits`: of one stored weight or value. `arithmetic`: what is multiplied in, unless a target says otherwise.
    `is_calibrated`: activations are quantized with ranges found beforehand, so that a candidate has a recipe.
    `is_weight_only`: only weights are stored so, whatever is
    multiplied. `is_offered`: a build makes it. `marker`: in plots, by matplotlib's name.

    `golden_tolerance`: how far an output may be from the golden one, relative to the largest golden magnitude of that
    output. Kernels of another CPU add in another order and, in int8, round some values to the neighbouring step
    (ONNX Runtime and OpenVINO requantize with different instructions on AVX2, AVX-512 and Arm): this leaves room for
    that, not for another network. fp32 sums in float32, w8 in OpenVINO too. A bundle's own tolerance may be wider, by
    how far its outputs are from float themselves (`bundle/tolerance.py`).
    """

    name: Precision
    weight_bits: int
    arithmetic: Precision
    golden_tolerance: float
    marker: str
    is_calibrated: bool = False
    is_weight_only: bool = False
    is_offered: bool = True

    def is_meant_by(self, ran_as: Precision | str) -> bool:
        """Whether a candidate of this precision whose layers ran so ran as asked; "" is not known."""
        return self.is_weight_only or ran_as in ("", self.name, self.arithmetic)


PRECISIONS: Mapping[Precision, PrecisionRow] = {
    row.name: row
    for row in (
        PrecisionRow("fp32", 32, "fp32", 1e-3, "o"),
        PrecisionRow("bf16", 16, "bf16", 5e-2, "s"),
        PrecisionRow("fp16", 16, "fp16", 1e-2, "P"),
        PrecisionRow("int8", 8, "int8", 5e-2, "D", is_calibrated=True),
        PrecisionRow("w8", 8, "fp32", 1e-3, "^", is_weight_only=True),
        PrecisionRow("w4", 4, "fp32", 5e-2, "p", is_weight_only=True),
        PrecisionRow("int8-dynamic", 8, "int8", 5e-2, "v"),
        PrecisionRow("fp8", 8, "fp8", 1e-1, "*", is_calibrated=True, is_offered=False),
        PrecisionRow("fp4", 4, "fp4", 2e-1, "h", is_calibrated=True, is_offered=False),
    )
}
"""Name → row."""

OFFERED = tuple(row.name for row in PRECISIONS.values() if row.is_offered)
"""Those that a build makes."""
