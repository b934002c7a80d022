"""What a board lacks of its target's runtimes, and giving it that: a virtual environment with pinned wheels."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import click

from edgekit.board.runtimes import RUNTIMES as BOARD_RUNTIMES
from edgekit.board.runtimes import find_runtime
from edgekit.devices.known import change_device, known_devices
from edgekit.errors import DeviceError, UserError
from edgekit.runtimes import RUNTIMES

if TYPE_CHECKING:
    from edgekit.devices.address import Address
    from edgekit.devices.wheels import WheelPlatform
    from edgekit.hardware import Target

__all__ = ["set_up"]

FROM_SYSTEM = tuple(name for name, row in BOARD_RUNTIMES.items() if not row.install.startswith("pip "))
"""Runtimes that come with the board's system, not as wheels."""


@dataclass(frozen=True)
class SetupPlan:
    """`pins`: what goes into the environment `venv` there, made with `system_packages` where some come from the system.

    `told`: what no wheel can mend. `from_here`: wheels are brought, as the board has no way to PyPI; pip itself always.
    """

    address: Address
    platform: WheelPlatform
    venv: str
    system_packages: bool
    pins: tuple[str, ...]
    pip: str
    from_here: bool
    told: tuple[str, ...]

    @property
    def making(self) -> list[str]:
        """Of the environment; pip is brought as a wheel, since Debian's python3 comes without."""
        extra = ["--system-site-packages"] if self.system_packages else []
        return [self.address.python, "-m", "venv", "--without-pip", *extra, self.venv]

    @property
    def wheels(self) -> str:
        """Their folder there."""
        return f"{self.venv}/wheels"

    @property
    def installing(self) -> list[str]:
        """Of the pins, by the pip in its wheel."""
        source = ["--no-index", "--find-links", self.wheels] if self.from_here else ["--only-binary", ":all:"]
        program = [f"{self.venv}/bin/python", f"{self.wheels}/{self.pip}/pip", "install", "--no-deps"]
        return [*program, "--disable-pip-version-check", *source, *self.pins]


def set_up(name: str, runtime: str | None, *, offline: bool, for_real: bool) -> int:
    """Tell what is to be done on the board, and do it. Gives 0 when nothing is lacking (any more), else 3."""
    address = known_devices().get(name)
    if address is None:
        raise DeviceError(
            f'no device "{name}" has a name yet',
            remedy=f"edgekit device add {name} ssh://user@host --target T",
        )
    plan = planned(address, runtime, offline=offline)
    for line in plan.told:
        click.echo(line)
    if not plan.pins:
        click.echo(f"{name} lacks nothing that wheels bring")
        return 3 if plan.told else 0
    click.echo(f"on {name}:")
    click.echo(f"  {shlex.join(plan.making)}")
    click.echo(f"  {shlex.join(plan.installing)}")
    click.echo(f"and in devices.toml: {name}.python = {plan.venv}/bin/python")
    if not for_real:
        click.echo(f"Nothing is done yet: edgekit device setup {name} --yes")
        return 3
    install(plan)
    change_device(name, {"python": f"{plan.venv}/bin/python"})
    click.echo(f"done; see: edgekit device check {name}")
    return 0


def planned(address: Address, runtime: str | None, *, offline: bool) -> SetupPlan:
    """What the board lacks, resolved for its Python. Raises DeviceError, UserError."""
    from edgekit.building.board import lacking_there
    from edgekit.devices import make_device
    from edgekit.devices.wheels import pinned, platform_of
    from edgekit.hardware import Machine, find_target, fitting_targets

    with TemporaryDirectory(prefix="edgekit-") as work:
        facts = make_device(address.name, Path(work)).describe()
    platform = platform_of(facts, address.name)
    fitting = fitting_targets(Machine.from_facts(facts))
    if address.target is None and not fitting:
        raise DeviceError(f"no target fits {address.name}", remedy="name one in devices.toml: target = ...")
    target = fitting[0] if address.target is None else find_target(address.target)
    wanted = asked_runtimes(runtime, target)
    lacking = [name for name in wanted if lacking_there(name, target, facts)]
    pins: tuple[str, ...] = ()
    if set(lacking) - set(FROM_SYSTEM) or "numpy" not in facts["versions"]:
        # The environment replaces the interpreter, so what is there already comes along.
        pins = pinned_like_here([name for name in wanted if name not in FROM_SYSTEM], target, platform)
    return SetupPlan(
        address=address,
        platform=platform,
        venv=f"{absolute(address)}-venv",
        system_packages=any(name in FROM_SYSTEM for name in wanted),
        pins=pins,
        pip=f"{pinned(['pip'], platform)[0].replace('==', '-')}-py3-none-any.whl" if pins else "",
        from_here=offline,
        told=tuple(
            f"{name} comes with the board's system: {find_runtime(name).install}"
            for name in lacking
            if name in FROM_SYSTEM
        ),
    )


def asked_runtimes(text: str | None, target: Target) -> tuple[str, ...]:
    """Those of the target, or those of them that were named. Raises UserError for others."""
    offered = tuple(runtime.name for runtime in target.runtimes)
    if text is None:
        return offered
    names = tuple(name.strip().lower() for name in text.split(","))
    for name in names:
        if name not in offered:
            raise UserError(
                f"--runtime {text}: {target.name} does not run {name}", allowed=", ".join(offered)
            )
    return names


def pinned_like_here(names: Sequence[str], target: Target, platform: WheelPlatform) -> tuple[str, ...]:
    """The versions that this machine has, where there are wheels of them for the board, else what its target takes."""
    from edgekit.board.machine import versions_on
    from edgekit.devices.wheels import pinned

    here = versions_on(sys.path)
    packages = {RUNTIMES[name].package: target.runtime(name) for name in names}
    alike = [f"{package}=={here[package]}" if package in here else package for package in packages]
    described = [f"{package}{runtime.versions if runtime else ''}" for package, runtime in packages.items()]
    try:
        return pinned(["numpy", *alike], platform)
    except DeviceError:
        return pinned(["numpy", *described], platform)


def absolute(address: Address) -> str:
    """The work folder there, which may be given relative to the login's home."""
    from edgekit.devices.ssh.commands import run_words

    return str(PurePosixPath(run_words(address, ["pwd"]).strip()) / address.folder)


def install(plan: SetupPlan) -> None:
    """Make the environment, and install the pins in it. Raises DeviceError; what was there under its name goes."""
    from edgekit.console import make_console
    from edgekit.devices.ssh.commands import bring_files, run_words
    from edgekit.devices.wheels import download_wheels

    console = make_console(stderr=True)
    with TemporaryDirectory(prefix="edgekit-") as scratch:
        with console.status("fetching wheels"):
            pip = plan.pip.split("-")[1]
            brought = plan.pins if plan.from_here else ()
            wheels = download_wheels([f"pip=={pip}", *brought], plan.platform, Path(scratch))
        with console.status(f"making {plan.venv}"):
            run_words(plan.address, plan.making)
        with console.status(f"bringing {len(wheels)} wheels"):
            bring_files(plan.address, [(wheel, f"{plan.wheels}/{wheel.name}") for wheel in wheels])
        with console.status(f"installing {len(plan.pins)} packages"):
            run_words(plan.address, plan.installing)
