"""The least time in float that keeps the accuracy, found with few builds: which set of layers to try next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

__all__ = ["MOST_BUILDS", "following"]

MOST_BUILDS = 4
"""Of sets beyond the first: bisection among the 30 or so sets that differ by a percent of the time ends within five."""


def following(percents: Sequence[int], kept: Mapping[int, bool]) -> int | None:
    """The next of `percents` (ascending, of the INT8 network's time) to build; None where no better one is left.

    `kept`: of each that was built, whether it kept the accuracy. Nothing slower than one that kept it is tried, nor
    anything faster than the slowest that failed below that: harm falls with time, but for what a few samples decide.
    """
    least = min((percent for percent, held in kept.items() if held), default=None)
    open_ = [percent for percent in percents if least is None or percent < least]
    failed = max((percent for percent in kept if least is None or percent < least), default=None)
    open_ = [percent for percent in open_ if failed is None or percent > failed]
    return open_[len(open_) // 2] if open_ else None
