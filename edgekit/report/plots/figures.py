"""What every plot of the report shares: colours, markers, the frame of a figure, rows of candidates.

A plot is drawn by matplotlib, once for a wide and once for a narrow page, in pixels of the page.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from edgekit.precisions import PRECISIONS
from edgekit.report.wording import (
    accuracy_sentence,
    bytes_text,
    latency_sentence,
    ms_text,
    shorten,
)
from edgekit.result import CandidateResult
from edgekit.runtimes import RUNTIMES
from edgekit.types import BackendName

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "EDGE",
    "INK",
    "MUTED",
    "NARROW",
    "WIDE",
    "Margins",
    "Numbered",
    "Plot",
    "candidate_text",
    "draw_names",
    "draw_rows",
    "error_ends",
    "grid_axes",
    "hover_text",
    "marker",
    "new_axes",
    "precision_ran",
    "row_margins",
    "runtime_colour",
    "stacked_axes",
]

WIDE, NARROW = 960, 440
"""Pixels: of the page as on a desk, and as on a telephone or in a window of 500."""

INK, MUTED, GRID, EDGE = "#1b2733", "#5b6b7a", "#e6eaee", "#00745a"
ID_WIDTH = 27  # characters of an id beside or above its row
ROW_PX, TALL_ROW_PX = 27, 40


@dataclass(frozen=True)
class Numbered:
    """A candidate with its number, the same in the table and in every plot."""

    number: int
    candidate: CandidateResult


@dataclass(frozen=True)
class Margins:
    """Pixels around the inner plot."""

    left: int
    right: int
    top: int
    bottom: int


@dataclass(frozen=True)
class Plot:
    """One figure. `draw` makes it for a width in pixels; `caption` says how to read it.

    `title` and `description` hold what it shows, for those who cannot see it. `hover`: what is told of the mark with
    that gid ("c3" for candidate 3; what follows a dot in a gid only sets it apart).
    """

    id: str
    title: str
    description: str
    caption: str
    draw: Callable[[int], Figure]
    hover: Mapping[str, str] = field(default_factory=dict)


def new_axes(width: int, height: int, margins: Margins, panels: int = 1) -> tuple[Figure, list[Axes]]:
    """A figure of that size in pixels with `panels` plots side by side, the frame and the grid drawn."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width / 72, height / 72), dpi=72)
    inner = width - margins.left - margins.right
    gap = 0.06 * inner if panels > 1 else 0.0
    panel_px = (inner - gap * (panels - 1)) / panels
    made = []
    for place in range(panels):
        left = margins.left + place * (panel_px + gap)
        tall = height - margins.top - margins.bottom
        axes = figure.add_axes((left / width, margins.bottom / height, panel_px / width, tall / height))
        made.append(_framed(axes))
    return figure, made


def stacked_axes(width: int, panel_px: int, margins: Margins, panels: int) -> tuple[Figure, list[Axes]]:
    """A figure with `panels` plots of that height below each other, the frame and the grid drawn."""
    return grid_axes(width, panel_px, margins, panels, 1, (0, 26))


def grid_axes(
    width: int, panel_px: int, margins: Margins, panels: int, columns: int, gaps_px: tuple[int, int]
) -> tuple[Figure, list[Axes]]:
    """A figure with `panels` plots of that height in rows of `columns`, the frame and the grid drawn.

    `gaps_px`: between plots beside each other, and between those below each other.
    """
    from matplotlib.figure import Figure

    across, down = gaps_px
    rows = -(-panels // columns)
    height = margins.top + margins.bottom + rows * panel_px + (rows - 1) * down
    figure = Figure(figsize=(width / 72, height / 72), dpi=72)
    panel_width = (width - margins.left - margins.right - (columns - 1) * across) / columns
    made = []
    for place in range(panels):
        left = margins.left + place % columns * (panel_width + across)
        low = margins.bottom + (rows - 1 - place // columns) * (panel_px + down)
        axes = figure.add_axes((left / width, low / height, panel_width / width, panel_px / height))
        made.append(_framed(axes))
    return figure, made


def _framed(axes: Axes) -> Axes:
    axes.set_axisbelow(True)
    axes.grid(color=GRID, linewidth=1)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("#9aa7b3")
    axes.tick_params(color="#9aa7b3", labelcolor=INK, labelsize=11, length=4)
    axes.xaxis.label.set(size=12, color=INK)
    axes.yaxis.label.set(size=12, color=INK)
    return axes


def row_margins(width: int) -> tuple[Margins, int]:
    """The frame of a plot with a row per candidate, and the height of a row."""
    if width < WIDE:
        return Margins(26, 14, 44, 50), TALL_ROW_PX
    return Margins(218, 20, 44, 50), ROW_PX


def draw_rows(axes: Axes, numbered: Sequence[Numbered], width: int, *, named: bool = True) -> None:
    """A row per candidate, the first on top; the id stands beside the row, on a narrow page above it."""
    ids = [shorten(entry.candidate.id, ID_WIDTH) for entry in numbered]
    draw_names(axes, ids, width, [str(entry.number) for entry in numbered], named=named)


def draw_names(
    axes: Axes, names: Sequence[str], width: int, numbers: Sequence[str] = (), *, named: bool = True
) -> None:
    """A row per name, the first on top; it stands beside the row before its number, on a narrow page above it."""
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_yticks(range(len(names)))
    axes.tick_params(axis="y", length=0)
    if not named:
        axes.set_yticklabels([])
    elif width < WIDE:
        axes.set_yticklabels(numbers or [""] * len(names), weight="bold")
        for place, name in enumerate(names):
            axes.text(
                0.005,
                place - 0.24,
                name,
                transform=axes.get_yaxis_transform(),
                size=10,
                color=MUTED,
                va="bottom",
            )
    elif numbers:
        axes.set_yticklabels([f"{name}  {number}" for name, number in zip(names, numbers, strict=True)])
    else:
        axes.set_yticklabels(names)


def error_ends(value: float, low: float, high: float) -> list[list[float]]:
    """The ends of an interval as matplotlib's asymmetric error bar; an end on the wrong side has no length."""
    return [[max(value - low, 0.0)], [max(high - value, 0.0)]]


def runtime_colour(backend: BackendName) -> str:
    """The runtime's; grey for one that this version of edgekit does not know."""
    return RUNTIMES[backend].colour if backend in RUNTIMES else MUTED


def marker(candidate: CandidateResult) -> dict[str, Any]:
    """Marker and colour of a candidate: the precision that ran, and the runtime. Open: not known to this version."""
    ran, colour = precision_ran(candidate), runtime_colour(candidate.backend)
    known = next((row.marker for name, row in PRECISIONS.items() if name == ran), "")
    if not known:
        return {"marker": "o", "color": colour, "markerfacecolor": "white"}
    return {"marker": known, "color": colour, "markeredgecolor": "white"}


def precision_ran(candidate: CandidateResult) -> str:
    """What ran; a candidate that ran as it was meant to keeps its name, weight-only ones whatever was multiplied."""
    row = PRECISIONS.get(candidate.precision)
    is_by_design = row is not None and row.is_meant_by(candidate.ran_as)
    return candidate.precision if is_by_design else candidate.ran_as or candidate.precision


def candidate_text(numbered: Numbered) -> str:
    """One sentence with the figures that are plotted."""
    candidate = numbered.candidate
    facts = [
        latency_sentence(candidate.latency_ms, candidate.origin) if candidate.latency_ms else "",
        accuracy_sentence(candidate.accuracy) if candidate.accuracy else "",
    ]
    return f"{numbered.number} {candidate.id}: {'; '.join(fact for fact in facts if fact) or 'not measured'}."


def hover_text(numbered: Numbered) -> str:
    """All figures of a candidate, a line panel_px."""
    candidate = numbered.candidate
    asked, ran = candidate.precision, candidate.ran_as or candidate.precision
    lines = [f"{numbered.number}  {shorten(candidate.id, 60)}"]
    lines.append(f"{candidate.backend}, {asked}" + (f", ran as {ran}" if ran != asked else ""))
    if candidate.latency_ms:
        latency = candidate.latency_ms
        lines.append(latency_sentence(latency, candidate.origin))
        if candidate.origin != "estimated":
            lines.append(
                f"p50 {ms_text(latency.p50)}, p90 {ms_text(latency.p90)}, p99 {ms_text(latency.p99)} ms"
            )
    if candidate.accuracy:
        lines.append(accuracy_sentence(candidate.accuracy))
    memory = bytes_text(candidate.peak_memory_bytes)
    lines.append(
        f"{bytes_text(candidate.size_bytes)}, peak memory {memory}, load {ms_text(candidate.load_ms)} ms"
    )
    return "\n".join(lines)
