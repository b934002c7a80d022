"""Which candidate wins. Pure: no numpy, no runtime, no clock; the entries' order does not matter."""

from __future__ import annotations

from edgekit.choose.entry import Entry
from edgekit.choose.estimated import outlook, retold, speed
from edgekit.choose.frontier import pareto_frontier
from edgekit.choose.rules import choose

__all__ = ["Entry", "choose", "outlook", "pareto_frontier", "retold", "speed"]
