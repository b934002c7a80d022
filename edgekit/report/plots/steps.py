"""The accuracy waterfall: from the user's network to the artifact, one column per step."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Any

from edgekit.report.plots.figures import INK, MUTED, Plot, axis, error_bars, layout
from edgekit.report.wording import change_interval_text, change_text, is_share, level_text
from edgekit.result import WaterfallStep

__all__ = ["waterfall_plot"]

HEIGHT = 340
LOST, WON = "#D55E00", "#0072B2"  # Okabe and Ito's vermilion and blue; the sign of the label says it too


def waterfall_plot(steps: Sequence[WaterfallStep], metric: str) -> Plot | None:
    """Levels after each step, and bars from the level before; None with fewer than two steps."""
    if len(steps) < 2:
        return None
    unit = 100.0 if is_share(metric) else 1.0
    names = [step.stage for step in steps]
    before = [steps[0].accuracy, *(step.accuracy for step in steps[:-1])]
    low, high = _range(steps, before)
    frame = layout(
        HEIGHT,
        xaxis=axis("", type="category", categoryorder="array", categoryarray=names, fixedrange=True),
        yaxis=axis(
            html.escape(metric) + (", %" if unit == 100.0 else ""), range=[low * unit, high * unit], nticks=7
        ),
        bargap=0.6,
        showlegend=False,
        annotations=_labels(steps, before, metric, unit),
    )
    data = [_levels_line(steps, unit), _bars(steps, before, unit), _levels(steps, before, metric, unit)]
    return Plot("waterfall-plot", data, frame, HEIGHT, _caption(steps))


def _range(steps: Sequence[WaterfallStep], before: Sequence[float]) -> tuple[float, float]:
    """What the plot shows, as fractions: all levels and intervals."""
    ends = [step.accuracy for step in steps]
    for step, start in zip(steps, before, strict=True):
        ends += [start + end for end in (step.low, step.high) if end is not None]
    pad = 0.12 * (max(ends) - min(ends)) or 0.01
    return min(ends) - pad, max(ends) + 1.4 * pad


def _levels_line(steps: Sequence[WaterfallStep], unit: float) -> dict[str, Any]:
    """A thin line from level to level."""
    return {
        "type": "scatter",
        "mode": "lines",
        "x": [step.stage for step in steps],
        "y": [step.accuracy * unit for step in steps],
        "line": {"color": MUTED, "width": 1, "shape": "hvh", "dash": "dot"},
        "hoverinfo": "skip",
    }


def _bars(steps: Sequence[WaterfallStep], before: Sequence[float], unit: float) -> dict[str, Any]:
    """Floating bars, from the level before each step to the level after it."""
    return {
        "type": "bar",
        "x": [step.stage for step in steps],
        "base": [start * unit for start in before],
        "y": [(step.accuracy - start) * unit for step, start in zip(steps, before, strict=True)],
        "marker": {"color": [LOST if step.change < 0 else WON for step in steps]},
        "hoverinfo": "skip",
    }


def _levels(
    steps: Sequence[WaterfallStep], before: Sequence[float], metric: str, unit: float
) -> dict[str, Any]:
    """A mark at each level, and the change's interval where it is paired."""
    levels = [step.accuracy for step in steps]
    lows = [_end(step, start, step.low) for step, start in zip(steps, before, strict=True)]
    highs = [_end(step, start, step.high) for step, start in zip(steps, before, strict=True)]
    bars = error_bars(*([end * unit for end in ends] for ends in (levels, lows, highs)))
    return {
        "type": "scatter",
        "mode": "markers",
        "x": [step.stage for step in steps],
        "y": [level * unit for level in levels],
        "error_y": {**bars, "color": INK},
        "marker": {"size": 18, "color": INK, "symbol": "line-ew-open", "line": {"width": 2}},
        "hovertext": [_hover(step, metric) for step in steps],
        "hoverinfo": "text",
    }


def _labels(
    steps: Sequence[WaterfallStep], before: Sequence[float], metric: str, unit: float
) -> list[dict[str, Any]]:
    """The change above each column; above the first the level."""
    labels = []
    for place, (step, start) in enumerate(zip(steps, before, strict=True)):
        text = change_text(step.change, metric) if place else level_text(step.accuracy, metric)
        top = max(start, step.accuracy, _end(step, start, step.high))
        labels.append(
            {
                "x": step.stage,
                "y": top * unit,
                "yshift": 4,
                "yanchor": "bottom",
                "text": f"<b>{text}</b>",
                "showarrow": False,
                "font": {"size": 13, "color": INK},
            }
        )
    return labels


def _end(step: WaterfallStep, start: float, change: float | None) -> float:
    """Where an end of the interval lies; the level itself without one."""
    return step.accuracy if change is None else start + change


def _hover(step: WaterfallStep, metric: str) -> str:
    lines = [f"<b>{step.stage}</b>", f"{html.escape(metric)} {level_text(step.accuracy, metric)}"]
    interval = change_interval_text(step, metric)
    lines.append(f"change {change_text(step.change, metric)}" + (f" (95 %: {interval})" if interval else ""))
    lines += [f"{html.escape(layer.layer)}: {layer.sqnr_db:.1f} dB" for layer in step.layers]
    return "<br>".join([*lines, html.escape(step.note)])


def _caption(steps: Sequence[WaterfallStep]) -> str:
    text = "All on the validation split. Labels are changes from the step before; a bar downwards is a loss."
    if any(step.low is not None for step in steps):
        text += " Intervals are 95 %, paired: the same samples before and after the step."
    if any(step.stage in ("pruned", "fine-tuned") for step in steps):
        text += " Pruning and fine-tuning were measured in torch, without one."
    return text
