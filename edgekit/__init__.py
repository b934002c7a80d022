"""edgekit: from a trained network and a board to the most accurate build that meets a latency budget there."""

from __future__ import annotations

__version__ = "0.1.0"
__all__ = ["__version__"]
