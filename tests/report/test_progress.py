"""What a pipe is told of a build's progress."""

from __future__ import annotations

import pytest

from edgekit.report import progress
from edgekit.report.progress import RichReporter


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time that steps see, in seconds, as its only item."""
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_a_pipe_hears_of_a_long_step_now_and_then(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    with RichReporter().step("Checking") as step:
        for text, after_s in (("first", 0.0), ("second", 1.0), ("third", 20.0), ("fourth", 1.0)):
            clock[0] += after_s
            step.advance(0.25, text)
    assert capsys.readouterr().err.splitlines() == ["Checking: third, 25%", "Checking: 22.0 s"]


def test_a_short_step_is_not_told_of(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    with RichReporter().step("Checking") as step:
        step.advance(0.0, "first")
        step.advance(0.5, "second")
    assert capsys.readouterr().err == ""
