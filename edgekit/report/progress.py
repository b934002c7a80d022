"""Draws a build's progress on standard error with rich; a pipe gets plain lines."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from edgekit.console import make_console
from edgekit.progress import Step

__all__ = ["RichReporter"]

WORTH_SAYING_S = 0.5


class _Bar:
    def __init__(self, progress: Progress, task: TaskID, title: str) -> None:
        self._progress, self._task, self._title = progress, task, title

    def advance(self, fraction: float, text: str = "") -> None:
        description = f"{self._title}: {text}" if text else self._title
        self._progress.update(self._task, total=1.0, completed=min(fraction, 1.0), description=description)


class _Quiet:
    """A pipe gets finished lines, no bars."""

    def advance(self, fraction: float, text: str = "") -> None:
        pass


def columns() -> tuple[ProgressColumn, ...]:
    """Spinner, what is being done, bar, time spent, time left."""
    return (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=16),
        TimeElapsedColumn(),
        TimeRemainingColumn(compact=True),
    )


class RichReporter:
    """A spinner with elapsed time until the first `advance`, then a bar with the time left."""

    def __init__(self) -> None:
        self._console = make_console(stderr=True)

    @contextmanager
    def step(self, title: str) -> Iterator[Step]:
        started = time.monotonic()
        if self._console.is_terminal:
            with Progress(*columns(), console=self._console, transient=True) as progress:
                yield _Bar(progress, progress.add_task(title, total=None), title)
        else:
            yield _Quiet()
        seconds = time.monotonic() - started
        if seconds >= WORTH_SAYING_S:
            self._console.print(f"[dim]{title}: {seconds:.1f} s[/dim]", highlight=False)

    def say(self, line: str) -> None:
        self._console.print(line, highlight=False)
