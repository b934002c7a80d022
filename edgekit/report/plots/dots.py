"""Accuracies and paired drops with their intervals: a row per candidate."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Any

from edgekit.report.plots.figures import (
    INK,
    MUTED,
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
    symbol,
)
from edgekit.report.plots.scales import visible_floor
from edgekit.report.wording import is_share, limit_text
from edgekit.result import AccuracyResult
from edgekit.types import Budget

__all__ = ["accuracy_plot"]

ROW, FRAME = 27, 116
Row = tuple[Numbered, AccuracyResult]


def accuracy_plot(
    numbered: Sequence[Numbered], budget: Budget, winner: str | None, claim: AccuracyResult | None
) -> Plot | None:
    """Left the accuracies, right the paired drops; `claim` is the winner's on test. None without any."""
    rows: list[Row] = [(entry, entry.candidate.accuracy) for entry in numbered if entry.candidate.accuracy]
    if not rows:
        return None
    metric, height = rows[0][1].metric, FRAME + ROW * len(rows)
    unit = 100.0 if is_share(metric) else 1.0
    values, drops = _ranges(rows, budget, claim)
    frame = layout(
        height,
        xaxis=axis(
            html.escape(metric) + (", %" if unit == 100.0 else ""),
            domain=[0, 0.47],
            range=[end * unit for end in values],
            nticks=6,
        ),
        xaxis2=axis(
            "drop" + (", points" if unit == 100.0 else ""),
            domain=[0.53, 1],
            range=[end * unit for end in drops],
            nticks=6,
            anchor="y",
        ),
        yaxis=rows_axis([entry for entry, _ in rows]),
        margin={"l": 200, "r": 20, "t": 48, "b": 52},
        shapes=[{**limit_line(0.0, "x2"), "line": {"color": MUTED, "width": 1}}],
        annotations=[],
        showlegend=False,
    )
    if budget.max_drop is not None:
        frame["shapes"].append(limit_line(budget.max_drop * unit, "x2"))
        text = f"limit {limit_text(budget.max_drop, metric)}"
        frame["annotations"].append(limit_label(budget.max_drop * unit, "x2", text))
    data = [_dots(rows, unit, "x"), _dots(rows, unit, "x2")]
    told = [(entry, claim) for entry, _ in rows if claim and entry.candidate.id == winner]
    data += [_claim(told, unit, "x"), _claim(told, unit, "x2")] if told else []
    below = [entry.number for entry, accuracy in rows if accuracy.value < values[0]]
    return Plot("accuracies", data, frame, height, _caption(rows[0][1], claim, below))


def _ranges(
    rows: Sequence[Row], budget: Budget, claim: AccuracyResult | None
) -> tuple[tuple[float, float], tuple[float, float]]:
    """What the two panels show, as fractions."""
    accuracies = [accuracy for _, accuracy in rows]
    floor = visible_floor(accuracies, budget.max_drop)
    shown = [accuracy for accuracy in accuracies if accuracy.value >= floor] + ([claim] if claim else [])
    low, high = min(a.low for a in shown), max(a.high for a in shown)
    drop_low = min(0.0, *(a.drop_low for a in shown))
    drop_high = max(0.001, *(a.drop_high for a in shown))
    if budget.max_drop is not None and budget.max_drop <= 3 * (drop_high - drop_low) + 0.01:
        drop_high = max(drop_high, 1.25 * budget.max_drop)
    pad, drop_pad = 0.06 * (high - low) or 0.01, 0.06 * (drop_high - drop_low)
    return (low - pad, high + pad), (drop_low - drop_pad, drop_high + drop_pad)


def _dots(rows: Sequence[Row], unit: float, panel: str) -> dict[str, Any]:
    values, bars = _values(rows, unit, panel)
    colours = [runtime_colour(entry.candidate.backend) for entry, _ in rows]
    return {
        "type": "scatter",
        "mode": "markers",
        "xaxis": panel,
        "x": values,
        "y": [row_label(entry) for entry, _ in rows],
        "error_x": {**bars, "color": MUTED},
        "marker": {"size": 9, "color": colours, "symbol": [symbol(entry.candidate) for entry, _ in rows]},
        "hovertext": [hover_text(entry) for entry, _ in rows],
        "hoverinfo": "text",
    }


def _claim(rows: Sequence[Row], unit: float, panel: str) -> dict[str, Any]:
    values, bars = _values(rows, unit, panel)
    return {
        "type": "scatter",
        "mode": "markers",
        "xaxis": panel,
        "x": values,
        "y": [row_label(entry) for entry, _ in rows],
        "error_x": {**bars, "color": INK},
        "marker": {"size": 10, "color": "#ffffff", "symbol": "star", "line": {"color": INK, "width": 1.3}},
        "hoverinfo": "x",
    }


def _values(rows: Sequence[Row], unit: float, panel: str) -> tuple[list[float], dict[str, Any]]:
    if panel == "x2":
        figures = [(a.drop, a.drop_low, a.drop_high) for _, a in rows]
    else:
        figures = [(a.value, a.low, a.high) for _, a in rows]
    values, lows, highs = ([figure[place] * unit for figure in figures] for place in range(3))
    return values, error_bars(values, lows, highs)


def _caption(accuracy: AccuracyResult, claim: AccuracyResult | None, below: Sequence[int]) -> str:
    parts = [
        f"On the {accuracy.split} split ({accuracy.samples:,} samples), with 95 % intervals."
        " The drop is paired: the same samples through the original, so its interval is the narrower one."
        " Right of zero is worse."
    ]
    if claim:
        parts.append(
            f"Star: the winner on the {claim.split} split ({claim.samples:,} samples), measured once."
        )
    if below:
        parts.append(f"Outside the plotted range: {', '.join(str(number) for number in below)}.")
    return " ".join(parts)
