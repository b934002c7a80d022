"""What the board told while the best candidate was timed: round by round its median, clock and temperature."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgekit.report.plots.figures import EDGE, INK, MUTED, Margins, Plot, stacked_axes
from edgekit.report.plots.scales import set_linear_ticks
from edgekit.report.wording import ms_text
from edgekit.result import LatencyResult
from edgekit.types import Moment, Steadiness

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["timeline_plot"]

PANEL_PX = 92
STATES = {
    "clean": "The certificate is clean.",
    "throttled": "The board was throttled:",
    "unknown": "Whether the board was steady is not known:",
}


@dataclass(frozen=True)
class Series:
    """One panel: values by second, in the axis' unit; moments without a value are left out."""

    label: str
    colour: str
    points: tuple[tuple[float, float], ...]


def timeline_plot(name: str, latency: LatencyResult | None) -> Plot | None:
    """Panels of what was read; None where no certificate has a timeline. `name`: the candidate's id."""
    told = latency.steadiness if latency else None
    if told is None or not told.timeline:
        return None
    shown = series_of(told.timeline)
    absent = [word for word, row in zip(("clock", "temperature"), shown[1:], strict=True) if not row.points]
    drawn = [row for row in shown if row.points]
    caption = (
        f"{name}, at the end of each of its rounds: {told.attempts} "
        f"{'run was' if told.attempts == 1 else 'runs were'} made, the last one counts. {_sentence(told)}"
    )
    if absent:
        caption += f" The board does not tell its {' and '.join(absent)}."
    return Plot(
        "timeline",
        f"Median latency, clock and temperature while {name} was timed",
        " ".join(_told(row) for row in drawn),
        caption,
        lambda width: draw(width, drawn),
    )


def series_of(timeline: Sequence[Moment]) -> tuple[Series, Series, Series]:
    """Median in ms, clock in MHz, temperature in degrees Celsius."""

    def points(read: str) -> tuple[tuple[float, float], ...]:
        values = [(moment.t_s, getattr(moment, read)) for moment in timeline]
        return tuple((t_s, value) for t_s, value in values if value is not None)

    return (
        Series("median, ms", INK, points("median_ms")),
        Series("clock, MHz", EDGE, points("clock_mhz")),
        Series("hottest zone, °C", "#D55E00", points("temperature_c")),
    )


def draw(width: int, drawn: Sequence[Series]) -> Figure:
    """The figure at that width in pixels: a panel for each series, over seconds."""
    margins = Margins(62, 18, 22, 46)
    figure, panels = stacked_axes(width, PANEL_PX, margins, len(drawn))
    end = max(t_s for row in drawn for t_s, _value in row.points)
    for axes, row in zip(panels, drawn, strict=True):
        values = [value for _t_s, value in row.points]
        pad = 0.15 * (max(values) - min(values)) or 0.05 * max(values) or 1.0
        axes.plot([t_s for t_s, _value in row.points], values, color=row.colour, marker="o", markersize=4)
        axes.set_ylim(min(values) - pad, max(values) + pad)
        axes.set_xlim(0.0, 1.02 * end or 1.0)
        axes.set_title(row.label, loc="left", size=12, color=MUTED)
        axes.locator_params(axis="y", nbins=3)
        axes.ticklabel_format(axis="y", useOffset=False)
        axes.tick_params(labelbottom=axes is panels[-1])
        set_linear_ticks(axes, width - margins.left - margins.right)
    panels[-1].set_xlabel("seconds since timing began")
    return figure


def _sentence(told: Steadiness) -> str:
    reasons = f" {'; '.join(told.reasons)}." if told.reasons else ""
    return f"{STATES[told.state]}{reasons}" + (f" Besides: {'; '.join(told.notes)}." if told.notes else "")


def _told(row: Series) -> str:
    values = [value for _t_s, value in row.points]
    return f"{row.label}: {ms_text(min(values))} to {ms_text(max(values))}."
