"""The ways in which one runtime's array is another's with its axes in another order."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["LAYOUTS", "Layout", "apply_layout", "layouts_between", "suspects_between"]

Layout = Literal["same", "nhwc", "nchw", "reshape", "swapped", "reversed"]

LAYOUTS: Mapping[Layout, str] = {
    "same": "as it is",
    "nhwc": "from channels last to channels first",
    "nchw": "from channels first to channels last",
    "reshape": "reshaped",
    "swapped": "with its last two axes swapped",
    "reversed": "with its channels in reverse order (RGB and BGR)",
}
"""Layout → how B's array becomes A's, in words."""


def apply_layout(array: NDArray[Any], layout: Layout, shape: Sequence[int]) -> NDArray[Any]:
    """B's array [N, ...] in the layout of A, whose shape is given."""
    if layout == "nhwc":
        return np.moveaxis(array, -1, 1)
    if layout == "nchw":
        return np.moveaxis(array, 1, -1)
    if layout == "swapped":
        return np.swapaxes(array, -1, -2)
    if layout == "reversed":
        return np.flip(array, 1)
    return array.reshape(shape) if layout == "reshape" else array


def layouts_between(a: Sequence[int], b: Sequence[int]) -> tuple[Layout, ...]:
    """Layouts in which an array of shape `b` takes the shape `a`, the likeliest first; none: no such layout."""
    layouts: list[Layout] = []
    if tuple(a) == tuple(b):
        layouts.append("same")
    if len(a) == len(b) > 2:
        last, first = (b[0], b[-1], *b[1:-1]), (b[0], *b[2:], b[1])
        if tuple(a) == last:
            layouts.append("nhwc")
        if tuple(a) == first and first != last:
            layouts.append("nchw")
    if not layouts and math.prod(a) == math.prod(b) and _without_ones(a) == _without_ones(b):
        layouts.append("reshape")
    return tuple(layouts)


def suspects_between(shape: Sequence[int]) -> tuple[Layout, ...]:
    """Mistakes that keep the shape: an array that agrees only so was mixed up somewhere."""
    layouts: list[Layout] = []
    if len(shape) > 2 and shape[-1] == shape[-2] > 1:
        layouts.append("swapped")
    if len(shape) == 4 and shape[1] == 3:
        layouts.append("reversed")
    return tuple(layouts)


def _without_ones(shape: Sequence[int]) -> tuple[int, ...]:
    return tuple(size for size in shape if size != 1)
