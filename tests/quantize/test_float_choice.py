"""Which units stay in float: checked against all sets of small networks."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.quantize.float_choice import AS_GOOD, FloatChoice, choices_by_percent, choose_in_float
from edgekit.quantize.precision_times import Border, Noise, PrecisionTimes, SwitchableUnit

extras = st.one_of(st.none(), st.floats(-0.5, 2.0).map(lambda value: round(value, 3)))
costs = st.floats(0, 0.5).map(lambda value: round(value, 3))
energies = st.floats(0, 1).map(lambda value: round(value, 4))


@st.composite
def networks(draw: st.DrawFn) -> tuple[PrecisionTimes, Noise]:
    """A chain of units between two ends, with a shortcut here and there."""
    count = draw(st.integers(1, 5))
    units = tuple(SwitchableUnit((f"n{place}",), draw(extras)) for place in range(count))
    borders = [Border("input", None, (0,), draw(costs))]
    for place in range(count):
        later = [*range(place + 2, count), None] if place + 1 < count else [None]
        readers = [place + 1] if place + 1 < count else []
        shortcut = draw(st.sampled_from([*later, "none"])) if readers else None
        readers += [] if shortcut == "none" else [shortcut]
        borders.append(Border(f"t{place}", place, tuple(readers), draw(costs)))
    times = PrecisionTimes(units, tuple(borders), 1.0, draw(st.booleans()), "a board")
    weights = {f"n{place}": draw(energies) for place in range(count)}
    tensors = {border.tensor: draw(energies) for border in borders}
    reads = {
        border.tensor: {
            f"n{reader}": tensors[border.tensor] * draw(st.floats(0, 0.5))
            for reader in border.readers
            if reader is not None
        }
        for border in borders
        if len(border.readers) > 1
    }
    return times, Noise(weights, tensors, reads)


def sets_of(times: PrecisionTimes) -> Iterator[tuple[int, ...]]:
    free = [place for place, unit in enumerate(times.units) if unit.extra_ms is not None]
    for size in range(len(free) + 1):
        yield from itertools.combinations(free, size)


def noise_of(times: PrecisionTimes, noise: Noise, chosen: tuple[int, ...]) -> float:
    return times.noise({*chosen, None}, noise)


def extra_of(times: PrecisionTimes, chosen: tuple[int, ...]) -> float:
    return times.extra_ms({*chosen, None}, {None})


@settings(deadline=None)
@given(networks(), st.floats(0, 2))
def test_no_other_set_within_the_time_has_less_noise_and_none_as_good_is_faster(
    network: tuple[PrecisionTimes, Noise], most: float
) -> None:
    times, noise = network
    told = choose_in_float(times, noise, most_extra_ms=most)
    within = [chosen for chosen in sets_of(times) if extra_of(times, chosen) <= most + 1e-6]
    least = min(noise_of(times, noise, chosen) for chosen in within)
    assert extra_of(times, told.chosen) <= most + 1e-5
    assert noise_of(times, noise, told.chosen) <= AS_GOOD * least + 1e-4
    good = [chosen for chosen in within if noise_of(times, noise, chosen) <= AS_GOOD * least - 1e-4]
    assert all(extra_of(times, told.chosen) <= extra_of(times, chosen) + 1e-4 for chosen in good)


@settings(deadline=None)
@given(networks(), st.floats(0, 2))
def test_what_is_told_of_a_choice_is_what_it_does(network: tuple[PrecisionTimes, Noise], most: float) -> None:
    times, noise = network
    told = choose_in_float(times, noise, most_extra_ms=most)
    assert told.extra_ms == pytest.approx(extra_of(times, told.chosen))
    assert told.noise_before == pytest.approx(noise_of(times, noise, ()))
    assert told.noise_after == pytest.approx(noise_of(times, noise, told.chosen))
    own = sum(times.units[place].extra_ms or 0.0 for place in told.chosen)
    assert told.extra_ms == pytest.approx(own + told.borders_ms)
    assert set(told.by_unit) == set(told.chosen)
    for place, (extra_ms, back) in told.by_unit.items():
        without = tuple(other for other in told.chosen if other != place)
        assert extra_ms == pytest.approx(told.extra_ms - extra_of(times, without))
        assert back == pytest.approx(noise_of(times, noise, without) - told.noise_after)
        assert back >= -1e-12


@settings(deadline=None)
@given(networks())
def test_more_time_never_leaves_much_more_noise(network: tuple[PrecisionTimes, Noise]) -> None:
    times, noise = network
    left = [choose_in_float(times, noise, most_extra_ms=most).noise_after for most in (0.0, 0.5, 1.0, 4.0)]
    assert all(more <= AS_GOOD * less + 1e-4 for less, more in itertools.pairwise(left))


def chain(*extra_ms: float | None, border_ms: float = 0.25, rounds_results: bool = True) -> PrecisionTimes:
    """Units one behind the other, named a, b, ..."""
    units = tuple(SwitchableUnit(("abcdef"[place],), extra) for place, extra in enumerate(extra_ms))
    last = len(units) - 1
    borders = [Border("input", None, (0,), border_ms)]
    borders += [
        Border(f"{unit.nodes[0]}.out", place, (place + 1 if place < last else None,), border_ms)
        for place, unit in enumerate(units)
    ]
    return PrecisionTimes(units, tuple(borders), 10.0, rounds_results, "a board")


def choose(times: PrecisionTimes, weights: dict[str, float], most: float, **settings: object) -> FloatChoice:
    return choose_in_float(times, Noise(weights, {}), most_extra_ms=most, **settings)  # type: ignore[arg-type]


def test_two_neighbours_share_the_border_between_them() -> None:
    """b and c cost 1.1 and give 6; b and d, further apart, would give 7 and cost 1.6."""
    times = chain(1.0, 0.3, 0.3, 0.3, 1.0)
    told = choose(times, {"b": 3.0, "c": 3.0, "d": 4.0}, 1.1)
    assert told.chosen == (2, 3)
    assert told.extra_ms == pytest.approx(0.3 + 0.3 + 2 * 0.25)


def test_a_unit_between_two_stays_float_where_going_back_costs_more() -> None:
    told = choose(chain(5.0, 0.1, 0.2, 0.1, 5.0), {"b": 1.0, "d": 1.0}, 2.0)
    assert told.chosen == (1, 2, 3)
    assert told.by_unit[2] == (pytest.approx(0.2 - 2 * 0.25), 0.0)


def test_a_unit_that_is_faster_in_float_is_taken_without_any_time_to_spend() -> None:
    told = choose(chain(-1.0, 5.0), {"a": 0.1, "b": 5.0}, 0.0)
    assert told.chosen == (0,)
    assert told.extra_ms == pytest.approx(-1.0 - 0.25 + 0.25)


def test_what_is_float_anyway_costs_nothing_and_spares_borders() -> None:
    times = chain(1.0, 1.0, 1.0)
    told = choose(times, {"a": 1.0, "c": 1.0}, 0.6, float_anyway=("b",))
    assert 1 not in told.chosen
    assert told.chosen in ((0,), (2,), ())
    near = choose(chain(0.4, 1.0, 1.0), {"a": 1.0}, 0.0, float_anyway=("b",))
    assert near.chosen == (0,), "its two borders are spared, and cost more than it"


def test_what_cannot_be_float_is_never_chosen() -> None:
    assert choose(chain(0.0, 0.0), {"a": 1.0, "b": 1.0}, 9.0, never_float=("a",)).chosen == (1,)
    assert choose(chain(None, 0.0), {"a": 1.0, "b": 1.0}, 9.0).chosen == (1,)


def test_a_tensor_is_rounded_as_long_as_one_side_is_int8() -> None:
    times, noise = chain(0.1, 0.1, border_ms=0.0), Noise({}, {"a.out": 1.0})
    assert choose_in_float(times, noise, most_extra_ms=0.1).noise_after == 1.0
    assert choose_in_float(times, noise, most_extra_ms=0.2).noise_after == 0.0


def test_an_integer_layer_may_hand_out_float() -> None:
    """As OpenVINO's do: then it is enough that who reads it is in float."""
    noise = Noise({}, {"a.out": 1.0})
    told = choose_in_float(chain(0.1, 0.1, border_ms=0.0, rounds_results=False), noise, most_extra_ms=0.1)
    assert told.chosen == (1,)
    assert told.noise_after == 0.0


@settings(deadline=None)
@given(networks(), st.integers(1, 100))
def test_choices_by_percent_are_those_of_single_percents_and_none_comes_twice(
    network: tuple[PrecisionTimes, Noise], most: int
) -> None:
    times, noise = network
    told = list(choices_by_percent(times, noise, int8_ms=1.0, most_percent=most))
    percents = [percent for percent, _ in told]
    assert percents == sorted(set(percents), reverse=True)
    assert all(1 <= percent <= most for percent in percents)
    chosen = [choice.chosen for _, choice in told]
    assert len(set(chosen)) == len(chosen)
    assert () not in chosen
    for percent, choice in told:
        assert choice.extra_ms <= percent / 100 + 1e-5
        assert choice.extra_ms > (percent - 1) / 100 - 1e-5 or percent == 1


def test_only_those_who_read_in_int8_see_what_float_made_rounded() -> None:
    units = tuple(SwitchableUnit((name,), 0.1) for name in "abc")
    border = Border("a.out", 0, (1, 2), 0.0)
    noise = Noise({}, {"a.out": 1.0}, {"a.out": {"b": 0.1, "c": 0.9}})
    for rounds_results, in_int8 in ((True, 1.0), (False, 0.9)):
        times = PrecisionTimes(units, (border,), 10.0, rounds_results, "a board")
        assert times.noise({1, None}, noise) == in_int8
        assert times.noise({0, 2, None}, noise) == 0.1
        assert times.noise({0, 1, None}, noise) == 0.9
        assert times.noise({0, 1, 2, None}, noise) == 0.0
        assert choose_in_float(times, noise, most_extra_ms=0.2).chosen == (
            (0, 2) if rounds_results else (1, 2)
        )
