"""Progress where nobody draws: a log file."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from edgekit import api
from edgekit.report import progress
from edgekit.report.progress import RichReporter


class Capture:
    """A writer that tells when a line has come that holds what is waited for."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._news = threading.Condition()

    def print(self, line: str, **_style: object) -> None:
        with self._news:
            self.lines.append(line)
            self._news.notify_all()

    def wait_for(self, fits: Callable[[str], bool]) -> bool:
        with self._news:
            return self._news.wait_for(lambda: any(map(fits, self.lines)), timeout=15)


def test_a_log_is_told_what_a_long_step_waits_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "FIRST_S", 0.01)
    console = Capture()
    reporter = RichReporter()
    monkeypatch.setattr(
        reporter, "_console", type("Pipe", (), {"is_terminal": False, "print": console.print})()
    )
    threads = threading.active_count()
    with reporter.step("Measuring") as step:
        step.advance(0.0, "waiting for another measurement")
        assert console.wait_for(lambda line: line.startswith("Measuring: waiting for another measurement, "))
        step.advance(0.5, "timing")
        assert console.wait_for(lambda line: line.startswith("Measuring: timing (50%), "))
    assert threading.active_count() == threads


def test_a_short_step_says_nothing_into_a_log(capsys: pytest.CaptureFixture[str]) -> None:
    with RichReporter().step("Reading") as step:
        step.advance(0.5, "half")
    assert capsys.readouterr().err == ""


def test_a_script_may_ask_for_lines() -> None:
    assert isinstance(api._reporter("lines", quiet=False), RichReporter)
