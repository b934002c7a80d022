"""What every plot of the report shares: colours, symbols, axes, the frame of a figure.

Figures are plain dictionaries in plotly's JSON form, so that nothing of plotly but its JavaScript is needed.
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from edgekit.precisions import PRECISIONS
from edgekit.report.wording import (
    bytes_text,
    drop_interval_text,
    drop_text,
    interval_text,
    is_share,
    latency_at,
    ms_text,
    shorten,
    value_interval_text,
    value_text,
)
from edgekit.result import CandidateResult
from edgekit.runtimes import RUNTIMES
from edgekit.types import BackendName

__all__ = [
    "INK",
    "MUTED",
    "Numbered",
    "Plot",
    "axis",
    "error_bars",
    "hover_text",
    "layout",
    "limit_label",
    "limit_line",
    "precision_ran",
    "row_label",
    "rows_axis",
    "runtime_colour",
    "symbol",
]

INK, MUTED, GRID, LIMIT = "#1b2733", "#5b6b7a", "#e6eaee", "#00745a"
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"


@dataclass(frozen=True)
class Numbered:
    """A candidate with its number, the same in the table and in every plot."""

    number: int
    candidate: CandidateResult


@dataclass(frozen=True)
class Plot:
    """One figure: `id` is its element's; `height` is in pixels; `caption` says how to read it."""

    id: str
    data: list[dict[str, Any]]
    layout: dict[str, Any]
    height: int
    caption: str


def layout(height: int, **more: Any) -> dict[str, Any]:
    """The common frame of a figure."""
    frame: dict[str, Any] = {
        "height": height,
        "font": {"family": FONT, "size": 12, "color": INK},
        "paper_bgcolor": "#ffffff",
        "plot_bgcolor": "#ffffff",
        "margin": {"l": 64, "r": 20, "t": 28, "b": 52},
        "hovermode": "closest",
        "hoverlabel": {
            "bgcolor": "#ffffff",
            "bordercolor": "#c3ccd4",
            "font": {"color": INK},
            "align": "left",
        },
    }
    return {**frame, **more}


def axis(title: str, **more: Any) -> dict[str, Any]:
    """An axis with light grid lines."""
    common = {"title": {"text": title, "standoff": 8}, "gridcolor": GRID, "linecolor": "#9aa7b3"}
    return {**common, "zeroline": False, "ticks": "outside", "tickcolor": "#9aa7b3", "ticklen": 4, **more}


def error_bars(values: Sequence[float], lows: Sequence[float], highs: Sequence[float]) -> dict[str, Any]:
    """Plotly's asymmetric error bars, from the ends of intervals."""
    return {
        "type": "data",
        "symmetric": False,
        "array": [high - value for value, high in zip(values, highs, strict=True)],
        "arrayminus": [value - low for value, low in zip(values, lows, strict=True)],
        "thickness": 1.3,
        "width": 3,
    }


def runtime_colour(backend: BackendName) -> str:
    """The runtime's; grey for one that this version of edgekit does not know."""
    return RUNTIMES[backend].colour if backend in RUNTIMES else MUTED


def symbol(candidate: CandidateResult) -> str:
    """The marker of the precision that ran."""
    ran = precision_ran(candidate)
    return next((row.symbol for name, row in PRECISIONS.items() if name == ran), "circle-open")


def precision_ran(candidate: CandidateResult) -> str:
    """What ran; weight-only candidates keep their name, as their arithmetic is float by design."""
    return candidate.precision if candidate.precision == "w8" else candidate.ran_as or candidate.precision


def row_label(numbered: Numbered, width: int = 26) -> str:
    """`id  number`, escaped: plotly reads its labels as HTML."""
    return f"{html.escape(shorten(numbered.candidate.id, width))}  <b>{numbered.number}</b>"


def rows_axis(numbered: Sequence[Numbered]) -> dict[str, Any]:
    """A vertical axis with one row per candidate, the first on top."""
    labels = [row_label(entry) for entry in numbered]
    order = {"categoryorder": "array", "categoryarray": labels, "range": [len(labels) - 0.5, -0.5]}
    return axis("", type="category", ticklabelstandoff=4, tickfont={"size": 11}, fixedrange=True, **order)


def limit_line(at: float, axis_name: str) -> dict[str, Any]:
    """A dashed vertical line over the whole height, at a value of the axis."""
    dash = {"color": LIMIT, "width": 1.5, "dash": "dash"}
    across = {"xref": axis_name, "x0": at, "x1": at, "yref": "paper", "y0": 0, "y1": 1}
    return {"type": "line", "layer": "below", "line": dash, **across}


def limit_label(at: float, axis_name: str, text: str) -> dict[str, Any]:
    """What the line of `limit_line` is, above it; `at` is the decimal logarithm on a logarithmic axis."""
    place = {"xref": axis_name, "x": at, "yref": "paper", "y": 1, "yanchor": "bottom"}
    return {**place, "text": text, "showarrow": False, "font": {"size": 11, "color": LIMIT}}


def hover_text(numbered: Numbered) -> str:
    """All figures of a candidate, for plotly's hover box. Names are escaped."""
    candidate = numbered.candidate
    asked, ran = candidate.precision, candidate.ran_as or candidate.precision
    lines = [f"<b>{numbered.number}  {html.escape(shorten(candidate.id, 60))}</b>"]
    lines.append(f"{candidate.backend}, {asked}" + (f", ran as {html.escape(ran)}" if ran != asked else ""))
    if candidate.latency_ms:
        latency = candidate.latency_ms
        percentile = (
            f"{latency.percentile} {ms_text(latency_at(latency))} ms (95 %: {interval_text(latency)})"
        )
        lines.append(percentile)
        lines.append(f"p50 {ms_text(latency.p50)}, p90 {ms_text(latency.p90)}, p99 {ms_text(latency.p99)} ms")
    if candidate.accuracy:
        accuracy = candidate.accuracy
        unit = " points" if is_share(accuracy.metric) else ""
        value = f"{value_text(accuracy)} (95 %: {value_interval_text(accuracy)})"
        lines.append(f"{html.escape(accuracy.metric)} {value}")
        lines.append(f"drop {drop_text(accuracy)}{unit} (95 %: {drop_interval_text(accuracy)})")
    memory = bytes_text(candidate.peak_memory_bytes)
    lines.append(
        f"{bytes_text(candidate.size_bytes)}, peak memory {memory}, load {ms_text(candidate.load_ms)} ms"
    )
    return "<br>".join(lines)
