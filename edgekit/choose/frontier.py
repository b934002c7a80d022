"""The Pareto frontier in latency and accuracy."""

from __future__ import annotations

from collections.abc import Sequence

from edgekit.choose.entry import Entry
from edgekit.types import Percentile

__all__ = ["dominates", "pareto_frontier"]


def dominates(entry: Entry, other: Entry, percentile: Percentile) -> bool:
    """Whether `entry` is at least as fast and as accurate as `other`, and better in one of the two.

    Point estimates are compared. False when either lacks one of the two measurements.
    """
    mine, yours = entry.latency(percentile), other.latency(percentile)
    if mine is None or yours is None or entry.drop is None or other.drop is None:
        return False
    no_worse = mine.value <= yours.value and entry.drop.value <= other.drop.value
    return no_worse and (mine.value < yours.value or entry.drop.value < other.drop.value)


def pareto_frontier(entries: Sequence[Entry], percentile: Percentile) -> tuple[str, ...]:
    """Ids of the candidates that none dominates, fastest first. Those that lack a measurement are not on it.

    Candidates equal in both are all on it.
    """
    measured = [
        (latency.value, drop.value, entry.id)
        for entry in entries
        if (latency := entry.latency(percentile)) is not None and (drop := entry.drop) is not None
    ]
    frontier: list[tuple[float, float, str]] = []
    for point in sorted(measured):
        if not frontier or point[1] < frontier[-1][1] or point[:2] == frontier[-1][:2]:
            frontier.append(point)
    return tuple(name for _, _, name in frontier)
