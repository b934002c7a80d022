"""The plots of a build's plans: times around the budget, and layers by their width."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgekit.report.plots.figures import NARROW, WIDE, Plot
from edgekit.report.plots.plans import plans_plot
from edgekit.report.plots.scales import CHARACTER_PX, spaced_ticks
from edgekit.report.plots.staircases import staircases_plot
from edgekit.types import LayerStaircase, Origin, PlanningResult, PlanResult
from tests.report.planned import example_planning
from tests.report.plots.legible import assert_legible, drawn

PLANNING = example_planning()
LONG = "backbone.features.stage_with_a_long_name.block_number_twelve.depthwise_separable.convolution_"


def times_of(planning: PlanningResult) -> Plot:
    plot = plans_plot(planning)
    assert plot is not None
    return plot


def stairs_of(planning: PlanningResult) -> Plot:
    plot = staircases_plot(planning)
    assert plot is not None
    return plot


def marks(figure: Any, kind: str) -> dict[str, Any]:
    """What is drawn of each plan: `own` time, or `predicted`."""
    named = figure.findobj(lambda artist: str(artist.get_gid()).endswith(f".{kind}"))
    return {mark.get_gid().partition(".")[0]: mark for mark in named}


def with_times(*times: tuple[float, float | None], limit_ms: float = 0.12) -> PlanningResult:
    plans = tuple(PlanResult(f"plan-{n}", a, b, 1.0, 0.5) for n, (a, b) in enumerate(times, 1))
    return replace(PLANNING, plans=plans, limit_ms=limit_ms)


def with_long_names(planning: PlanningResult) -> PlanningResult:
    return replace(
        planning,
        plans=tuple(replace(plan, id=f"{LONG}{plan.id}") for plan in planning.plans),
        staircases=tuple(replace(each, layer=f"{LONG}{each.layer}") for each in planning.staircases),
    )


def test_each_plan_has_both_times_and_one_that_was_not_timed_has_one() -> None:
    figure = drawn(times_of(PLANNING))
    predicted, own = marks(figure, "predicted"), marks(figure, "own")
    assert [mark.get_xdata()[0] for mark in predicted.values()] == [
        plan.predicted_ms for plan in PLANNING.plans
    ]
    assert {name: mark.get_xdata()[0] for name, mark in own.items()} == {
        f"plan{place}": plan.latency_ms
        for place, plan in enumerate(PLANNING.plans)
        if plan.latency_ms is not None
    }
    assert all(mark.get_markerfacecolor() == "white" for mark in predicted.values())
    assert not any(mark.get_markerfacecolor() == "white" for mark in own.values())
    assert "Without one, no runtime told a time." in times_of(PLANNING).caption


def test_the_trained_plan_alone_is_shaded() -> None:
    (band,) = drawn(times_of(PLANNING)).findobj(lambda artist: artist.get_gid() == "trained")
    low, high = band.get_y(), band.get_y() + band.get_height()
    assert [place for place in range(6) if low < place < high] == [1]
    labels = [label.get_text() for label in drawn(times_of(PLANNING)).axes[0].get_yticklabels()]
    assert labels[1] == "plan-2, trained"


def test_the_share_of_macs_stands_beside_each_plan() -> None:
    figure = drawn(times_of(PLANNING))
    texts = [text.get_text() for text in figure.findobj(lambda artist: artist.get_gid() == "share")]
    assert texts == ["MACs left", "52 %", "43.4 %", "45.2 %", "39.1 %", "40.2 %", "47.1 %"]


@pytest.mark.parametrize(
    ("limit_ms", "label"),
    [(0.12, "budget 0.12 ms"), (0.001, "◂ budget 0.001 ms"), (7.0, "budget 7 ms ▸")],
)
def test_the_budget_is_drawn_wherever_it_lies(limit_ms: float, label: str) -> None:
    figure = drawn(times_of(replace(PLANNING, limit_ms=limit_ms)))
    texts = figure.findobj(lambda artist: artist.get_gid() == "limit")
    assert [text.get_text() for text in texts] == [label]


def test_no_estimate_is_filled_or_called_measured() -> None:
    same = tuple(replace(plan, latency_ms=plan.predicted_ms) for plan in PLANNING.plans)
    other = tuple(replace(plan, latency_ms=1.1 * plan.predicted_ms) for plan in PLANNING.plans)
    for plans, drawn_twice in ((same, False), (other, True)):
        plot = times_of(replace(PLANNING, origin="estimated", plans=plans))
        own = marks(drawn(plot), "own")
        assert bool(own) is drawn_twice
        assert all(mark.get_markerfacecolor() == "white" for mark in own.values())
        texts = [plot.caption, plot.description, *plot.hover.values()]
        assert not any("measured" in text for text in texts)
        assert "estimated" in plot.description


@pytest.mark.parametrize(
    ("origin", "words"),
    [("device", "was measured, before"), ("host", "measured on this machine"), ("emulated", "seen in an emulator")],
)  # fmt: skip
def test_the_caption_says_where_plans_were_timed(origin: Origin, words: str) -> None:
    assert words in times_of(replace(PLANNING, origin=origin)).caption


def test_without_plans_or_layers_nothing_is_drawn() -> None:
    assert plans_plot(None) is None
    assert staircases_plot(None) is None
    assert plans_plot(replace(PLANNING, plans=())) is None
    assert staircases_plot(replace(PLANNING, staircases=())) is None
    assert staircases_plot(replace(PLANNING, staircases=(LayerStaircase("a", 8, ()),))) is None


def test_of_many_plans_the_trained_one_is_among_those_that_are_drawn() -> None:
    many = tuple(replace(PLANNING.plans[0], id=f"plan-{place}") for place in range(1, 100))
    last = replace(many[-1], id="plan-100", variant="planned-52", why="")
    plot = times_of(replace(PLANNING, plans=(*many, last)))
    assert "Of 100 plans 40 are drawn" in plot.caption
    assert "plan-100: " in plot.description
    assert len(marks(drawn(plot), "predicted")) == 40


PLOTS = {
    "plain": PLANNING,
    "long": with_long_names(PLANNING),
    "one": with_times((0.11, 0.13), limit_ms=0.05),
    "untimed": with_times((0.11, None)),
    "same": with_times((0.11, 0.11), (0.11, 0.11), limit_ms=0.11),
    "far apart": with_times((0.11, 9000.0), (3.0, None)),
    "five layers": replace(PLANNING, staircases=(*PLANNING.staircases, PLANNING.staircases[0])),
    "one layer": replace(PLANNING, staircases=PLANNING.staircases[:1]),
}


@pytest.mark.parametrize("width", [WIDE, NARROW])
@pytest.mark.parametrize("name", PLOTS)
def test_no_label_lies_on_another_and_nothing_is_cut(name: str, width: int) -> None:
    for plot in (times_of(PLOTS[name]), stairs_of(PLOTS[name])):
        assert_legible(plot, width)


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.lists(st.tuples(st.floats(1e-3, 5e3), st.none() | st.floats(1e-3, 5e3)), min_size=1, max_size=5),
    st.floats(1e-3, 5e3),
)
def test_any_times_are_legible(times: list[tuple[float, float | None]], limit_ms: float) -> None:
    assert_legible(times_of(with_times(*times, limit_ms=limit_ms)), NARROW)


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.dictionaries(st.integers(1, 4096), st.floats(1e-5, 50.0), min_size=1, max_size=12),
    st.integers(1, 4096),
    st.floats(1.0, 100.0),
)
def test_any_staircase_is_legible(times: dict[int, float], channels: int, wide: float) -> None:
    points = tuple((width, time, time / wide, time * wide) for width, time in sorted(times.items()))
    assert_legible(
        stairs_of(replace(PLANNING, staircases=(LayerStaircase("a", channels, points),) * 3)), WIDE
    )


@given(st.lists(st.integers(1, 5000), min_size=1), st.integers(60, 900))
def test_ticks_keep_apart_and_the_most_important_one_stays(wanted: list[int], width: int) -> None:
    widest = max(wanted)
    ticks = spaced_ticks(wanted, widest, width)
    assert wanted[0] in ticks
    assert set(ticks) <= set(wanted)
    for left, right in itertools.pairwise(ticks):
        apart = (right - left) * width / (1.05 * widest)
        assert apart > CHARACTER_PX * (len(str(left)) + len(str(right))) / 2


def test_each_layer_has_its_points_its_intervals_and_the_width_that_it_has() -> None:
    plot = stairs_of(PLANNING)
    figure = drawn(plot)
    for place, (axes, layer) in enumerate(zip(figure.axes, PLANNING.staircases, strict=True)):
        assert axes.get_title(loc="left") == layer.layer
        dots = axes.findobj(lambda artist, place=place: str(artist.get_gid()).startswith(f"layer{place}w"))
        assert [(dot.get_xdata()[0], dot.get_ydata()[0]) for dot in dots] == [
            (width, pytest.approx(1000 * ms)) for width, ms, _, _ in layer.points
        ]
        assert len(axes.containers) == len(layer.points)
        (line,) = axes.findobj(lambda artist: artist.get_gid() == "present")
        assert line.get_xdata()[0] == layer.channels
        assert str(layer.channels) in [label.get_text() for label in axes.get_xticklabels()]
        for width, *_ in layer.points:
            assert f"{width} channels: " in plot.hover[f"layer{place}w{width}"]
    assert "layer3.0.conv2, which has 64 channels; µs by channels: 8: 1.86, 16: 3.10" in plot.description


def test_slow_layers_are_told_in_milliseconds() -> None:
    slow = LayerStaircase("fc", 16, ((8, 2.5, 2.4, 2.6), (16, 5.0, 4.9, 5.1)))
    plot = stairs_of(replace(PLANNING, staircases=(slow,)))
    assert drawn(plot).axes[0].get_ylabel() == "time, ms"
    assert "8: 2.50, 16: 5.00" in plot.description


def test_one_wide_interval_does_not_squash_the_dots_and_a_width_that_was_not_timed_is_marked() -> None:
    layer = LayerStaircase(
        "a", 40, ((8, 0.004, 0.004, 0.004), (16, 0.005, 0.001, 9.0), (32, 0.006, 0.006, 0.006))
    )
    figure = drawn(stairs_of(replace(PLANNING, staircases=(layer,))))
    (axes,) = figure.axes
    assert axes.get_ylim()[1] < 20
    assert axes.get_xlim()[1] > 40
    assert "40" in [label.get_text() for label in axes.get_xticklabels()]


def test_of_many_layers_and_widths_some_are_drawn_and_it_is_said() -> None:
    points = tuple((8 * place, 0.001 * place, 0.001 * place, 0.001 * place) for place in range(1, 301))
    layer = LayerStaircase("a", 2400, points)
    plot = stairs_of(replace(PLANNING, staircases=(layer,) * 30))
    assert "Of 30 layers 6 are drawn" in plot.caption
    assert "Of more than 32 widths that many are drawn" in plot.caption
    assert len(plot.hover) == 6 * 32
    assert {"layer0w8", "layer5w2400"} <= set(plot.hover)
