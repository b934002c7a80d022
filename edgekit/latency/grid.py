"""Which widths of a family are measured: few at first, then more where time does not follow from those. Pure."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence

from edgekit.latency.interpolation import FamilyTimes
from edgekit.latency.table import LatencyTable
from edgekit.latency.unit import MULTIPLE, Unit

__all__ = ["first_points", "further_points", "missing"]

DENSE = 128
"""Up to this many channels the coarse grid doubles; above it is three times as wide at each step."""

STEP = 0.03
"""A point that leaves the interpolation by more than this share of time shows a step, and is looked at more closely."""


def coarse_widths(most: int, heads: int = 1) -> tuple[int, ...]:
    """Widths of the coarse grid up to `most`, itself the last; only itself where it is no multiple of MULTIPLE.

    Of a product of `heads` heads the widths of each are such, and all have the same.

    >>> coarse_widths(64)
    (8, 16, 32, 64)
    >>> coarse_widths(960)
    (8, 32, 112, 320, 960)
    >>> coarse_widths(96, 4)
    (32, 64, 96)
    """
    if heads > 1:
        return tuple(heads * width for width in coarse_widths(most // heads))
    if most % MULTIPLE:
        return (most,)
    factor = 2 if most <= DENSE else 3
    widths = [most]
    while widths[-1] > MULTIPLE:
        below = widths[-1] / factor
        step = 2 * MULTIPLE if below > 2 * MULTIPLE else MULTIPLE
        widths.append(max(MULTIPLE, step * round(below / step)))
    return tuple(reversed(widths))


def first_points(units: Sequence[Unit]) -> tuple[Unit, ...]:
    """The coarse grids under the units of a network, whose widths are the largest that any plan of it has."""
    points: dict[Unit, None] = {}
    for unit in units:
        if unit.family.is_square:
            points.update(
                (unit.resized(channels_in=width), None) for width in coarse_widths(unit.channels_in)
            )
            continue
        heads = unit.family.width_step // MULTIPLE
        for width_in in coarse_widths(unit.channels_in, heads):
            for width_out in coarse_widths(unit.channels_out, heads):
                points[unit.resized(channels_in=width_in, channels_out=width_out)] = None
    return tuple(points)


def further_points(table: LatencyTable, units: Sequence[Unit]) -> tuple[Unit, ...]:
    """Widths between measured ones where time is not known well enough: what to measure next; () when it is.

    Between two neighbours of the grid that no width was tried between, an odd and an even multiple of MULTIPLE are
    tried, or all where they are few; between two of which one left the interpolation, again.
    """
    points: dict[Unit, None] = {}
    for unit in units:
        times = table.families.get(unit.family)
        if times is None:
            continue
        step = unit.family.width_step
        if unit.family.is_square:
            for width in _between_neighbours(times, {a: (a, b) for a, b in times.points}, step):
                points[unit.resized(channels_in=width)] = None
            continue
        last_in = max(a for a in times.columns if a <= unit.channels_in)
        last_out = max(b for b in times.rows if b <= unit.channels_out)
        on_row = {a: (a, last_out) for a, b in times.points if b == last_out and a <= unit.channels_in}
        on_column = {b: (last_in, b) for a, b in times.points if a == last_in and b <= unit.channels_out}
        for width in _between_neighbours(times, on_row, step):
            points[unit.resized(channels_in=width, channels_out=last_out)] = None
        for width in _between_neighbours(times, on_column, step):
            points[unit.resized(channels_in=last_in, channels_out=width)] = None
    return missing(table, tuple(points))


def _between_neighbours(times: FamilyTimes, at: Mapping[int, tuple[int, int]], step: int) -> Iterator[int]:
    """Widths to try between neighbours on one line of a family; `at`: width → its point. Multiples of `step`."""
    ordered = sorted(width for width in at if width % step == 0)
    for below, above in itertools.pairwise(ordered):
        free = list(range(below + step, above, step))
        tried = [times.misfit(*at[width]) for width in (below, above) if _is_inner(times, at[width], step)]
        if not free or (tried and max(map(abs, tried)) <= STEP):
            continue
        if len(free) <= 3:
            yield from free
            continue
        middle = math.sqrt(below * above)
        for parity in (0, 1):
            alike = [width for width in free if width // step % 2 == parity]
            yield min(alike, key=lambda width: abs(math.log(width / middle)))


def _is_inner(times: FamilyTimes, point: tuple[int, int], step: int) -> bool:
    """Whether a point was tried between points of the grid, and is not of the grid itself."""
    if times.is_line:
        widths = (
            sorted({max(a, b) for a, b in times.points}) if len(times.columns) > 1 else sorted(times.rows)
        )
        coarse = set(coarse_widths(widths[-1], step // MULTIPLE))
        return (point[0] if len(times.columns) > 1 else point[1]) not in coarse
    return point[0] not in times.grid_in or point[1] not in times.grid_out


def missing(table: LatencyTable, units: Sequence[Unit]) -> tuple[Unit, ...]:
    """Those that were not measured yet, each a single time."""
    known = {row.unit for row in table.timed}
    return tuple(unit for unit in dict.fromkeys(units) if unit not in known)
