"""Timed inferences."""

from __future__ import annotations

import time

from edgekit.board.timing import warm_up


def test_warm_up_ends_when_three_windows_agree() -> None:
    assert warm_up(lambda: time.sleep(0.001), cap_s=5.0)["runs"] >= 15


def test_a_busy_warm_up_is_capped_and_said_to_be_unsteady() -> None:
    naps = iter(range(1, 10_000))
    warm = warm_up(lambda: time.sleep(0.0005 * next(naps)), cap_s=0.1)
    assert not warm["steady"]
