"""Successive halving: who goes on, who has won, and how long a training may be."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.building.variants.halving import LENGTHS_BY_TIME, RUNGS, epochs_that_fit, halved

NAMES = st.lists(st.text("abcdefgh", min_size=1, max_size=3), min_size=1, max_size=9, unique=True)


@settings(deadline=None)  # a busy machine
@given(NAMES, st.data())
def test_with_steady_scores_the_best_wins_and_the_better_half_goes_on(
    names: list[str], data: st.DataObject
) -> None:
    worth = {name: data.draw(st.integers(0, 5)) for name in names}
    asked: list[tuple[str, float]] = []

    def score(name: str, rung: float) -> float:
        asked.append((name, rung))
        return worth[name]

    contest = halved(names, RUNGS, score)
    assert worth[contest.winner] == max(worth.values())
    on_first = [name for name, rung in asked if rung == RUNGS[0]]
    on_second = [name for name, rung in asked if rung == RUNGS[1]]
    assert on_first == (names if len(names) > 1 else [])
    assert len(on_second) == (0 if len(names) <= 2 else (len(names) + 1) // 2)
    if on_second:
        out = set(on_first) - set(on_second)
        assert min(worth[name] for name in on_second) >= max(worth[name] for name in out)
    assert {name: len(scores) for name, scores in contest.scores.items()} == {
        name: (name in on_first) + (name in on_second) for name in names
    }


@settings(deadline=None)  # a busy machine
@given(NAMES, st.integers(0, 12))
def test_without_time_the_best_so_far_wins(names: list[str], trained: int) -> None:
    left = iter(range(trained))
    order = {name: index for index, name in enumerate(names)}
    contest = halved(names, RUNGS, lambda name, rung: order[name], lambda: next(left, None) is not None)
    done = [name for name in names if contest.scores[name]]
    if len(done) < len(names) or len(names) == 1:
        assert contest.winner == names[0]  # not all were seen: what was expected most of
    else:
        assert contest.winner == names[-1]


def test_equal_scores_go_by_what_was_expected() -> None:
    assert halved(["a", "b", "c"], RUNGS, lambda name, rung: 0.5).winner == "a"


def test_a_contest_of_nobody_is_refused() -> None:
    with pytest.raises(ValueError, match="nobody"):
        halved([], RUNGS, lambda name, rung: 0.0)


@settings(deadline=None)  # a busy machine
@given(st.floats(1, 100), st.floats(0, 1e6), st.floats(1e-3, 1e4))
def test_a_training_fits_into_the_time_or_is_the_shortest(
    default: float, left_s: float, epoch_s: float
) -> None:
    lengths = [default * length for length in LENGTHS_BY_TIME]
    epochs = epochs_that_fit(default, left_s, epoch_s)
    assert epochs in lengths
    assert epochs * epoch_s <= left_s or epochs == lengths[0]
    longer = [other for other in lengths if other > epochs]
    assert not longer or longer[0] * epoch_s * 1.2 > left_s


def test_who_is_scored_on_a_rung_is_told_before_any_is() -> None:
    told: list[tuple[str, ...]] = []
    scored: list[str] = []

    def ahead(names: Sequence[str], rung: float) -> None:
        assert len(scored) == sum(map(len, told))
        told.append(tuple(names))

    def score(name: str, rung: float) -> float:
        scored.append(name)
        return {"a": 1.0, "b": 3.0, "c": 2.0}[name]

    contest = halved(("a", "b", "c"), (0.1, 0.2), score, ahead=ahead)
    assert contest.winner == "b"
    assert told == [("a", "b", "c"), ("b", "c")]
    assert scored == ["a", "b", "c", "b", "c"]
