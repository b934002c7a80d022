"""The budget in the latency–accuracy plot: its lines, and the region within all its limits."""

from __future__ import annotations

from typing import Any

from edgekit.report.plots.scales import Scales
from edgekit.report.wording import limit_text
from edgekit.types import Budget

__all__ = ["budget_labels", "budget_shapes"]

FEASIBLE = "rgba(0, 158, 115, 0.10)"
EDGE = "#00745a"


def _floor(scales: Scales, budget: Budget, original: float) -> float | None:
    return None if budget.max_drop is None else (original - budget.max_drop) * scales.unit


def budget_shapes(scales: Scales, budget: Budget, original: float) -> list[dict[str, Any]]:
    """Plotly shapes; `original` is the original's accuracy as a fraction."""
    most, floor = budget.max_latency_ms, _floor(scales, budget, original)
    if most is None and floor is None:
        return []
    right = most if most is not None else 10 ** scales.x[1] if scales.log else scales.x[1]
    left = 10 ** scales.x[0] if scales.log else scales.x[0]
    bottom = floor if floor is not None else scales.y[0]
    dash = {"color": EDGE, "width": 1.5, "dash": "dash"}
    shapes: list[dict[str, Any]] = []
    if right > left:
        region = {"x0": left, "x1": right, "y0": bottom, "y1": scales.y[1], "fillcolor": FEASIBLE}
        shapes.append({"type": "rect", "layer": "below", "line": {"width": 0}, **region})
    if most is not None:
        line = {"x0": most, "x1": most, "yref": "paper", "y0": 0, "y1": 1}
        shapes.append({"type": "line", "layer": "below", "line": dash, **line})
    if floor is not None:
        line = {"xref": "paper", "x0": 0, "x1": 1, "y0": floor, "y1": floor}
        shapes.append({"type": "line", "layer": "below", "line": dash, **line})
    return shapes


def budget_labels(scales: Scales, budget: Budget, original: float) -> list[dict[str, Any]]:
    """Plotly annotations beside the lines that lie inside the plot."""
    most, floor = budget.max_latency_ms, _floor(scales, budget, original)
    common = {"showarrow": False, "font": {"size": 11, "color": EDGE}}
    labels: list[dict[str, Any]] = []
    if most is not None and scales.x[0] <= scales.along(most) <= scales.x[1]:
        right_half = scales.along(most) > sum(scales.x) / 2
        place = {"x": scales.along(most), "yref": "paper", "y": 1, "yanchor": "bottom"}
        side = {"xanchor": "right" if right_half else "left"}
        labels.append({**common, **place, **side, "text": f"budget {most:g} ms"})
    if floor is not None and budget.max_drop is not None:
        text = f"original −{limit_text(budget.max_drop, scales.metric)}"
        place = {"xref": "paper", "x": 1, "xanchor": "right", "y": floor, "yanchor": "top"}
        labels.append({**common, **place, "text": text})
    return labels
