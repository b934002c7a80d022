"""The time of units of one family as a function of its widths, between the widths that were measured. Pure.

Coarse rows and columns form a grid on which the logarithm of time is linear in the logarithms of both widths. Further
widths were measured on a single row or column: by how much they leave the grid there is taken to hold on the others.
Widths that are odd multiples of MULTIPLE are compared with each other alone: registers hold more than that many
channels, so a staircase has its steps between them and the even ones.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from edgekit.latency.unit import MULTIPLE
from edgekit.types import Estimate

__all__ = ["LEAST_MS", "FamilyTimes"]

LEAST_MS = 1e-5

Widths = tuple[int, int]
"""Channels in and out."""


@dataclass(frozen=True)
class FamilyTimes:
    """`points`: widths → time in milliseconds."""

    points: Mapping[Widths, Estimate]

    @cached_property
    def columns(self) -> Mapping[int, frozenset[int]]:
        """Channels in → the channels out that were measured with them."""
        found_in: defaultdict[int, set[int]] = defaultdict(set)
        for width_in, width_out in self.points:
            found_in[width_in].add(width_out)
        return {width: frozenset(others) for width, others in found_in.items()}

    @cached_property
    def rows(self) -> Mapping[int, frozenset[int]]:
        """Channels out → the channels in."""
        by_out: defaultdict[int, set[int]] = defaultdict(set)
        for width_in, width_out in self.points:
            by_out[width_out].add(width_in)
        return {width: frozenset(others) for width, others in by_out.items()}

    @cached_property
    def is_line(self) -> bool:
        """Whether widths differ along one axis only: of square units, or with one width given."""
        return len(self.columns) == 1 or len(self.rows) == 1 or all(a == b for a, b in self.points)

    @cached_property
    def grid_in(self) -> frozenset[int]:
        """Channels in that were measured with several channels out."""
        return frozenset(width for width, others in self.columns.items() if len(others) > 1)

    @cached_property
    def grid_out(self) -> frozenset[int]:
        return frozenset(width for width, others in self.rows.items() if len(others) > 1)

    def outside(self, width_in: int, width_out: int) -> str:
        """Why the table says nothing of these widths, in words; "" where it does."""
        if (width_in, width_out) in self.points:
            return ""
        for name, width, axis in (("in", width_in, self.columns), ("out", width_out, self.rows)):
            if width % MULTIPLE and width not in axis:
                return f"{width} channels {name}: no multiple of {MULTIPLE}, and not measured"
            if not min(axis) <= width <= max(axis):
                return f"{width} channels {name}: {min(axis)} to {max(axis)} were measured"
        if self._log(width_in, width_out) is None:
            return f"{width_in} channels to {width_out}: not between measured ones"
        return ""

    def at(self, width_in: int, width_out: int) -> Estimate:
        """The time at widths that are not outside; between points the interval is the wider one of its neighbours."""
        if (width_in, width_out) in self.points:
            return self.points[width_in, width_out]
        log = self._log(width_in, width_out)
        assert log is not None
        value = math.exp(log)
        nearest = min(self.points, key=lambda widths: _apart(widths, (width_in, width_out)))
        known = self.points[nearest]
        scale = value / max(known.value, LEAST_MS)
        return Estimate(value, min(known.low * scale, value), max(known.high * scale, value))

    def misfit(self, width_in: int, width_out: int) -> float:
        """The logarithm of a measured time over what the other points would have said; 0 where they say nothing."""
        others = FamilyTimes(
            {widths: time for widths, time in self.points.items() if widths != (width_in, width_out)}
        )
        said = others._log(width_in, width_out) if others.points else None
        return 0.0 if said is None else self._point(width_in, width_out) - said

    def _point(self, width_in: int, width_out: int) -> float:
        return math.log(max(self.points[width_in, width_out].value, LEAST_MS))

    def _log(self, width_in: int, width_out: int) -> float | None:
        """Logarithm of time, interpolated; None where measured points do not enclose it."""
        if self.is_line:
            along_out = len(self.columns) == 1
            points = {b if along_out else a: self._point(a, b) for a, b in self.points}
            on_line = (
                all(a == b for a, b in self.points) or width_in in self.columns or width_out in self.rows
            )
            return _by_class(points, width_out if along_out else width_in) if on_line else None
        coarse = self._coarse(width_in, width_out)
        if coarse is None:
            return None
        return coarse + self._leaves_in(width_in) + self._leaves_out(width_out)

    def _coarse(self, width_in: int, width_out: int) -> float | None:
        """On the grid alone: along each of its rows, then between those."""
        by_in: dict[int, float] = {}
        for a in self.grid_in:
            along = {b: self._point(a, b) for b in self.columns[a] & self.grid_out}
            value = _between(along, width_out)
            if value is not None:
                by_in[a] = value
        return _between(by_in, width_in)

    @cached_property
    def _extra_in(self) -> Mapping[int, float]:
        """Channels in → by how much their time leaves the grid where they were measured; 0 on the grid."""
        leaves = dict.fromkeys(self.grid_in, 0.0)
        for a in self.columns.keys() - self.grid_in:
            (b,) = self.columns[a]
            coarse = self._coarse(a, b)
            if coarse is not None:
                leaves[a] = self._point(a, b) - coarse
        return leaves

    @cached_property
    def _extra_out(self) -> Mapping[int, float]:
        leaves = dict.fromkeys(self.grid_out, 0.0)
        for b in self.rows.keys() - self.grid_out:
            (a,) = self.rows[b]
            coarse = self._coarse(a, b)
            if coarse is not None:
                leaves[b] = self._point(a, b) - coarse
        return leaves

    def _leaves_in(self, width: int) -> float:
        return _by_class(self._extra_in, width) or 0.0

    def _leaves_out(self, width: int) -> float:
        return _by_class(self._extra_out, width) or 0.0


def _by_class(points: Mapping[int, float], width: int) -> float | None:
    """Interpolated between the nearest widths that are odd multiples of MULTIPLE as this one is, or even ones as it.

    Between all where those do not enclose it.
    """
    parity = width // MULTIPLE % 2
    alike = {place: value for place, value in points.items() if place // MULTIPLE % 2 == parity}
    value = _between(alike, width)
    return _between(points, width) if value is None else value


def _between(points: Mapping[int, float], width: int) -> float | None:
    """Linear in the logarithm of the width between the two nearest points; None outside of all."""
    if width in points:
        return points[width]
    below = max((place for place in points if place < width), default=None)
    above = min((place for place in points if place > width), default=None)
    if below is None or above is None:
        return None
    share = (math.log(width) - math.log(below)) / (math.log(above) - math.log(below))
    return (1 - share) * points[below] + share * points[above]


def _apart(these: Sequence[int], those: Sequence[int]) -> float:
    return sum(abs(math.log(a) - math.log(b)) for a, b in zip(these, those, strict=True))
