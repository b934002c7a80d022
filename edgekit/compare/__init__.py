"""Two artifacts of the same network, in any two runtimes, layer by layer: where they part, and what to try."""

from __future__ import annotations

from edgekit.compare.board import BoardRun, BoardSide
from edgekit.compare.compare import CompareSamples, compare_artifacts, write_board_sides
from edgekit.compare.outcome import Comparison, LayerDifference, OutputDifference, Side
from edgekit.compare.samples import samples_of

__all__ = [
    "BoardRun",
    "BoardSide",
    "CompareSamples",
    "Comparison",
    "LayerDifference",
    "OutputDifference",
    "Side",
    "compare_artifacts",
    "samples_of",
    "write_board_sides",
]
