"""How a build tells what it is doing. The command line draws; Python callers may pass their own."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

__all__ = ["Reporter", "SilentReporter", "SilentStep", "Step"]


class Step(Protocol):
    """One piece of work under way."""

    def advance(self, fraction: float, text: str = "") -> None:
        """`fraction` of the work is done (0 to 1); `text` says what is being done now."""


class Reporter(Protocol):
    """Told of every step and of every line worth reading."""

    def step(self, title: str) -> AbstractContextManager[Step]:
        """Work begins; leaving the context ends it."""

    def say(self, line: str) -> None:
        """One line for people."""


class SilentStep:
    """Says nothing."""

    def advance(self, fraction: float, text: str = "") -> None:
        pass


class SilentReporter:
    """Says nothing."""

    def step(self, title: str) -> AbstractContextManager[Step]:
        return nullcontext(SilentStep())

    def say(self, line: str) -> None:
        pass
