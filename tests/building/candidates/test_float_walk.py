"""Which set of layers in float is built next, and with how few the least is found that keeps the accuracy."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.building.candidates.float_walk import MOST_BUILDS, following

frontiers = st.lists(st.integers(1, 100), min_size=1, max_size=60, unique=True).map(sorted)


def walked(percents: list[int], first: int, keeps: dict[int, bool], most: int) -> dict[int, bool]:
    """What was built, in order, the first included."""
    kept = {first: keeps.get(first, False)}
    while len(kept) <= most and (percent := following(percents, kept)) is not None:
        assert percent not in kept, "nothing is built twice"
        kept[percent] = keeps[percent]
    return kept


@settings(deadline=None)
@given(frontiers, st.data())
def test_it_ends_and_builds_nothing_slower_than_one_that_kept_the_accuracy(
    percents: list[int], data: st.DataObject
) -> None:
    keeps = {percent: data.draw(st.booleans()) for percent in percents}
    first = data.draw(st.sampled_from([0, *percents]))
    built: list[int] = []
    kept = walked(percents, first, keeps, MOST_BUILDS)
    assert len(kept) <= MOST_BUILDS + 1
    for percent in kept:
        assert percent < min((before for before in built if kept[before]), default=101)
        assert percent in (first, *percents)
        built.append(percent)


@settings(deadline=None)
@given(frontiers, st.data())
def test_where_accuracy_grows_with_time_the_least_is_found(percents: list[int], data: st.DataObject) -> None:
    needed = data.draw(st.integers(1, 101))
    first = data.draw(st.sampled_from([0, *percents]))
    keeps = {percent: percent >= needed for percent in percents}
    kept = walked(percents, first, keeps, len(percents))
    found = min((percent for percent, held in kept.items() if held), default=None)
    assert found == min((percent for percent in percents if percent >= needed), default=None)
    assert len(kept) <= 2 + len(percents).bit_length()


def test_where_none_keeps_the_accuracy_it_ends_near_the_slowest() -> None:
    percents = list(range(1, 31))
    kept = walked(percents, 10, dict.fromkeys(percents, False), MOST_BUILDS)
    assert list(kept) == [10, 21, 26, 29, 30]
