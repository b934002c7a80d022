"""Whether two machines answer alike: the same artifact over the same samples, on the board and here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from edgekit.types import Agreement

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["agreement_of"]

TELLING = 0.05
"""Share of an output's range by which a value has to differ to count, where outputs are no classes."""


def agreement_of(
    board: Mapping[str, NDArray[np.generic]], here: Mapping[str, NDArray[np.generic]]
) -> Agreement:
    """Both: output name → [N, ...], as many samples in each. Raises ValueError on other names or shapes."""
    if {name: array.shape for name, array in board.items()} != {
        name: array.shape for name, array in here.items()
    }:
        raise ValueError("outputs of two networks")
    samples = len(next(iter(board.values())))
    by_class = (
        len(board) == 1 and next(iter(board.values())).ndim == 2 and next(iter(board.values())).shape[1] > 1
    )
    shares = {name: _shares(board[name], here[name]) for name in board}
    differs = np.zeros(samples, dtype=bool)
    for name, share in shares.items():
        differs |= np.argmax(board[name], 1) != np.argmax(here[name], 1) if by_class else share > TELLING
    output = max(shares, key=lambda name: float(shares[name].max(initial=0.0)))
    place = int(shares[output].argmax()) if samples else 0
    return Agreement(
        samples=samples,
        differing=int(differs.sum()),
        by_class=by_class,
        worst=float(shares[output][place]) if samples else 0.0,
        worst_sample=place,
        output=output,
    )


def _shares(board: NDArray[np.generic], here: NDArray[np.generic]) -> NDArray[np.float64]:
    """Of each sample the largest difference, as a share of the output's range here.

    What is no number on one side differs wholly.
    """
    first, second = (np.asarray(array, dtype=np.float64).reshape(len(array), -1) for array in (board, here))
    finite = second[np.isfinite(second)]
    extent = float(finite.max() - finite.min()) if finite.size else 0.0
    same = (first == second) | (np.isnan(first) & np.isnan(second))
    with np.errstate(invalid="ignore"):
        difference = np.where(same, 0.0, np.abs(first - second))
    difference = np.where(np.isfinite(difference), difference, max(extent, 1.0))
    shares: NDArray[np.float64] = difference.max(axis=1, initial=0.0) / (extent or 1.0)
    return shares
