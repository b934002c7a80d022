"""`edgekit build` for several boards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgekit.devices.known import HERE, known_devices, read_address
from edgekit.errors import DeviceError, UserError

if TYPE_CHECKING:
    from edgekit.fleet import FleetResult

__all__ = ["asked_devices", "build_fleet"]

OURS = {
    "--device": 1,
    "--fleet": 1,
    "--out": 1,
    "--target": 1,
    "--json": 0,
    "--raw": 0,
    "--quiet": 0,
    "--verbose": 0,
}
"""Options that each board's build gets anew → words that belong to them."""


def asked_devices(options: Mapping[str, Any]) -> tuple[str, ...]:
    """The boards that are to measure; `local` where none was named. Raises DeviceError, UserError."""
    devices: tuple[str, ...] = options["devices"] or ()
    label = options["fleet"]
    if label is None:
        twice = sorted({device for device in devices if devices.count(device) > 1})
        if twice:
            raise UserError(f"--device {twice[0]} is there twice", allowed="each board once")
        return devices or (HERE,)
    if devices:
        raise UserError("--fleet and --device exclude each other", allowed="one of them")
    known = known_devices()
    labelled = tuple(name for name, address in known.items() if label in address.labels)
    if not labelled:
        labels = sorted({name for address in known.values() for name in address.labels})
        raise DeviceError(
            f'no device has the label "{label}"',
            allowed=", ".join(labels),
            remedy="" if labels else f"edgekit device add NAME ssh://user@host --label {label}",
        )
    return labelled


def build_fleet(devices: Sequence[str], given: Sequence[str], options: Mapping[str, Any]) -> int:
    """A build for each board, one page over them. `given`: the command line, `build` first. Gives the exit code."""
    from edgekit.cli.reporting import reporter_of
    from edgekit.fleet import build_boards, summed_up, write_fleet

    out: Path = options["out"]
    names = {device: folder_name(device) for device in devices}
    if len(set(names.values())) < len(names):
        raise UserError(f"two of {', '.join(devices)} would write into one folder", remedy="give them names")
    words = without_ours(given)
    commands = {
        names[device]: [
            *words,
            *("--target", own_target(device, options["target"]), "--device", device),
            *("--out", str(out / names[device]), "--json"),
        ]
        for device in devices
    }
    reporter = reporter_of(options, options["store"])
    fleet = summed_up(build_boards(commands, out, reporter))
    write_fleet(fleet, out)
    if options["as_json"]:
        click.echo((out / "fleet.json").read_text(encoding="utf-8"))
    else:
        print_fleet(fleet, out)
    return fleet.code


def folder_name(device: str) -> str:
    """A board's folder in OUT: its name, or its address without what a path cannot hold."""
    return "".join(
        letter if letter.isalnum() or letter in "-_." else "-" for letter in device.removeprefix("ssh://")
    )


def own_target(device: str, asked: str) -> str:
    """`auto` is what the board's owner has said that it is; where nothing is said, its build looks for itself."""
    if asked != "auto" or device == HERE:
        return asked
    return read_address(device).target or asked


def without_ours(given: Sequence[str]) -> list[str]:
    """The command line without the options that each board's build gets anew."""
    kept: list[str] = []
    words = iter(given)
    for word in words:
        name, equals, _ = word.partition("=")
        if name not in OURS:
            kept.append(word)
        elif OURS[name] and not equals:
            next(words, None)
    return kept


def print_fleet(fleet: FleetResult, out: Path) -> None:
    """A line per board, and what one model for all of them would cost."""
    from rich.table import Table

    from edgekit.console import make_console

    console = make_console()
    table = Table()
    for column in ("board", "verdict", "best", "latency"):
        table.add_column(column)
    for row in fleet.boards:
        table.add_row(row.board, row.verdict or "not built", row.best or row.told, row.latency)
    console.print(table)
    if fleet.common is None:
        console.print("No artifact was measured on every board.", highlight=False)
    else:
        met = "meets every budget" if fleet.common.meets_all else "does not meet every budget"
        console.print(
            f"One model for all: {fleet.common.candidate}, which {met}:", highlight=False, markup=False
        )
        for cost in fleet.common.costs:
            slower, lost = cost.latency_ms / cost.best_latency_ms, cost.best_value - cost.value
            console.print(
                f"  {cost.board}: {slower:.2f} times {cost.best}'s latency, {lost:+.4f} of its accuracy lost",
                highlight=False,
                markup=False,
            )
    console.print(f"{out / 'report.html'}", highlight=False, markup=False)
