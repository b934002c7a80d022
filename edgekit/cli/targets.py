"""`edgekit targets`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import click

from edgekit.cli.options import device_option
from edgekit.hardware import Machine, Target, find_target, load_registry, load_target_file
from edgekit.types import BackendName

if TYPE_CHECKING:
    from edgekit.plan import Plan

__all__ = ["targets"]

EPILOG = """\b
Examples:
  edgekit targets
  edgekit targets show jetson-nano
  edgekit targets new my-board
  edgekit targets check targets/my-board.toml
  edgekit targets probe
"""


@click.group(invoke_without_command=True, epilog=EPILOG)
@click.option("--json", "as_json", is_flag=True, help="Print the list as JSON.")
@click.pass_context
def targets(context: click.Context, as_json: bool) -> None:
    """List, show, check and probe boards.

    Your own descriptions are read from `targets/` in the current folder and in edgekit's folder of your
    configuration; a nearer file hides one of the same name.
    """
    if context.invoked_subcommand is not None:
        return
    registry = load_registry()
    for note in registry.notes:
        click.echo(f"edgekit: {note}", err=True)
    if as_json:
        rows = [_row(entry.target) | {"file": str(entry.path)} for entry in registry.entries]
        click.echo(json.dumps(rows, indent=1))
        return
    from edgekit.cli.target_tables import print_list

    print_list([entry.target for entry in registry.entries])


@targets.command(epilog="\b\nExample:\n  edgekit targets show intel-cpu")
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
def show(name: str, as_json: bool) -> None:
    """What is known of a board, from which source, and what a build would try on it."""
    from edgekit.devices.local import local_machine

    target = find_target(name)
    machine = local_machine()
    plan = _plan(target, machine)
    if as_json:
        import msgspec

        tried = [{"backend": item.backend, "precision": item.precision} for item in plan.candidates]
        shown = {
            "target": msgspec.to_builtins(target),
            "tried": tried,
            "rejected": msgspec.to_builtins(plan.rejections),
            "misfits": list(target.misfits(machine)),
        }
        click.echo(json.dumps(shown, indent=1))
        return
    from edgekit.cli.target_tables import print_target

    print_target(target, plan, machine)


@targets.command(epilog="\b\nExample:\n  edgekit targets check targets/my-board.toml")
@click.argument("file", type=click.Path(path_type=Path))
def check(file: Path) -> None:
    """Check a target file: the first mistake, where it is, and what is allowed there."""
    from edgekit.hardware.loading import facts_of

    target = load_target_file(file)
    facts = [fact for _, fact in facts_of(target)]
    unsure = sum(not fact.verified for fact in facts)
    click.echo(
        f"{file}: {target.name} is right: {len(facts)} sections with {len(target.sources)} sources"
        + (f", {unsure} of them not verified" if unsure else "")
    )


@targets.command(epilog="\b\nExample:\n  edgekit targets new my-board")
@click.argument("name")
@click.option(
    "--architecture", type=click.Choice(["x86_64", "aarch64"]), default="aarch64", show_default=True
)
def new(name: str, architecture: str) -> None:
    """Begin the description of a board: targets/NAME.toml here, each section with what belongs into it."""
    from edgekit.hardware import write_skeleton

    path = write_skeleton(name, architecture)
    click.echo(f"{path} is written: change what stands there, then `edgekit targets check {path}`")


@targets.command(
    epilog="\b\nExamples:\n  edgekit targets probe\n  edgekit targets probe --device ssh://pi@10.0.0.5"
)
@device_option
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
def probe(device: str, as_json: bool) -> None:
    """What a machine is, which runtimes it has, and which target it is.

    Of the nearest targets, every contradiction is shown with its key in the target's file; of all, why not.
    """
    from edgekit.cli.probing import nearest_targets
    from edgekit.devices import DEFAULT_DEVICE, make_device
    from edgekit.devices.known import read_address

    named = None if device == DEFAULT_DEVICE else read_address(device).target
    if named is not None:
        find_target(named)  # a mistake in devices.toml is told before the board is asked
    with TemporaryDirectory(prefix="edgekit-") as work:
        facts = make_device(device, Path(work)).describe()
    machine, registry = Machine.from_facts(facts), load_registry()
    runtimes = installed_runtimes() if device == DEFAULT_DEVICE else runtimes_there(facts)
    fits = {entry.target.name: entry.target.misfits(machine) for entry in registry.entries}
    near = nearest_targets(registry, facts, named)
    room: tuple[int | None, bool] = facts.get("free_disk_bytes"), bool(facts.get("emulated"))
    if as_json:
        import msgspec

        probed = {
            "machine": msgspec.to_builtins(machine),
            "emulated": room[1],
            "free_disk_bytes": room[0],
            "runtimes": runtimes,
            "proposed": next((target.name for target in near if target.fits), None),
            "nearest": msgspec.to_builtins(near),
            "targets": fits,
        }
        probed["machine"]["features"].sort()
        click.echo(json.dumps(probed, indent=1))
        return
    from edgekit.cli.target_tables import print_machine, print_nearest

    print_machine(machine, runtimes, fits, *room)
    print_nearest(near, emulated=room[1])


def runtimes_there(facts: Mapping[str, Any]) -> dict[BackendName, str]:
    """Runtime → its version on a board, or how it gets there; from the board's `describe`."""
    from edgekit.board.runtimes import RUNTIMES
    from edgekit.cli.device_check import versions_there

    versions = versions_there(facts)
    return {
        name: versions[name] or "installed" if name in versions else f"not there: {row.install}"
        for name, row in sorted(RUNTIMES.items())
    }


def installed_runtimes() -> dict[BackendName, str]:
    """Runtime → its package's version, or what is missing and how to get it."""
    from edgekit.backends import get_backend, usable_backends

    versions: dict[BackendName, str] = {}
    for name, missing in usable_backends().items():
        versions[name] = missing or next(iter(get_backend(name).versions().values()))
    return dict(sorted(versions.items()))


def _plan(target: Target, machine: Machine) -> Plan:
    """What a build on that board would try; a CPU that is not this one has every optional feature."""
    from edgekit.plan import plan_candidates
    from edgekit.types import Cost, Signature, Variant

    features = set(machine.features)
    if target.misfits(machine):
        optional = [needs for runtime in target.runtimes for needs in runtime.requires.values()]
        features = {name for needs in optional for name in needs.any_of}
    nothing = Cost(macs=0, parameters=0, weight_bytes=0, activation_bytes=0)
    original = Variant("original", "original", None, "", "", "", Signature((), ()), nothing)
    names = [runtime.name for runtime in target.runtimes]
    return plan_candidates(target, [original], precisions=None, backends=names, features=features)


def _row(target: Target) -> dict[str, Any]:
    return {
        "name": target.name,
        "title": target.title,
        "family": target.family,
        "architecture": target.architecture,
        "runtimes": {runtime.name: list(runtime.precisions) for runtime in target.runtimes},
        "precisions": list(target.precisions),
        "memory_bytes": target.memory_bytes,
        "bandwidth_gb_s": target.bandwidth.gb_s if target.bandwidth else None,
    }
