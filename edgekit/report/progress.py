"""Draws a build's progress on standard error with rich; a pipe gets plain lines."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
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
FIRST_S, LONGEST_PAUSE_S = 10.0, 300.0


class _Bar:
    def __init__(self, progress: Progress, task: TaskID, title: str) -> None:
        self._progress, self._task, self._title = progress, task, title

    def advance(self, fraction: float, text: str = "") -> None:
        description = f"{self._title}: {text}" if text else self._title
        self._progress.update(self._task, total=1.0, completed=min(fraction, 1.0), description=description)


class _Lines:
    """A pipe gets no bar, but a line now and then of what is being done: after FIRST_S, and each time twice as long."""

    def __init__(self, console: Console, title: str) -> None:
        self._console, self._title, self._done = console, title, ""
        self._over = threading.Event()
        self._teller = threading.Thread(target=self._tell, daemon=True)

    def advance(self, fraction: float, text: str = "") -> None:
        self._done = f"{text} ({fraction:.0%})" if text and fraction > 0 else text

    def __enter__(self) -> _Lines:
        self._teller.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._over.set()
        self._teller.join()

    def _tell(self) -> None:
        seconds = pause = FIRST_S
        while not self._over.wait(pause):
            done = f": {self._done}" if self._done else ""
            line = f"{self._title}{done}, {seconds:.0f} s so far"
            self._console.print(line, style="dim", highlight=False, markup=False)
            pause = min(2 * pause, LONGEST_PAUSE_S)
            seconds += pause


def columns() -> tuple[ProgressColumn, ...]:
    """Spinner, what is being done, bar, time spent, time left."""
    return (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=16),
        TimeElapsedColumn(),
        TimeRemainingColumn(compact=True),
    )


class _Told:
    """Each detail on a line of its own."""

    def __init__(self, console: Console, title: str) -> None:
        self._console, self._title, self._last = console, title, ""

    def advance(self, fraction: float, text: str = "") -> None:
        if text and text != self._last:
            self._last = text
            self._console.print(f"  {self._title}: {text}", style="dim", highlight=False, markup=False)


class RichReporter:
    """A spinner with elapsed time until the first `advance`, then a bar with the time left; in a pipe lines.

    With a `log` every detail is a line instead, and what libraries write there meanwhile is told after each step.
    """

    def __init__(self, log: Path | None = None) -> None:
        self._console = make_console(stderr=True)
        self._log = log
        self._read = log.stat().st_size if log is not None and log.is_file() else 0

    @contextmanager
    def step(self, title: str) -> Iterator[Step]:
        started = time.monotonic()
        if self._log is not None:
            yield _Told(self._console, title)
        elif self._console.is_terminal:
            with Progress(*columns(), console=self._console, transient=True) as progress:
                yield _Bar(progress, progress.add_task(title, total=None), title)
        else:
            with _Lines(self._console, title) as lines:
                yield lines
        seconds = time.monotonic() - started
        if seconds >= WORTH_SAYING_S or self._log is not None:
            self._console.print(f"[dim]{title}: {seconds:.1f} s[/dim]", highlight=False)
        self._tell_log()

    def say(self, line: str) -> None:
        self._console.print(line, highlight=False)

    def _tell_log(self) -> None:
        """What was written into the log since it was last looked at."""
        if self._log is None or not self._log.is_file():
            return
        with self._log.open("rb") as file:
            file.seek(self._read)
            added = file.read()
        self._read += len(added)
        for line in added.decode("utf-8", "replace").splitlines():
            self._console.print(f"  | {line}", style="dim", highlight=False, markup=False)
