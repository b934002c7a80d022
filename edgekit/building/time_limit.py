"""The time limit of a build: when it ends, what is kept back for what still has to follow, and what it left undone."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, replace

from edgekit.errors import TimeLimitReached
from edgekit.quantities import told_seconds
from edgekit.types import Rejection

__all__ = ["TIMING_S", "TimeLimit"]

TIMING_S = 7.0
"""Of one candidate among others: loading, warming up, 3 s of timed runs (7 to 9 s, small networks on a busy CPU)."""

MOST_RESERVED = 1 / 3
"""Of the whole limit: a short one still has to let something be tried that can be timed."""

LONGER = "the same command with a longer --time-limit goes on from there"


@dataclass(frozen=True)
class TimeLimit:
    """`limit_s` for the whole build, over at `ends` on time.monotonic()'s clock."""

    limit_s: float
    ends: float

    @property
    def told(self) -> str:
        """That it ended, in words."""
        return f"the time limit of {told_seconds(self.limit_s)} ended"

    def left_s(self) -> float:
        """Seconds until it ends; negative after that."""
        return self.ends - time.monotonic()

    def check(self) -> None:
        """Raises TimeLimitReached once the time is over."""
        if self.left_s() <= 0:
            raise TimeLimitReached(self.told)

    def with_room_for(self, candidates: int) -> TimeLimit:
        """The same, but over early enough to time so many candidates within the limit."""
        reserve_s = min(TIMING_S * candidates, MOST_RESERVED * self.limit_s)
        return replace(self, ends=self.ends - reserve_s)

    def not_tried(self, what: str) -> Rejection:
        """What it left undone."""
        return Rejection(what, f"not tried: {self.told}", LONGER)

    def cut_short(self, what: str) -> Rejection:
        """What it left half done, but usable."""
        return Rejection(what, f"cut short: {self.told}", LONGER)

    def warnings(self, rejections: Iterable[Rejection]) -> tuple[str, ...]:
        """One line where some of `rejections` are its doing, none otherwise."""
        undone = [rejection.what for rejection in rejections if rejection.reason.endswith(self.told)]
        if not undone:
            return ()
        return (f"{self.told} before all was done, which could be better: {', '.join(undone)}; {LONGER}",)
