"""All plots of one report. They show the candidates of the ranked origin only."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from edgekit.report.plots.boxes import latency_plot
from edgekit.report.plots.dots import accuracy_plot
from edgekit.report.plots.figures import Numbered, Plot
from edgekit.report.plots.pareto import pareto_plot
from edgekit.report.plots.plans import plans_plot
from edgekit.report.plots.staircases import staircases_plot
from edgekit.report.plots.steps import waterfall_plot
from edgekit.report.plots.timeline import timeline_plot
from edgekit.report.verdict import best_candidate, best_word, metric_of, reference
from edgekit.result import Result

__all__ = ["all_plots"]

DRAWN = 40
"""Candidates in a plot: more of them hide each other, and the page stays small."""


def all_plots(result: Result, numbered: Sequence[Numbered]) -> dict[str, Plot]:
    """The plots by id; one without data is left out.

    `pareto`, `latencies`, `accuracies`, `waterfall-plot`, `plans-plot`, `staircases-plot`, `timeline`.
    `numbered` holds the candidates of one origin in the order of the table.
    """
    best, base = best_candidate(result), reference(result)
    marks: dict[str, str] = {}
    if best is not None:
        marks[best.id] = best_word(result)
    if base is not None:
        marks.setdefault(base.id, "original")
    chosen = _drawn(numbered, marks)
    plots = [
        pareto_plot(chosen, result.budget, marks),
        latency_plot(chosen, result.budget),
        accuracy_plot(chosen, result.budget, best.id if best else None, result.claim),
    ]
    if len(chosen) < len(numbered):
        rule = (
            f" Of {len(numbered)} candidates {len(chosen)} are drawn: the marked ones, the Pareto frontier, then the"
            " fastest. The table has the others."
        )
        plots = [replace(plot, caption=plot.caption + rule) if plot else None for plot in plots]
    plots.append(waterfall_plot(result.waterfall, metric_of(result)))
    plots += [plans_plot(result.planning), staircases_plot(result.planning)]
    if best is not None:
        plots.append(timeline_plot(best.id, result.confirmed or best.latency_ms))
    return {plot.id: plot for plot in plots if plot is not None}


def _drawn(numbered: Sequence[Numbered], marked: Collection[str]) -> Sequence[Numbered]:
    """All, or of many those that tell most, in the given order."""
    order = sorted(
        numbered,
        key=lambda entry: (entry.candidate.id not in marked, not entry.candidate.frontier, entry.number),
    )
    numbers = {entry.number for entry in order[:DRAWN]}
    return [entry for entry in numbered if entry.number in numbers]
