"""The accuracy waterfall: from the user's network to the artifact, one column per step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from edgekit.report.plots.figures import INK, MUTED, WIDE, Margins, Plot, error_ends, new_axes
from edgekit.report.plots.scales import axis_label, unit_of
from edgekit.report.wording import change_interval_text, change_text, level_text, metric_text
from edgekit.result import WaterfallStep

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["waterfall_plot"]

HEIGHT = 340
LOST, WON = "#D55E00", "#0072B2"  # Okabe and Ito's vermilion and blue; the sign of the label says it too


def waterfall_plot(steps: Sequence[WaterfallStep], metric: str) -> Plot | None:
    """Levels after each step, and bars from the level before; None with fewer than two steps."""
    if len(steps) < 2:
        return None
    told = [
        f"{step.stage} {level_text(step.accuracy, metric)} ({_change(step, metric)})." for step in steps[1:]
    ]
    return Plot(
        "waterfall-plot",
        f"Change of {metric_text(metric)} step by step",
        " ".join([f"{steps[0].stage} {level_text(steps[0].accuracy, metric)}.", *told]),
        _caption(steps),
        lambda width: draw(width, steps, metric),
        {f"c{place}": _hover(step, metric) for place, step in enumerate(steps)},
    )


def levels_before(steps: Sequence[WaterfallStep]) -> list[float]:
    """The level that each step starts from."""
    return [steps[0].accuracy, *(step.accuracy for step in steps[:-1])]


def _range(steps: Sequence[WaterfallStep]) -> tuple[float, float]:
    """What the plot shows, as fractions: all levels and intervals."""
    ends = [step.accuracy for step in steps]
    for step, start in zip(steps, levels_before(steps), strict=True):
        ends += [start + end for end in (step.low, step.high) if end is not None]
    pad = 0.12 * (max(ends) - min(ends)) or 0.01
    return min(ends) - pad, max(ends) + 1.4 * pad


def draw(width: int, steps: Sequence[WaterfallStep], metric: str) -> Figure:
    """The figure at that width in pixels: floating bars, a mark at each level, the paired interval, the change."""
    figure, (axes,) = new_axes(width, HEIGHT, Margins(62, 18, 16, 40))
    unit, (low, high) = unit_of(metric), _range(steps)
    axes.set_ylim(low * unit, high * unit)
    axes.set_xlim(-0.6, len(steps) - 0.4)
    axes.set_xticks(range(len(steps)), [step.stage for step in steps], rotation=0 if width >= WIDE else 20)
    axes.set_ylabel(axis_label(metric, metric, "%"))
    axes.grid(visible=False, axis="x")
    axes.plot(
        range(len(steps)), [step.accuracy * unit for step in steps], color=MUTED, linewidth=1, linestyle=":",
        drawstyle="steps-mid", zorder=1,
    )  # fmt: skip
    for place, (step, start) in enumerate(zip(steps, levels_before(steps), strict=True)):
        change = (step.accuracy - start) * unit
        axes.bar(place, change, 0.4, bottom=start * unit, color=LOST if step.change < 0 else WON, zorder=2)
        y = step.accuracy * unit
        if step.low is not None and step.high is not None:
            axes.errorbar(
                place, y, yerr=error_ends(y, (start + step.low) * unit, (start + step.high) * unit),
                ecolor=INK, elinewidth=1.3, capsize=3, fmt="none", zorder=4,
            )  # fmt: skip
        axes.plot(
            [place], [y], marker="_", markersize=18, markeredgewidth=2, color=INK, zorder=3, gid=f"c{place}"
        )
        top = max(start, step.accuracy, start + step.high if step.high is not None else start)
        axes.annotate(
            change_text(step.change, metric) if place else level_text(step.accuracy, metric),
            (place, top * unit), (0, 4), textcoords="offset pixels", ha="center", va="bottom",
            size=13 if width >= WIDE else 11, weight="bold", color=INK, gid="label",
        )  # fmt: skip
    return figure


def _change(step: WaterfallStep, metric: str) -> str:
    interval = change_interval_text(step, metric)
    return f"change {change_text(step.change, metric)}" + (f", 95 %: {interval}" if interval else "")


def _hover(step: WaterfallStep, metric: str) -> str:
    lines = [step.stage, f"{metric_text(metric)} {level_text(step.accuracy, metric)}", _change(step, metric)]
    lines += [f"{layer.layer}: {layer.sqnr_db:.1f} dB" for layer in step.layers]
    return "\n".join([*lines, step.note])


def _caption(steps: Sequence[WaterfallStep]) -> str:
    text = "All on the validation split. Labels are changes from the step before; a bar downwards is a loss."
    if any(step.low is not None for step in steps):
        text += " Intervals are 95 %, paired: the same samples before and after the step."
    if any(step.stage in ("pruned", "fine-tuned") and step.low is None for step in steps):
        text += " What is pruned or fine-tuned without one was measured in torch."
    return text
