"""The plans of a build: the time that a table predicts beside the one that was seen, a row per plan."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from edgekit.errors import shortened
from edgekit.report.planning import is_sum, plan_sentence, told_plans
from edgekit.report.plots.budget_marks import mark_limit
from edgekit.report.plots.figures import (
    INK,
    MUTED,
    Margins,
    Plot,
    draw_names,
    new_axes,
    row_margins,
    runtime_colour,
)
from edgekit.report.plots.scales import log_scale, near, set_latency_axis
from edgekit.types import PlanningResult, PlanResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["plans_plot"]

NAME = 17
"""Characters of a plan's name: with what became of it they fit beside the row."""
SHARE_PX = 66
TRAINED = "#e6f4ef"
LEAST_SPAN = 0.1
"""Of the slowest time: a closer view would show differences that no budget asks for."""


def plans_plot(planning: PlanningResult | None) -> Plot | None:
    """Predicted and seen times with the budget, and the share of MACs that is left; None without plans."""
    if planning is None or not planning.plans:
        return None
    plans = told_plans(planning)
    return Plot(
        "plans-plot",
        f"Times of {len(plans)} plan{'s' if len(plans) != 1 else ''} around the budget of {planning.limit_ms:g} ms",
        " ".join(plan_sentence(plan, planning) for plan in plans),
        _caption(planning, plans),
        lambda width: draw(width, planning, plans),
        {f"plan{place}": plan_sentence(plan, planning) for place, plan in enumerate(plans)},
    )


def span_of(planning: PlanningResult, plans: Sequence[PlanResult]) -> tuple[float, float]:
    """What is plotted, in ms: all times, and the budget where it lies near them. Logarithmic if `log_scale` says so."""
    times = [plan.predicted_ms for plan in plans]
    times += [plan.latency_ms for plan in plans if plan.latency_ms is not None]
    limit_ms = near(planning.limit_ms, times)
    low, high = min(ends := [*times, *([] if limit_ms is None else [limit_ms])]), max(ends)
    if log_scale(ends):
        return low / 1.2, high * 1.2
    low = min(low, high * (1 - LEAST_SPAN))
    pad = 0.08 * (high - low) or 1.0
    return max(0.0, low - pad), high + pad


def draw(width: int, planning: PlanningResult, plans: Sequence[PlanResult]) -> Figure:
    """The figure at that width in pixels."""
    margins, row_px = row_margins(width)
    margins = Margins(margins.left, margins.right + SHARE_PX, margins.top, margins.bottom)
    figure, (axes,) = new_axes(width, margins.top + margins.bottom + row_px * len(plans), margins)
    inner = width - margins.left - margins.right
    low, high = span_of(planning, plans)
    set_latency_axis(axes, (low, high), log_scale((low, high)), inner, "time of one inference, ms")
    draw_names(axes, [_label(plan) for plan in plans], width)
    mark_limit(axes, planning.limit_ms, f"budget {planning.limit_ms:g} ms")
    _beside(axes, -0.6, "MACs left", 11)
    for place, plan in enumerate(plans):
        _draw_plan(axes, place, plan, planning)
        _beside(axes, place, f"{100 * plan.macs:.3g} %", 12)
    return figure


def _label(plan: PlanResult) -> str:
    return shortened(plan.id, NAME) + (", trained" if plan.variant else "")


def _beside(axes: Axes, place: float, text: str, size: int) -> None:
    """Text at the right of a row; above the first one it stands on the frame."""
    axes.annotate(
        text, (1.0, place), (8, 2 if place < 0 else 0), xycoords=axes.get_yaxis_transform(),
        textcoords="offset pixels", size=size, color=MUTED if place < 0 else INK, ha="left",
        va="bottom" if place < 0 else "center", gid="share", annotation_clip=False,
    )  # fmt: skip


def _draw_plan(axes: Axes, place: int, plan: PlanResult, planning: PlanningResult) -> None:
    """Open: what was not measured. A diamond: an estimate that is not the table's own."""
    colour = runtime_colour(planning.runtime)
    if plan.variant:
        axes.axhspan(place - 0.45, place + 0.45, color=TRAINED, linewidth=0, zorder=0, gid="trained")
    if plan.latency_ms is not None and not is_sum(planning):
        is_open = planning.origin == "estimated"
        axes.plot([plan.predicted_ms, plan.latency_ms], [place, place], color=MUTED, linewidth=1.3, zorder=2)
        axes.plot(
            [plan.latency_ms], [place], marker="D" if is_open else "o", markersize=9, color=colour, zorder=4,
            markerfacecolor="white" if is_open else colour, markeredgecolor=colour if is_open else "white",
            gid=f"plan{place}.own",
        )  # fmt: skip
    axes.plot(
        [plan.predicted_ms], [place], marker="o", markersize=8, color=colour, markerfacecolor="white",
        markeredgewidth=1.6, zorder=3, gid=f"plan{place}.predicted",
    )  # fmt: skip


def _caption(planning: PlanningResult, plans: Sequence[PlanResult]) -> str:
    parts = ["Open marks: the time that the table predicts."]
    if planning.origin == "estimated":
        parts.append("None is filled: the board was not here, so nothing was timed.")
        parts += [] if is_sum(planning) else ["Diamonds: the estimate of a plan's time."]
    else:
        word = {"device": "measured", "host": "measured on this machine"}.get(
            planning.origin, "seen in an emulator"
        )
        parts.append(f"Filled: the high end of {planning.percentile} as it was {word}, before any training.")
        if any(plan.latency_ms is None for plan in plans):
            parts.append("Without one, no runtime told a time.")
    if any(plan.variant for plan in plans):
        parts.append("Shaded: what was trained.")
    if len(plans) < len(planning.plans):
        parts.append(f"Of {len(planning.plans)} plans {len(plans)} are drawn; result.json has the others.")
    return " ".join(parts)
