"""Whether what a figure says can be read: nothing lies on another label, and nothing is cut."""

from __future__ import annotations

import itertools
from typing import Any

from edgekit.report.plots.figures import WIDE, Plot

__all__ = ["assert_legible", "drawn"]


def drawn(plot: Plot, width: int = WIDE) -> Any:
    """The figure, laid out: what it measures of its texts is what is shown."""
    figure = plot.draw(width)
    figure.draw_without_rendering()
    return figure


def assert_legible(plot: Plot, width: int) -> None:
    """Tick labels keep apart and titles too, and texts lie within the width."""
    figure = drawn(plot, width)
    titles = [axes._left_title.get_window_extent() for axes in figure.axes if axes.get_title(loc="left")]
    assert not any(one.overlaps(other) for one, other in itertools.combinations(titles, 2)), plot.id
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            ticks = [tick.label1 for tick in axis.get_major_ticks() if tick.label1.get_text()]
            boxes = [
                label.get_window_extent()
                for label, at in zip(ticks, axis.get_majorticklocs(), strict=False)
                if min(axis.get_view_interval()) <= at <= max(axis.get_view_interval())
            ]
            assert not any(one.overlaps(other) for one, other in itertools.combinations(boxes, 2)), plot.id
            assert all(box.x0 >= -1 and box.x1 <= width + 1 for box in boxes), plot.id
        for text in (*axes.texts, axes._left_title, axes.xaxis.label, axes.yaxis.label):
            box = text.get_window_extent()
            assert box.x0 >= -1, (plot.id, text.get_text())
            assert box.x1 <= width + 1, (plot.id, text.get_text())
