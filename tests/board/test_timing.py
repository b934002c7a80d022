"""Timed inferences."""

from __future__ import annotations

import time

import pytest

from edgekit.board import timing
from edgekit.board.timing import warm_up


def test_warm_up_ends_when_three_windows_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock that the step alone moves: the machine's own might stand still for longer than the cap."""
    now = [0.0]
    durations = iter([0.02, 0.01, *[0.001] * 10_000])
    monkeypatch.setattr(timing.time, "perf_counter", lambda: now[0])

    def step() -> None:
        now[0] += next(durations)

    warm = warm_up(step, cap_s=5.0)
    assert warm["steady"]
    assert warm["runs"] == 1 + 3 * 5
    assert warm["median_ms"] == pytest.approx(1.0)


def test_a_busy_warm_up_is_capped_and_said_to_be_unsteady() -> None:
    naps = iter(range(1, 10_000))
    warm = warm_up(lambda: time.sleep(0.0005 * next(naps)), cap_s=0.1)
    assert not warm["steady"]
