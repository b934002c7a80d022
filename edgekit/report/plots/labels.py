"""Places labels beside points so that none covers another label or a point."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

__all__ = ["Box", "Canvas", "place_labels"]

# Diagonals first: error bars lie on the axes through a point.
DIRECTIONS = ((1, 1), (-1, 1), (1, -1), (-1, -1), (1, 0), (-1, 0), (0, 1), (0, -1))
DISTANCES = (9.0, 16.0, 24.0, 34.0)
POINT = 6.0


@dataclass(frozen=True)
class Box:
    """A rectangle in pixels, by its centre and half its width and height."""

    x: float
    y: float
    half_width: float
    half_height: float

    def overlaps(self, other: Box) -> bool:
        """Whether the two share any area."""
        near_x = abs(self.x - other.x) < self.half_width + other.half_width
        return near_x and abs(self.y - other.y) < self.half_height + other.half_height

    def inside(self, other: Box) -> bool:
        """Whether this one lies wholly in the other."""
        fits_x = abs(self.x - other.x) + self.half_width <= other.half_width
        return fits_x and abs(self.y - other.y) + self.half_height <= other.half_height


@dataclass(frozen=True)
class Canvas:
    """The inner plot: its frame, the points [x, y in pixels], and strokes to keep off."""

    frame: Box
    points: tuple[tuple[float, float], ...]
    strokes: tuple[Box, ...] = ()


def place_labels(sizes: Sequence[tuple[float, float]], canvas: Canvas) -> list[tuple[float, float] | None]:
    """For each point the shift of its label's centre in pixels, or None where there is no room.

    `sizes` are the labels' widths and heights in pixels. Earlier points have the first choice. Labels stay inside
    the frame, off one another and off all points; off strokes where there is room for that.
    """
    solid = [Box(x, y, POINT, POINT) for x, y in canvas.points]
    shifts: list[tuple[float, float] | None] = []
    for point, (width, height) in zip(canvas.points, sizes, strict=True):
        shift = _free_shift(point, width, height, canvas.frame, [*solid, *canvas.strokes])
        shift = shift or _free_shift(point, width, height, canvas.frame, solid)
        shifts.append(shift)
        if shift is not None:
            solid.append(_moved(point, shift, width, height))
    return shifts


def _moved(point: tuple[float, float], shift: tuple[float, float], width: float, height: float) -> Box:
    return Box(point[0] + shift[0], point[1] + shift[1], width / 2, height / 2)


def _free_shift(
    point: tuple[float, float], width: float, height: float, frame: Box, taken: Sequence[Box]
) -> tuple[float, float] | None:
    for shift in _shifts(width, height):
        box = _moved(point, shift, width, height)
        if box.inside(frame) and not any(box.overlaps(other) for other in taken):
            return shift
    return None


def _shifts(width: float, height: float) -> Iterator[tuple[float, float]]:
    for distance in DISTANCES:
        for right, up in DIRECTIONS:
            reach = distance if right and up else distance + 3
            yield right * (reach + width / 2 - 3), up * (reach + height / 2 - 6)
