from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from edgekit.report.plots.all import all_plots
from edgekit.report.plots.boxes import quantile
from edgekit.report.plots.figures import NARROW, WIDE, Numbered, Plot
from edgekit.report.plots.scales import log_ticks
from edgekit.report.verdict import fastest_first, ranked_origin
from edgekit.result import CandidateResult, Result
from edgekit.testing.results import example_result
from tests.report.plots.legible import assert_legible, drawn


def plots_of(result: Result) -> dict[str, Plot]:
    ranked = fastest_first(result, ranked_origin(result))
    return all_plots(result, [Numbered(place, each) for place, each in enumerate(ranked, 1)])


def with_gid(figure: Any, gid: str) -> list[Any]:
    return figure.findobj(lambda artist: artist.get_gid() == gid)


def with_latency(candidate: CandidateResult, p90: float, low: float, high: float) -> CandidateResult:
    assert candidate.latency_ms
    return replace(candidate, latency_ms=replace(candidate.latency_ms, p90=p90, low=low, high=high))


def with_accuracy(candidate: CandidateResult, value: float, drop: float) -> CandidateResult:
    assert candidate.accuracy
    intervals = replace(
        candidate.accuracy, low=value - 0.01, high=value + 0.01, drop_low=drop, drop_high=drop
    )
    return replace(candidate, accuracy=replace(intervals, value=value, drop=drop))


def with_budget(result: Result, latency_ms: float) -> Result:
    return replace(result, budget=replace(result.budget, max_latency_ms=latency_ms))


def replaced(result: Result, place: int, candidate: CandidateResult) -> Result:
    candidates = list(result.candidates)
    candidates[place] = candidate
    return replace(result, candidates=tuple(candidates))


def test_every_candidate_is_one_mark_with_its_figures_and_all_of_them_are_told() -> None:
    result = example_result(candidates=20)
    for name in ("pareto", "latencies"):
        plot = plots_of(result)[name]
        figure = drawn(plot)
        assert all(len(with_gid(figure, f"c{number}")) == 1 for number in range(1, 21))
        assert all(candidate.id in plot.description for candidate in result.candidates)
    hover = next(
        text for text in plots_of(result)["pareto"].hover.values() if "pruned-45-ov-int8-mse" in text
    )
    for part in ("p50", "p90", "p99", "95 %", "top-1 91.06 %", "drop 0.62 points", "184 kB", "load"):
        assert part in hover


@pytest.mark.parametrize(
    ("latency_ms", "label", "edge"),
    [(0.35, "budget 0.35 ms", None), (0.0001, "◂ budget 0.0001 ms", 0), (9000.0, "budget 9000 ms ▸", 1)],
)
@pytest.mark.parametrize("name", ["pareto", "latencies"])
def test_the_budget_is_drawn_wherever_it_lies(
    name: str, latency_ms: float, label: str, edge: int | None
) -> None:
    result = example_result()
    if edge == 0:  # a linear axis begins at 0
        result = replaced(result, 0, with_latency(result.candidates[0], 40.0, 39.0, 41.0))
    figure = drawn(plots_of(with_budget(result, latency_ms))[name])
    (axes,) = figure.axes
    dashed = [line for line in axes.lines if line.get_linestyle() == "--" and len(set(line.get_xdata())) == 1]
    assert [line.get_xdata()[0] for line in dashed] == [
        latency_ms if edge is None else pytest.approx(axes.get_xlim()[edge])
    ]
    assert label in [text.get_text() for text in with_gid(figure, "limit")]


def test_an_accuracy_limit_below_the_axis_has_its_label_at_the_edge() -> None:
    result = example_result()
    loose = replace(result, budget=replace(result.budget, max_drop=0.9))
    texts = [text.get_text() for text in with_gid(drawn(plots_of(loose)["pareto"]), "limit")]
    assert "drop ≤ 90.00 points ▾" in texts


@pytest.mark.parametrize(
    ("verdict", "word"), [("MEETS", "winner"), ("MISSES", "nearest"), ("PROVISIONAL", "first by estimate")]
)
def test_the_best_is_ringed_and_named_whatever_the_verdict(verdict: str, word: str) -> None:
    result = example_result("MISSES" if verdict != "MEETS" else "MEETS")
    result = replace(result, verdict=verdict)
    plot = plots_of(result)["pareto"]
    figure = drawn(plot)
    assert len(with_gid(figure, "ring")) == 1
    assert any(word in text.get_text() for text in with_gid(figure, "label"))
    assert f"pruned-45-ov-int8-mse is the {word}." in plot.description


def test_one_slow_outlier_does_not_squash_the_others_and_is_named() -> None:
    result = example_result()
    slow = with_latency(result.candidates[2], 400.0, 390.0, 410.0)
    plot = plots_of(replaced(result, 2, slow))["pareto"]
    assert drawn(plot).axes[0].get_xlim()[1] < 5
    assert "To the right of the plotted range, so that the others stay apart: 9 (400 ms)" in plot.caption


def test_one_wide_interval_does_not_squash_the_others() -> None:
    result = example_result()
    wide = with_latency(result.candidates[3], 0.5, 0.4, 900.0)
    for name in ("pareto", "latencies"):
        assert drawn(plots_of(replaced(result, 3, wide))[name]).axes[0].get_xlim()[1] < 5


def test_a_rare_slow_run_leaves_its_whisker_at_the_edge() -> None:
    result = example_result()
    first = result.candidates[4]
    assert first.latency_ms
    rounds = ((0.34,) * 90 + (700.0,) * 10,)
    plot = plots_of(
        replaced(result, 4, replace(first, latency_ms=replace(first.latency_ms, rounds_ms=rounds)))
    )["latencies"]
    figure = drawn(plot)
    assert figure.axes[0].get_xlim()[1] < 5
    assert len(with_gid(figure, "beyond")) == 1
    assert "Going on beyond the right edge: 3 (p99 700 ms)" in plot.caption


def test_a_slow_original_is_drawn_on_a_logarithmic_axis() -> None:
    result = example_result()
    plots = plots_of(replaced(result, 0, with_latency(result.candidates[0], 40.0, 39.0, 41.0)))
    axes = drawn(plots["pareto"]).axes[0]
    assert axes.get_xscale() == "log"
    assert axes.get_xlim()[1] > 40


def test_a_collapsed_candidate_does_not_squeeze_the_others_and_is_named_below_the_plot() -> None:
    result = example_result()
    pareto = plots_of(replaced(result, 0, with_accuracy(result.candidates[0], 0.1, 0.8168)))["pareto"]
    assert drawn(pareto).axes[0].get_ylim()[0] > 80
    assert "Below the plotted range" in pareto.caption


def results_to_lay_out() -> list[Result]:
    few = example_result("MISSES", candidates=3)
    slow = replaced(few, 0, with_latency(few.candidates[0], 40.0, 39.0, 41.0))
    return [example_result(candidates=20), with_budget(slow, 9000.0), with_budget(slow, 0.0001)]


@pytest.mark.parametrize("width", [WIDE, NARROW])
@pytest.mark.parametrize("result", results_to_lay_out())
def test_no_tick_label_lies_on_another_and_no_text_is_cut(result: Result, width: int) -> None:
    for plot in plots_of(result).values():
        assert_legible(plot, width)


@pytest.mark.parametrize(("low", "high", "width"), [(0.001, 9000, 300), (0.3, 40, 800), (0.9, 1.1, 400)])
def test_logarithmic_ticks_lie_within_and_keep_apart(low: float, high: float, width: float) -> None:
    values, labels = log_ticks(low, high, width)
    assert values
    assert all(low <= value <= high for value in values)
    assert len(set(labels)) == len(values)


def test_of_many_candidates_the_plots_show_those_that_tell_most_and_say_so() -> None:
    result = example_result(candidates=20)
    many = [
        replace(
            candidate,
            id=f"{candidate.id}-{copy}" if copy else candidate.id,
            frontier=candidate.frontier and not copy,
        )
        for copy in range(3)
        for candidate in result.candidates
    ]
    plots = plots_of(replace(result, candidates=tuple(many)))
    for name in ("pareto", "latencies", "accuracies"):
        assert "Of 60 candidates 40 are drawn" in plots[name].caption
        assert all(each.id in plots[name].description for each in many if each.frontier)
    assert len(drawn(plots["latencies"]).axes[0].get_yticks()) == 40


def test_the_dot_plot_carries_the_winners_claim() -> None:
    plot = plots_of(example_result())["accuracies"]
    stars = [star.get_xdata()[0] for star in with_gid(drawn(plot), "claim")]
    assert stars == [pytest.approx(91.02), pytest.approx(0.66)]
    assert "The claim, on the test split" in plot.description


def test_no_limits_draw_no_lines() -> None:
    result = example_result()
    free = replace(result.budget, max_latency_ms=None, fastest=True, max_drop=None)
    assert not with_gid(drawn(plots_of(replace(result, budget=free))["pareto"]), "limit")


def test_a_quantile_interpolates_between_neighbours() -> None:
    assert quantile([1.0, 2.0, 4.0], 0.75) == 3.0
    assert quantile([5.0], 0.99) == 5.0
