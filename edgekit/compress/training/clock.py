"""How far a training is, by its steps or by its time."""

from __future__ import annotations

import time

__all__ = ["Clock"]


class Clock:
    """How far the schedule is: by steps, or by time where the time limit would cut the steps short."""

    def __init__(self, planned: int, start: int, limit_s: float | None) -> None:
        self._planned, self._start, self._limit_s = planned, start, limit_s
        self._begun = time.monotonic()
        self._last = 0.0
        self.shortened = False

    def progress(self, step: int) -> float:
        """0 to 1, never falling."""
        share = step / self._planned
        if self._limit_s is not None:
            spent = time.monotonic() - self._begun
            done = step - self._start
            needed = spent / done * (self._planned - self._start) if done else 0.0
            if needed > self._limit_s and spent > 0.02 * self._limit_s:
                first = self._start / self._planned
                self.shortened = True
                share = max(share, first + (1.0 - first) * spent / self._limit_s)
        self._last = min(1.0, max(self._last, share))
        return self._last
