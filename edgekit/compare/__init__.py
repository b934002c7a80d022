"""Two artifacts of the same network, in any two runtimes, layer by layer: where they part, and what to try."""

from __future__ import annotations

from edgekit.compare.compare import Samples, compare_artifacts
from edgekit.compare.outcome import Comparison, LayerDifference, OutputDifference, Side

__all__ = ["Comparison", "LayerDifference", "OutputDifference", "Samples", "Side", "compare_artifacts"]
