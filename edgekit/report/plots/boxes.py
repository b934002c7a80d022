"""Latency distributions: a box per candidate, from its raw samples."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from edgekit.report.plots.figures import (
    INK,
    Numbered,
    Plot,
    axis,
    error_bars,
    hover_text,
    layout,
    limit_label,
    limit_line,
    row_label,
    rows_axis,
    runtime_colour,
)
from edgekit.report.plots.scales import log_scale, log_ticks, near
from edgekit.report.wording import latency_at
from edgekit.result import LatencyResult
from edgekit.types import Budget

__all__ = ["latency_plot"]

ROW, FRAME = 27, 104


def quantile(ordered: Sequence[float], share: float) -> float:
    """Linear interpolation between order statistics (numpy's default); `ordered` is sorted and not empty."""
    place = share * (len(ordered) - 1)
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])


def latency_plot(numbered: Sequence[Numbered], budget: Budget) -> Plot | None:
    """Boxes of the raw samples, with the budget's percentile and its interval; None where none was measured."""
    timed = [
        (entry, entry.candidate.latency_ms) for entry in numbered if entry.candidate.origin != "estimated"
    ]
    rows = [(entry, latency) for entry, latency in timed if latency]
    if not rows:
        return None
    percentile = rows[0][1].percentile
    height = FRAME + ROW * len(rows)
    most = budget.max_latency_ms
    times = [latency_at(latency) for _, latency in rows]
    times += [most] if near(most, times) else []
    log = log_scale(times)
    ticks = log_ticks(min(times), max(times)) if log else {"rangemode": "tozero"}
    frame = layout(
        height,
        xaxis=axis("latency of one inference, ms", **ticks),
        yaxis=rows_axis([entry for entry, _ in rows]),
        margin={"l": 200, "r": 20, "t": 48, "b": 52},
        boxgap=0.45,
    )
    if near(most, times):
        frame["shapes"] = [limit_line(most, "x")]
        frame["annotations"] = [limit_label(math.log10(most) if log else most, "x", f"budget {most:g} ms")]
    data = [*_boxes(rows), _percentile_marks(rows, percentile)]
    caption = (
        "Boxes hold the middle half of all timed runs, the line is the median, whiskers reach from the 1st to"
        f" the 99th percentile; what lies beyond is in result.json. White marks: {percentile} with its 95 %"
        " interval."
    )
    return Plot("latencies", data, frame, height, caption)


def _boxes(rows: Sequence[tuple[Numbered, LatencyResult]]) -> list[dict[str, Any]]:
    boxes = []
    for entry, latency in rows:
        samples = sorted(sample for samples in latency.rounds_ms for sample in samples)
        if not samples:
            continue
        cuts = [quantile(samples, share) for share in (0.01, 0.25, 0.5, 0.75, 0.99)]
        colour = runtime_colour(entry.candidate.backend)
        boxes.append(
            {
                "type": "box",
                "orientation": "h",
                "y": [row_label(entry)],
                "lowerfence": [cuts[0]],
                "q1": [cuts[1]],
                "median": [cuts[2]],
                "q3": [cuts[3]],
                "upperfence": [cuts[4]],
                "line": {"color": colour, "width": 1.5},
                "fillcolor": f"{colour}40",
                "name": f"{entry.number}",
                "hoverinfo": "skip",
                "showlegend": False,
            }
        )
    return boxes


def _percentile_marks(rows: Sequence[tuple[Numbered, LatencyResult]], percentile: str) -> dict[str, Any]:
    values = [latency_at(latency) for _, latency in rows]
    bars = error_bars(values, [latency.low for _, latency in rows], [latency.high for _, latency in rows])
    return {
        "type": "scatter",
        "mode": "markers",
        "name": f"{percentile} with 95 % interval",
        "x": values,
        "y": [row_label(entry) for entry, _ in rows],
        "error_x": {**bars, "color": INK, "width": 4},
        "marker": {"symbol": "diamond", "size": 8, "color": "#ffffff", "line": {"color": INK, "width": 1.5}},
        "hovertext": [hover_text(entry) for entry, _ in rows],
        "hoverinfo": "text",
        "showlegend": False,
    }
