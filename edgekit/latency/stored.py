"""A latency table as a file: one JSON, checked whole when it is read."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from edgekit.errors import OutputError, UserError
from edgekit.files import write_atomically
from edgekit.latency.correction import Correction
from edgekit.latency.table import LatencyTable, MeasuredOn, TimedUnit
from edgekit.latency.unit import Family, Unit
from edgekit.types import Estimate

__all__ = ["default_table_path", "load_table", "open_table", "save_table"]

Width = Annotated[int, msgspec.Meta(ge=1, le=1 << 20)]
Milliseconds = Annotated[float, msgspec.Meta(gt=0, le=1e9)]


class FamilyRows(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`points`: channels in, channels out, milliseconds, and the ends of their interval."""

    family: Family
    points: tuple[tuple[Width, Width, Milliseconds, Milliseconds, Milliseconds], ...]


class TableFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the file holds."""

    schema: Literal[1]
    measured_on: MeasuredOn
    families: tuple[FamilyRows, ...]
    corrections: tuple[Correction, ...] = ()


def load_table(path: Path) -> LatencyTable:
    """Read a table. Raises UserError with one line that names the file, and what is wrong in it."""
    try:
        content = path.read_bytes()
    except OSError as problem:
        raise UserError(
            f"{path} cannot be read: {problem.strerror}",
            remedy="make it: edgekit latency measure --table FILE",
        ) from problem
    try:
        stored = msgspec.json.decode(content, type=TableFile)
        timed = tuple(
            TimedUnit(Unit(rows.family, width_in, width_out), Estimate(value, low, high))
            for rows in stored.families
            for width_in, width_out, value, low, high in rows.points
        )
    except (msgspec.DecodeError, UserError) as problem:
        raise UserError(f"{path} is no latency table: {problem}", remedy="measure it again") from problem
    for row in timed:
        if not row.latency_ms.low <= row.latency_ms.value <= row.latency_ms.high:
            raise UserError(
                f"{path} is no latency table: {row.unit.text()} has {row.latency_ms.value} ms outside of its interval",
                remedy="measure it again",
            )
    return LatencyTable(stored.measured_on, timed, stored.corrections)


def open_table(path: Path, measured_on: MeasuredOn) -> LatencyTable:
    """The table at `path` for this device, runtime and number of threads; an empty one where there is no file.

    Raises UserError for a table of another, and what `load_table` raises.
    """
    if not path.exists():
        return LatencyTable(measured_on)
    table = load_table(path)
    differs = table.measured_on.differs_from(measured_on)
    if differs:
        raise UserError(f"{path} is a table of another device: {differs}", remedy="give another --table")
    return table


def save_table(table: LatencyTable, path: Path) -> None:
    """Write the file, whole or not at all; equal tables give equal bytes. Raises OutputError."""
    families: dict[Family, list[tuple[int, int, float, float, float]]] = {}
    for row in table.timed:
        estimate = row.latency_ms
        point = row.unit.channels_in, row.unit.channels_out, estimate.value, estimate.low, estimate.high
        families.setdefault(row.unit.family, []).append(point)
    rows = tuple(
        FamilyRows(family, tuple(sorted(points)))
        for family, points in sorted(families.items(), key=lambda pair: pair[0].text())
    )
    content = msgspec.json.encode(TableFile(1, table.measured_on, rows, table.corrections))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, msgspec.json.format(content, indent=1))
    except OSError as problem:
        raise OutputError(f"{path} cannot be written: {problem.strerror}") from problem


def default_table_path(measured_on: MeasuredOn) -> Path:
    """In this user's cache: a file for each device, runtime with its version, and number of threads."""
    from platformdirs import user_cache_path

    content = json.dumps(msgspec.to_builtins(measured_on), sort_keys=True)
    name = f"{measured_on.runtime}-{hashlib.sha256(content.encode()).hexdigest()[:16]}.json"
    return user_cache_path("edgekit") / "latency" / name
