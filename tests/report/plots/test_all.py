from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from edgekit.report.plots.all import all_plots
from edgekit.report.plots.boxes import quantile
from edgekit.report.plots.figures import Numbered
from edgekit.report.verdict import fastest_first, ranked_origin
from edgekit.result import CandidateResult, Result
from edgekit.testing.results import example_result


def plots_of(result: Result) -> dict[str, Any]:
    ranked = fastest_first(result, ranked_origin(result))
    return dict(all_plots(result, [Numbered(place, each) for place, each in enumerate(ranked, 1)]))


def with_accuracy(candidate: CandidateResult, value: float, drop: float) -> CandidateResult:
    assert candidate.accuracy
    intervals = replace(
        candidate.accuracy, low=value - 0.01, high=value + 0.01, drop_low=drop, drop_high=drop
    )
    return replace(candidate, accuracy=replace(intervals, value=value, drop=drop))


def test_every_candidate_is_one_point_with_both_intervals() -> None:
    result = example_result(candidates=20)
    groups = [trace for trace in plots_of(result)["pareto"].data if "error_y" in trace]
    assert sum(len(trace["x"]) for trace in groups) == 20
    for trace in groups:
        for bars in (trace["error_x"], trace["error_y"]):
            assert len(bars["array"]) == len(bars["arrayminus"]) == len(trace["x"])
            assert all(length >= 0 for length in (*bars["array"], *bars["arrayminus"]))


def test_the_hover_text_has_all_figures() -> None:
    pareto = plots_of(example_result())["pareto"]
    hover = next(
        text for trace in pareto.data for text in trace.get("hovertext", []) if "pruned-45-ov" in text
    )
    for part in (
        "p50",
        "p90",
        "p99",
        "95 %",
        "top-1 91.06 %",
        "drop 0.62 points",
        "184 kB",
        "peak memory",
        "load",
    ):
        assert part in hover


def test_the_frontier_line_runs_through_its_members_in_order_of_latency() -> None:
    result = example_result()
    line = next(trace for trace in plots_of(result)["pareto"].data if trace.get("name") == "Pareto frontier")
    members = [each for each in result.candidates if each.frontier and each.latency_ms]
    assert line["x"] == sorted(each.latency_ms.p90 for each in members if each.latency_ms)


def test_both_limits_are_drawn_and_what_lies_within_is_shaded() -> None:
    shapes = plots_of(example_result())["pareto"].layout["shapes"]
    region = next(shape for shape in shapes if shape["type"] == "rect")
    assert region["x1"] == 0.35
    assert region["y0"] == pytest.approx(100 * (0.9168 - 0.01))
    assert sum(shape["type"] == "line" for shape in shapes) == 2


def test_a_collapsed_candidate_does_not_squeeze_the_others_and_is_named_below_the_plot() -> None:
    result = example_result()
    candidates = list(result.candidates)
    candidates[0] = with_accuracy(candidates[0], 0.1, 0.8168)
    pareto = plots_of(replace(result, candidates=tuple(candidates)))["pareto"]
    assert pareto.layout["yaxis"]["range"][0] > 80
    assert "Below the plotted range" in pareto.caption


def test_a_wide_span_of_latencies_gets_a_logarithmic_axis() -> None:
    result = example_result()
    first = result.candidates[0]
    assert first.latency_ms
    slow = replace(first, latency_ms=replace(first.latency_ms, p90=40.0, low=39.0, high=41.0))
    layouts = plots_of(replace(result, candidates=(slow, *result.candidates[1:])))
    assert layouts["pareto"].layout["xaxis"]["type"] == "log"
    assert layouts["latencies"].layout["xaxis"]["type"] == "log"


def test_twenty_candidates_have_twenty_distinct_rows() -> None:
    plots = plots_of(example_result(candidates=20))
    for name in ("latencies", "accuracies"):
        assert len(set(plots[name].layout["yaxis"]["categoryarray"])) == 20


def test_the_dot_plot_carries_the_winners_claim() -> None:
    traces = plots_of(example_result())["accuracies"].data
    stars = [trace for trace in traces if trace["marker"]["symbol"] == "star"]
    assert [trace["x"] for trace in stars] == [[pytest.approx(91.02)], [pytest.approx(0.66)]]


def test_a_budget_far_off_the_figures_does_not_stretch_the_plots() -> None:
    plots = plots_of(example_result("INFEASIBLE"))
    assert plots["latencies"].layout.get("shapes") is None
    assert plots["pareto"].layout["xaxis"]["range"][0] == 0


def test_no_limits_draw_no_region() -> None:
    result = example_result()
    free = replace(result.budget, max_latency_ms=None, fastest=True, max_drop=None)
    assert plots_of(replace(result, budget=free))["pareto"].layout["shapes"] == []


def test_a_quantile_interpolates_between_neighbours() -> None:
    assert quantile([1.0, 2.0, 4.0], 0.75) == 3.0
    assert quantile([5.0], 0.99) == 5.0
