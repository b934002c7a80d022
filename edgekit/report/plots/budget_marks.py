"""The budget in a plot: its lines, also where they lie beyond the axis, and the region within all limits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgekit.report.plots.figures import EDGE
from edgekit.report.plots.scales import Scales
from edgekit.report.wording import limit_text
from edgekit.types import Budget

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["mark_budget", "mark_limit"]

FEASIBLE = "#009E73"


def mark_limit(axes: Axes, at: float, text: str) -> None:
    """A dashed vertical line with its name above; one beyond the axis stands at its end, with an arrow outward."""
    low, high = axes.get_xlim()
    share = (at - low) / (high - low)
    if axes.get_xscale() == "log":
        share = float(axes.transAxes.inverted().transform(axes.transData.transform((max(at, 1e-12), 0)))[0])
    inside = min(max(share, 0.0), 1.0)
    if share < 0:
        text = f"◂ {text}"
    elif share > 1:
        text = f"{text} ▸"
    axes.axvline(min(max(at, low), high), color=EDGE, linewidth=1.5, linestyle="--", zorder=1, clip_on=False)
    side = "left" if inside < 0.25 else "right" if inside > 0.75 else "center"
    axes.annotate(
        text, (inside, 1.0), (0, 2), xycoords=axes.transAxes, textcoords="offset pixels", color=EDGE, size=11,
        ha=side, va="bottom", gid="limit",
    )  # fmt: skip


def mark_budget(axes: Axes, scales: Scales, budget: Budget, original: float) -> None:
    """Both limits of the latency–accuracy plot; `original` is the original's accuracy as a fraction."""
    from matplotlib.patches import Rectangle

    most = budget.max_latency_ms
    floor = None if budget.max_drop is None else (original - budget.max_drop) * scales.unit
    (left, right), (bottom, top) = scales.x, scales.y
    wide, low = min(right if most is None else most, right), max(bottom if floor is None else floor, bottom)
    if (most is not None or floor is not None) and wide > left and low < top:
        axes.add_patch(
            Rectangle((left, low), wide - left, top - low, color=FEASIBLE, alpha=0.1, linewidth=0, zorder=0)
        )
    if most is not None:
        mark_limit(axes, most, f"budget {most:g} ms")
    if floor is not None and budget.max_drop is not None:
        off = floor < bottom
        text = limit_text(budget.max_drop, scales.metric) + (" ▾" if off else "")
        axes.axhline(max(floor, bottom), color=EDGE, linewidth=1.5, linestyle="--", zorder=1, clip_on=False)
        axes.annotate(
            text, (0.995, max(floor, bottom)), (0, 3 if off else -3), xycoords=axes.get_yaxis_transform(),
            textcoords="offset pixels", color=EDGE, size=11, ha="right", va="bottom" if off else "top", gid="limit",
        )  # fmt: skip
