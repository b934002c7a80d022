"""All plots of one report. They show the candidates of the ranked origin only."""

from __future__ import annotations

from collections.abc import Sequence

from edgekit.report.plots.boxes import latency_plot
from edgekit.report.plots.dots import accuracy_plot
from edgekit.report.plots.figures import Numbered, Plot
from edgekit.report.plots.pareto import pareto_plot
from edgekit.report.plots.steps import waterfall_plot
from edgekit.report.verdict import best_candidate, metric_of, reference
from edgekit.result import Result

__all__ = ["all_plots"]


def all_plots(result: Result, numbered: Sequence[Numbered]) -> dict[str, Plot]:
    """The plots by id (`pareto`, `latencies`, `accuracies`, `waterfall-plot`); one without data is left out.

    `numbered` holds the candidates of one origin in the order of the table.
    """
    best, base = best_candidate(result), reference(result)
    marks: dict[str, str] = {}
    if best is not None:
        marks[best.id] = (
            "winner" if result.winner else "expected" if result.verdict == "PROVISIONAL" else "nearest"
        )
    if base is not None:
        marks.setdefault(base.id, "original")
    plots = (
        pareto_plot(numbered, result.budget, marks, best.id if best else None),
        latency_plot(numbered, result.budget),
        accuracy_plot(numbered, result.budget, result.winner, result.claim),
        waterfall_plot(result.waterfall, metric_of(result)),
    )
    return {plot.id: plot for plot in plots if plot is not None}
