"""`edgekit device`."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import click

from edgekit.devices.known import add_device, devices_file, known_devices, read_address, remove_device
from edgekit.errors import DeviceError

if TYPE_CHECKING:
    from edgekit.devices.address import Address

__all__ = ["device"]

UNUSED_S = 24 * 3600.0

EPILOG = """\b
Examples:
  edgekit device add pi ssh://pi@10.0.0.5 --target raspberry-pi-4 --label lab
  edgekit device check pi
  edgekit device setup pi --yes
  edgekit build --target raspberry-pi-4 --device pi ...
"""


@click.group(epilog=EPILOG)
def device() -> None:
    """Boards over SSH: name them, check them, and give them what measuring needs.

    They stand in edgekit's folder of your configuration, in devices.toml. Host keys, agents and jump hosts are those
    of your ~/.ssh.
    """


@device.command(
    epilog="\b\nExample:\n  edgekit device add nano ssh://me@10.0.0.7 --before 'sudo nvpmodel -m 0'"
)
@click.argument("name")
@click.argument("address", metavar="ssh://[USER@]HOST[:PORT]")
@click.option("--key", help="Private key file.  [default: those of ~/.ssh/config and the agent]")
@click.option("--jump", metavar="[USER@]HOST[:PORT]", help="A host to go through.")
@click.option("--target", help="Which board it is; `edgekit targets` lists them.")
@click.option("--label", "labels", multiple=True, help="A group that it belongs to, as lab; may be repeated.")
@click.option("--python", help="The interpreter there.  [default: python3]")
@click.option("--folder", help="The work folder there.  [default: .cache/edgekit in the home folder]")
@click.option("--before", multiple=True, help="A command to run there before each measurement.")
@click.option("--after", multiple=True, help="The same, after it.")
@click.option("--meter", help="A command that prints the board's power in watts.")
def add(name: str, address: str, **options: Any) -> None:
    """Give a board a name. Nothing is reached yet: `edgekit device check NAME` does that."""
    from edgekit.hardware import find_target

    if not address.startswith("ssh://"):
        raise DeviceError(
            f'"{address}" is no address of a board', allowed="ssh://user@host or ssh://user@host:22"
        )
    if options["target"]:
        find_target(options["target"])
    place = read_address(address)
    values = {"host": place.host, "user": place.user, "port": place.port, **options}
    given = {
        key: list(value) if isinstance(value, tuple) else value for key, value in values.items() if value
    }
    path = add_device(name, given)
    click.echo(f"{name} stands in {path}; see whether it answers: edgekit device check {name}")


@device.command(epilog="\b\nExample:\n  edgekit device remove nano")
@click.argument("name")
def remove(name: str) -> None:
    """Forget a board's name. Nothing is changed on the board."""
    click.echo(f"{name} is taken out of {remove_device(name)}")


@device.command(name="list", epilog="\b\nExample:\n  edgekit device list --json")
@click.option("--json", "as_json", is_flag=True, help="Print them as JSON.")
def list_(as_json: bool) -> None:
    """The boards that have a name."""
    known = known_devices()
    if as_json:
        import msgspec

        click.echo(json.dumps([msgspec.to_builtins(address) for address in known.values()], indent=1))
        return
    if not known:
        click.echo(f"no board has a name yet ({devices_file()}): edgekit device add NAME ssh://user@host")
        return
    from rich.table import Table

    from edgekit.console import make_console

    table = Table()
    for column in ("name", "address", "target", "labels"):
        table.add_column(column)
    for name, address in known.items():
        table.add_row(name, reached(address), address.target or "not said", ", ".join(address.labels))
    make_console().print(table)


def reached(address: Address) -> str:
    """user@host:port, as far as it is said."""
    user = f"{address.user}@" if address.user else ""
    return f"{user}{address.host}" + (f":{address.port}" if address.port else "")


@device.command(epilog="\b\nExample:\n  edgekit device check pi")
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="Print what the board says of itself as JSON.")
def check(name: str, as_json: bool) -> int:
    """Whether a board can be reached, what it is, which runtimes it has, and what it lacks for its target."""
    from edgekit.cli.device_check import examine, print_examination

    examination = examine(name)
    if as_json:
        import msgspec

        click.echo(json.dumps(msgspec.to_builtins(examination), indent=1))
    else:
        print_examination(examination)
    return 0 if examination.is_ready else 3


@device.command(epilog="\b\nExamples:\n  edgekit device setup pi\n  edgekit device setup pi --yes --offline")
@click.argument("name")
@click.option("--runtime", help="Only these, separated by commas.  [default: all of its target]")
@click.option("--offline", is_flag=True, help="Take the wheels from here: the board has no internet.")
@click.option("--yes", is_flag=True, help="Do it, not only say it.")
def setup(name: str, runtime: str | None, offline: bool, yes: bool) -> int:
    """Say what a board lacks, and with --yes give it that: a virtual environment with pinned wheels."""
    from edgekit.cli.device_setup import set_up

    return set_up(name, runtime, offline=offline, for_real=yes)


@device.command(epilog="\b\nExample:\n  edgekit device clean pi")
@click.argument("name")
@click.option("--all", "everything", is_flag=True, help="Also what was used in the last day.")
def clean(name: str, everything: bool) -> None:
    """Remove what edgekit keeps in its work folder on the board; what runs there stays."""
    from edgekit.devices.ssh import SshDevice
    from edgekit.report.wording import bytes_text

    address = read_address(name)
    with TemporaryDirectory(prefix="edgekit-") as work:
        freed = SshDevice(address, Path(work)).clean(older_than_s=0.0 if everything else UNUSED_S)
    click.echo(f"{bytes_text(freed)} freed on {name}")
