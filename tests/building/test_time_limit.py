"""The time limit as a value: when it ends, what it keeps free, and how it tells what it left undone."""

from __future__ import annotations

import time

import pytest

from edgekit.building.time_limit import TimeLimit
from edgekit.errors import TimeLimitReached
from edgekit.types import Rejection


def test_it_is_checked_against_the_clock() -> None:
    TimeLimit(1.0, time.monotonic() + 60.0).check()
    with pytest.raises(TimeLimitReached, match=r"^the time limit of 90s ended$"):
        TimeLimit(90.0, time.monotonic()).check()


def test_room_for_timing_is_kept_free_up_to_a_third() -> None:
    limit = TimeLimit(1800.0, 10_000.0)
    assert limit.with_room_for(0) == limit
    assert limit.with_room_for(10).ends < limit.with_room_for(5).ends < limit.ends
    assert limit.with_room_for(10**6).ends == pytest.approx(10_000.0 - 600.0)
    assert limit.with_room_for(5).limit_s == 1800.0


def test_only_its_own_doing_is_warned_of_and_in_one_line() -> None:
    limit = TimeLimit(7200.0, 0.0)
    foreign = Rejection("pruning", "left out by the request")
    assert limit.warnings([foreign]) == ()
    (line,) = limit.warnings([foreign, limit.not_tried("a"), limit.cut_short("training of b")])
    assert line.startswith("the time limit of 2h ended")
    assert "a, training of b" in line
    assert "longer --time-limit" in line
    assert "pruning" not in line
