"""A latency table: times of single units on one device, and the time of a network as their corrected sum. Pure."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from edgekit.latency.correction import Correction
from edgekit.latency.interpolation import FamilyTimes
from edgekit.latency.unit import Family, Unit, UnitPrecision
from edgekit.types import BackendName, Estimate

__all__ = ["LatencyTable", "MeasuredOn", "NetworkTime", "TimedUnit", "UnitTime", "structure_of"]


@dataclass(frozen=True)
class MeasuredOn:
    """What times hang on besides the unit: machine, runtime and its version, threads. `features`: of the CPU."""

    machine: str
    cpu: str
    arch: str
    features: tuple[str, ...]
    runtime: BackendName
    version: str
    threads: int

    def differs_from(self, other: MeasuredOn) -> str:
        """In words, the first thing in which two differ; "" where none does."""
        for name in ("machine", "cpu", "arch", "runtime", "version", "threads"):
            here, there = getattr(self, name), getattr(other, name)
            if here != there:
                return f"{name} {here} against {there}"
        return "" if set(self.features) == set(other.features) else "the CPU's features"


@dataclass(frozen=True)
class TimedUnit:
    """One measured point: the value with the interval that its repeats leave, milliseconds."""

    unit: Unit
    latency_ms: Estimate


@dataclass(frozen=True)
class UnitTime:
    """What a table says of a unit. `latency_ms` is None where the table does not reach; `outside` says why."""

    unit: Unit
    latency_ms: Estimate | None
    outside: str = ""


@dataclass(frozen=True)
class NetworkTime:
    """The time of a network. None where one of its units is outside of the table.

    `sum_ms` is the plain sum, `latency_ms` the corrected one with its interval; `notes` are sentences.
    """

    latency_ms: Estimate | None
    sum_ms: float
    units: tuple[UnitTime, ...]
    notes: tuple[str, ...] = ()

    @property
    def outside(self) -> tuple[UnitTime, ...]:
        """The units that the table does not reach."""
        return tuple(unit for unit in self.units if unit.latency_ms is None)


@dataclass(frozen=True)
class LatencyTable:
    """Times of units on one device with one runtime. Equal units stand once: the one measured last."""

    measured_on: MeasuredOn
    timed: tuple[TimedUnit, ...] = ()
    corrections: tuple[Correction, ...] = ()
    _cache: dict[Unit, UnitTime] = field(default_factory=dict, init=False, compare=False, repr=False)

    @cached_property
    def families(self) -> Mapping[Family, FamilyTimes]:
        points: dict[Family, dict[tuple[int, int], Estimate]] = {}
        for row in self.timed:
            widths = row.unit.channels_in, row.unit.channels_out
            points.setdefault(row.unit.family, {})[widths] = row.latency_ms
        return {family: FamilyTimes(rows) for family, rows in points.items()}

    def with_timed(self, timed: Sequence[TimedUnit]) -> LatencyTable:
        """The table with further points, which take the place of equal ones."""
        rows = {row.unit: row for row in (*self.timed, *timed)}
        return replace(self, timed=tuple(rows.values()))

    def with_correction(self, correction: Correction) -> LatencyTable:
        """The table with a correction, which takes the place of one for the same structure and precision."""
        others = tuple(
            old for old in self.corrections
            if (old.structure, old.precision) != (correction.structure, correction.precision)
        )  # fmt: skip
        return replace(self, corrections=(*others, correction))

    def predict(self, unit: Unit) -> UnitTime:
        """The unit's time, interpolated between measured widths; never beyond them."""
        if unit not in self._cache:
            times = self.families.get(unit.family)
            if times is None:
                told = UnitTime(unit, None, f"no {unit.family.text()} was measured")
            else:
                outside = times.outside(unit.channels_in, unit.channels_out)
                estimate = None if outside else times.at(unit.channels_in, unit.channels_out)
                told = UnitTime(unit, estimate, outside)
            self._cache[unit] = told
        return replace(self._cache[unit], unit=unit)

    def predict_network(self, units: Sequence[Unit], *, unmeasured: Sequence[str] = ()) -> NetworkTime:
        """The time of a network that runs these units one after the other. `unmeasured`: see `NetworkUnits`."""
        told = tuple(self.predict(unit) for unit in units)
        known = [row.latency_ms for row in told if row.latency_ms is not None]
        total = sum(estimate.value for estimate in known)
        notes = [f"not in the table's sum: {', '.join(unmeasured)}"] if unmeasured else []
        if len(known) < len(told):
            return NetworkTime(None, total, told, tuple(notes))
        correction, doubt = self.correction_for(units)
        if correction is None:
            low, high = sum(e.low for e in known), sum(e.high for e in known)
            notes.append("the sum is not corrected by whole networks, which cost more than their layers")
            return NetworkTime(Estimate(total, low, high), total, told, tuple(notes))
        if doubt:
            notes.append(doubt)
        corrected = correction.apply(units, [estimate.value for estimate in known])
        return NetworkTime(corrected, total, told, tuple(notes))

    def correction_for(self, units: Sequence[Unit]) -> tuple[Correction | None, str]:
        """The correction of the same structure, else the last one of the same precision and a doubt."""
        precision = main_precision(units)
        having = [correction for correction in self.corrections if correction.precision == precision]
        name = structure_of(units)
        same = [correction for correction in having if correction.structure == name]
        if same:
            return same[-1], ""
        if not having:
            return None, ""
        return having[-1], f"corrected by networks of another structure ({having[-1].network})"


def main_precision(units: Sequence[Unit]) -> UnitPrecision:
    """In what the network computes most."""
    macs: dict[UnitPrecision, int] = {"fp32": 0, "int8": 0}
    for unit in units:
        macs[unit.family.precision] += unit.macs
    return "int8" if macs["int8"] > macs["fp32"] else "fp32"


def structure_of(units: Sequence[Unit]) -> str:
    """A digest of a network but for its widths: equal for all that pruning channels makes of one.

    Equal neighbours count once: the projections of an attention are packed into one while they are equally wide.
    """
    import hashlib

    texts = [text for text, _ in itertools.groupby(unit.family.structure for unit in units)]
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()[:16]
