"""How far a bundle's outputs may be from its golden ones: by the precision, and by what that precision costs here."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from edgekit.board.golden import deviation, magnitude
from edgekit.board.manifest import LARGEST_TOLERANCE
from edgekit.precisions import PRECISIONS
from edgekit.types import Precision

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["golden_tolerance"]

MARGIN = 3.0
"""Of the golden outputs' own distance from float. Another machine's kernels round elsewhere: its outputs lie about as
far from float as the golden ones, in another direction; half-precision sums err about twice as much."""


def golden_tolerance(
    precision: Precision,
    outputs: Sequence[NDArray[np.generic]],
    floats: Sequence[NDArray[np.generic]] | None = None,
) -> float:
    """Relative to each output's largest golden magnitude, at most `LARGEST_TOLERANCE`; [samples, ...] each.

    `outputs`: the golden ones. `floats`: what the same network answers in float32 to the same inputs; None where that
    is not known. The precision's own tolerance holds for networks whose values it rounds mildly. Where its golden
    outputs are themselves further from float, another implementation cannot be asked to be nearer to them than float
    is: TensorRT chooses what it computes in float16, and integers move by a step where kernels add in another order.
    """
    row = PRECISIONS[precision]
    if floats is None or row.arithmetic == "fp32":
        return row.golden_tolerance
    own = max(
        (deviation(right, golden, magnitude(golden)) for right, golden in zip(floats, outputs, strict=True)),
        default=0.0,
    )
    if not math.isfinite(own):  # of float outputs that are not finite nothing can be said
        return row.golden_tolerance
    return max(row.golden_tolerance, min(MARGIN * own, LARGEST_TOLERANCE))
