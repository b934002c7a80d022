"""Which units stay in float: those that take most noise off for their time, transitions between precisions included.

A unit's time hangs on its neighbours' precision, since two in float share no border, and so does its noise: a tensor
that is made in float is rounded only for those that read it in int8. So sets are chosen, by a small integer program: a
column for each unit, one for each border that is crossed, one for each rounded reading. Independent errors add up by
their energies, so the noise of a set is a sum.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgekit.quantize.precision_times import Noise, PrecisionTimes, UnitPlace
from edgekit.quiet import quiet_descriptor

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["FloatChoice", "choices_by_percent", "choose_in_float"]

NODES = 4000
"""Of branch and bound, at most: not seconds, so that the same numbers end at the same choice."""

AS_GOOD = 1.1
"""Times the least noise within the time: of all sets up to there the fastest is taken."""


@dataclass(frozen=True)
class FloatChoice:
    """`chosen`: places of units, ascending. `extra_ms` beyond int8, of which `borders_ms` more for transitions.

    `noise_before`, `noise_after`: with none of them in float, and with these. `by_unit`: place → what it alone would
    take back in milliseconds, and what noise it would bring back, were it int8 among the other chosen ones.
    """

    chosen: tuple[int, ...]
    extra_ms: float
    borders_ms: float
    noise_before: float
    noise_after: float
    by_unit: Mapping[int, tuple[float, float]]


def choose_in_float(
    times: PrecisionTimes,
    noise: Noise,
    *,
    float_anyway: Collection[str] = (),
    never_float: Collection[str] = (),
    most_extra_ms: float,
) -> FloatChoice:
    """The set of units with least noise that takes at most `most_extra_ms` more than int8, and of those within AS_GOOD
    of it the fastest.

    Units with a node of `float_anyway` are float already and cost nothing; units of which all nodes are `never_float`
    stay int8.
    """
    anyway = [place for place, unit in enumerate(times.units) if not set(float_anyway).isdisjoint(unit.nodes)]
    free = [
        place
        for place, unit in enumerate(times.units)
        if unit.extra_ms is not None and place not in anyway and not set(unit.nodes) <= set(never_float)
    ]
    program = _Program(times, noise, free, anyway)
    best = program.solved(program.noise_row, [(program.time_row, most_extra_ms - program.time_base)])
    if best is None:
        chosen: tuple[int, ...] = ()
    else:
        limit = AS_GOOD * program.noise_of(best) - program.noise_base
        # The noise of `best` itself may lie a rounding above what HiGHS took for it.
        rows = [
            (program.noise_row, limit + 1e-9 * program.scale),
            (program.time_row, most_extra_ms - program.time_base),
        ]
        fastest = program.solved(program.time_row, rows)
        chosen = best if fastest is None else min(best, fastest, key=program.time_of)
    return _told(times, noise, anyway, chosen)


def choices_by_percent(
    times: PrecisionTimes,
    noise: Noise,
    *,
    float_anyway: Collection[str] = (),
    never_float: Collection[str] = (),
    int8_ms: float,
    most_percent: int,
) -> Iterator[tuple[int, FloatChoice]]:
    """Each choice that some whole percent of `int8_ms` from `most_percent` down to 1 gives, with the least that does;
    none twice, and none without a unit in float."""
    percent = most_percent
    while percent >= 1:
        choice = choose_in_float(
            times,
            noise,
            float_anyway=float_anyway,
            never_float=never_float,
            most_extra_ms=percent / 100 * int8_ms,
        )
        if not choice.chosen:
            return
        # Down to what it takes the choice stays the same.
        needed = max(1, min(percent, math.ceil(100 * choice.extra_ms / int8_ms - 1e-6)))
        yield needed, choice
        percent = needed - 1


def _told(times: PrecisionTimes, noise: Noise, anyway: list[int], chosen: tuple[int, ...]) -> FloatChoice:
    before: set[UnitPlace] = {*anyway, None}
    after: set[UnitPlace] = {*before, *chosen}

    def noise_of(in_float: set[UnitPlace]) -> float:
        return times.noise(in_float, noise)

    by_unit = {
        place: (times.extra_ms(after, after - {place}), noise_of(after - {place}) - noise_of(after))
        for place in chosen
    }
    return FloatChoice(
        chosen=chosen,
        extra_ms=times.extra_ms(after, before),
        borders_ms=times.borders_ms(after) - times.borders_ms(before),
        noise_before=noise_of(before),
        noise_after=noise_of(after),
        by_unit=by_unit,
    )


class _Program:
    """Columns: free units (1: float), then borders (1: crossed), then readings (1: made in float, rounded for it).

    Rows of time and noise are beyond `time_base` and `noise_base`, which are those of a network without any border
    crossed, with all free units in int8 and no reading rounded that is not in int8 anyway. Only units need be whole: at
    whole units the others are whole by themselves, since each costs something.
    """

    def __init__(self, times: PrecisionTimes, noise: Noise, free: list[int], anyway: list[int]) -> None:
        import numpy as np

        self.times, self.noise, self.free = times, noise, free
        self.fixed: set[UnitPlace] = {*anyway, None}
        self.columns = {place: column for column, place in enumerate(free)}
        count, borders = len(free), times.borders
        self.readings = [
            (border, reader, noise.of_reading(border.tensor, times.units[reader]))
            for border in borders
            for reader in border.readers
            if reader is not None
        ]
        self.width = count + len(borders) + len(self.readings)
        self.time_row, self.noise_row = np.zeros(self.width), np.zeros(self.width)
        for place, column in self.columns.items():
            unit = times.units[place]
            self.time_row[column] = unit.extra_ms
            self.noise_row[column] = -noise.of_layers(unit)
        for index, border in enumerate(borders):
            self.time_row[count + index] = border.ms
            if times.rounds_results and border.maker in self.columns:
                self.noise_row[self.columns[border.maker]] -= noise.tensors.get(border.tensor, 0.0)
        for index, (_, _, energy) in enumerate(self.readings):
            self.noise_row[count + len(borders) + index] = energy
        self.time_base = -times.borders_ms(self.fixed)
        self.noise_base = sum(
            noise.of_layers(unit) for place, unit in enumerate(times.units) if place not in self.fixed
        )
        if times.rounds_results:
            self.noise_base += sum(
                noise.tensors.get(border.tensor, 0.0) for border in borders if border.maker not in self.fixed
            )
        self.scale = max(self.noise_base, float(np.abs(self.noise_row).sum()), 1e-30)
        self.rows, self.sides = self._ties()

    def _ties(self) -> tuple[object, NDArray[np.float64]]:
        """Rows with an upper side that tie borders and readings to the units on both sides of them."""
        import numpy as np
        from scipy.sparse import csr_array

        at: list[tuple[int, int, float]] = []
        sides: list[float] = []
        count, borders = len(self.free), self.times.borders

        def row(*terms: tuple[float, UnitPlace]) -> None:
            """Σ factor × (whether the place is float) + what `at` got before ≤ 0."""
            side = 0.0
            for factor, place in terms:
                if place in self.columns:
                    at.append((len(sides), self.columns[place], factor))
                elif place in self.fixed:
                    side -= factor
            sides.append(side)

        for index, border in enumerate(borders):
            for reader in border.readers:
                for sign in (1.0, -1.0):  # crossed ≥ |maker - reader|
                    at.append((len(sides), count + index, -1.0))
                    row((sign, border.maker), (-sign, reader))
        for index, (border, reader, _) in enumerate(self.readings):  # rounded ≥ maker - reader
            at.append((len(sides), count + len(borders) + index, -1.0))
            row((1.0, border.maker if self.times.rounds_results else None), (-1.0, reader))
        shape = (len(sides), self.width)
        values = [value for _, _, value in at]
        ties = csr_array((values, ([r for r, _, _ in at], [c for _, c, _ in at])), shape=shape)
        return ties, np.array(sides)

    def solved(
        self, objective: NDArray[np.float64], limits: list[tuple[NDArray[np.float64], float]]
    ) -> tuple[int, ...] | None:
        """Places in float that make the objective least within limits (row, largest value); None: there are none."""
        import numpy as np
        from scipy.optimize import Bounds, LinearConstraint, milp

        if not self.free:
            return ()
        constraints = [LinearConstraint(self.rows, -np.inf, self.sides)]
        for row, most in limits:
            size = max(float(np.abs(row).max()), 1e-30)  # HiGHS holds rows to 1e-6 as they stand
            constraints.append(LinearConstraint(row[None] / size, -np.inf, most / size))
        with quiet_descriptor():
            answer = milp(
                objective / max(float(np.abs(objective).max()), 1e-30),
                integrality=(np.arange(self.width) < len(self.free)).astype(int),
                bounds=Bounds(0.0, 1.0),
                constraints=constraints,
                options={"node_limit": NODES, "mip_rel_gap": 1e-6},
            )
        if answer.x is None:
            return None
        return tuple(
            place for place, value in zip(self.free, answer.x[: len(self.free)], strict=True) if value > 0.5
        )

    def time_of(self, chosen: tuple[int, ...]) -> float:
        return self.times.extra_ms({*self.fixed, *chosen}, self.fixed)

    def noise_of(self, chosen: tuple[int, ...]) -> float:
        return self.times.noise({*self.fixed, *chosen}, self.noise)
