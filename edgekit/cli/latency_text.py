"""`edgekit latency`: tables and predictions, for people and as JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from edgekit.latency import LatencyTable, NetworkTime

__all__ = ["print_time", "tell_table", "time_json"]


def time_json(told: NetworkTime, table: LatencyTable) -> dict[str, Any]:
    """What `predict --json` prints."""
    import msgspec

    estimate = told.latency_ms
    return {
        "schema": 1,
        "measured_on": msgspec.to_builtins(table.measured_on),
        "latency_ms": None if estimate is None else msgspec.to_builtins(estimate),
        "sum_ms": told.sum_ms,
        "notes": list(told.notes),
        "units": [
            {
                "unit": row.unit.text(),
                "layer": row.unit.layer,
                "nodes": list(row.unit.nodes),
                "latency_ms": None if row.latency_ms is None else msgspec.to_builtins(row.latency_ms),
                "outside": row.outside,
            }
            for row in told.units
        ],
    }


def print_time(told: NetworkTime, table: LatencyTable) -> None:
    """A row for each layer, and the network's time."""
    from rich.table import Table

    from edgekit.console import make_console

    console, rows = make_console(), Table()
    rows.add_column("layer", overflow="fold", ratio=1)
    rows.add_column("runs as", overflow="fold", ratio=2)
    for heading in ("ms", "95 % interval"):
        rows.add_column(heading, justify="right", no_wrap=True)
    for row in told.units:
        time = row.latency_ms
        figures = (
            ("outside", "") if time is None else (f"{time.value:.4f}", f"{time.low:.4f} to {time.high:.4f}")
        )
        rows.add_row(row.unit.layer, row.unit.text(), *figures)
    console.print(rows)
    if told.latency_ms is None:
        for unit in told.outside:
            console.print(
                f"outside of the table: {unit.unit.text()}: {unit.outside}", markup=False, highlight=False
            )
        console.print(f"no prediction; what is known sums to {told.sum_ms:.3f} ms", highlight=False)
    else:
        estimate = told.latency_ms
        console.print(
            f"predicted {estimate.value:.3f} ms [{estimate.low:.3f}, {estimate.high:.3f}]; "
            f"plain sum {told.sum_ms:.3f} ms",
            highlight=False,
            markup=False,
        )
    for note in told.notes:
        console.print(note, markup=False, highlight=False)
    console.print(_where(table), markup=False, highlight=False)


def _where(table: LatencyTable) -> str:
    place = table.measured_on
    threads = f"{place.threads} thread" + ("s" if place.threads > 1 else "")
    return f"measured on {place.machine}, {place.cpu}, {place.runtime} {place.version}, {threads}"


def tell_table(table: LatencyTable, path: Path, told: list[str], *, as_json: bool) -> None:
    """What a table holds; `told`: sentences on what was done to it."""
    import msgspec

    families: list[dict[str, Any]] = [
        {
            "family": family.text(),
            "points": len(times.points),
            "channels_in": [min(times.columns), max(times.columns)],
            "channels_out": [min(times.rows), max(times.rows)],
        }
        for family, times in table.families.items()
    ]
    corrections = [msgspec.to_builtins(correction) for correction in table.corrections]
    if as_json:
        answer = {
            "schema": 1,
            "table": str(path),
            "measured_on": msgspec.to_builtins(table.measured_on),
            "families": families,
            "corrections": corrections,
            "notes": told,
        }
        click.echo(json.dumps(answer, indent=1))
        return
    click.echo(f"{path}: {len(table.timed)} points")
    click.echo(_where(table))
    for row in families:
        widths = " to ".join(f"{row[axis][0]}-{row[axis][1]}" for axis in ("channels_in", "channels_out"))
        click.echo(f"  {row['family']}: {row['points']} points, channels {widths}")
    for correction in table.corrections:
        click.echo(
            f"corrected by {correction.networks} networks of {correction.network} in {correction.precision}: held out, "
            f"sums were off by {correction.heldout_median:.1%} in the median, {correction.heldout_worst:.1%} at worst"
        )
    if not table.corrections:
        click.echo("not corrected by whole networks: sums leave out what they cost beside their layers")
    for line in told:
        click.echo(line)
