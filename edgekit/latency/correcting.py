"""Correcting a table by whole networks: made, measured together, compared with the sums of their layers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.errors import StageError
from edgekit.latency.correction import Whole, fit_correction
from edgekit.latency.measuring import TimingOptions, measure_wholes
from edgekit.latency.table import LatencyTable, structure_of
from edgekit.latency.unit import UnitPrecision
from edgekit.latency.units import units_of
from edgekit.types import Artifact

if TYPE_CHECKING:
    from edgekit.devices.base import Device, JobProgress

__all__ = ["correct_table"]

WHOLE_ROUNDS, WHOLE_S = 25, 0.6
"""Of whole networks: few, so each gets more time than a single layer does."""


def correct_table(
    device: Device,
    table: LatencyTable,
    networks: Mapping[str, tuple[Path, Artifact]],
    *,
    network: str,
    precision: UnitPrecision,
    threads: int = 1,
    seed: int = 0,
    progress: JobProgress | None = None,
) -> LatencyTable:
    """The table with a correction fitted to these networks: name → the float ONNX file, and what was built of it.

    `network`: what they are children of. Raises StageError where one of them holds a unit that is outside of the table.
    """
    options = TimingOptions(threads=threads, rounds=WHOLE_ROUNDS, seconds=WHOLE_S, seed=seed)
    measured = measure_wholes(
        device, {name: built for name, (_, built) in networks.items()}, options, progress
    )
    wholes = []
    structure = ""
    for name, (path, _) in networks.items():
        units = units_of(path, table.measured_on.runtime, precision).units
        told = [table.predict(unit) for unit in units]
        known = tuple(row.latency_ms.value for row in told if row.latency_ms is not None)
        if len(known) < len(told):
            outside = next(row for row in told if row.latency_ms is None)
            raise StageError("correct", f"{name}: {outside.unit.text()}: {outside.outside}")
        wholes.append(Whole(units, known, measured[name].value))
        structure = structure_of(units)
    correction = fit_correction(wholes, structure=structure, network=network, precision=precision)
    return table.with_correction(correction)
