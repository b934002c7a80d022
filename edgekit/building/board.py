"""The board of a build: the target with the machine that is it or stands in for it, and the runtimes that it has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekit.backends import get_backend, usable_backends
from edgekit.board.runtimes import find_runtime
from edgekit.board.versions import fits_range
from edgekit.building.request import BuildRequest
from edgekit.devices import Device
from edgekit.errors import DeviceError, UserError
from edgekit.hardware import Machine, Target, fitting_targets
from edgekit.runtimes import RUNTIMES
from edgekit.types import BackendName, Origin

__all__ = ["Board", "Runtimes", "find_board", "find_runtimes", "lacking_there"]


@dataclass(frozen=True)
class Board:
    """The target, and the machine that is it or stands in for it. `absent`: why it is not; empty when it is.

    `emulated`: the machine is emulated, so what runs there is the board's code at no board's speed.
    """

    target: Target
    machine: Machine
    absent: tuple[str, ...]
    emulated: bool = False

    @property
    def is_real(self) -> bool:
        """Whether the machine is the board, so that what is measured there settles something."""
        return not self.absent and not self.emulated

    @property
    def features(self) -> frozenset[str]:
        """CPU features of the board: the machine's, or what every such board has while it is not here."""
        return self.machine.features if self.is_real else self.target.assumed_features

    @property
    def origin(self) -> Origin:
        """Of what is measured on the machine."""
        return "host" if self.absent else "emulated" if self.emulated else "device"


@dataclass(frozen=True)
class Runtimes:
    """Of the target and asked for: those usable, what the others lack, and the versions of what exports."""

    usable: tuple[BackendName, ...]
    unusable: Mapping[BackendName, str]
    versions: Mapping[str, str]


def find_board(target: Target, device: Device, facts: Mapping[str, Any]) -> Board:
    """The target with the machine that the device is, by what its `describe` says.

    This machine stands in for a board that it is not. Another one is given as the board: one that it cannot be is
    refused with DeviceError. An emulated one has to have the board's architecture, no more.
    """
    machine = Machine.from_facts(facts)
    misfits = target.misfits(machine)
    emulated = bool(facts.get("emulated")) and machine.arch == target.architecture
    if not device.is_here and misfits and not emulated:
        fitting = ", ".join(other.name for other in fitting_targets(machine, Path.cwd()))
        raise DeviceError(
            f"{device.name} is no {target.name}: {'; '.join(misfits)}",
            allowed=f"--target {fitting}" if fitting else "",
            remedy=f"edgekit targets probe --device {device.name}",
        )
    return Board(target, machine, () if emulated else misfits, emulated)


def find_runtimes(request: BuildRequest, target: Target, facts: Mapping[str, Any] | None) -> Runtimes:
    """The target's runtimes that were asked for. Raises UserError when none of them is usable.

    Two things have to hold: this machine makes artifacts for it (its extra is installed here), and the device runs it.
    `facts`: what the device's `describe` says; None while the board is not here, which is then taken to have them all.
    """
    makes = usable_backends()
    wanted = request.wants([runtime.name for runtime in target.runtimes])
    unusable: dict[BackendName, str] = {}
    for name in wanted:
        lacking = makes[name]
        if lacking is not None:
            unusable[name] = lacking
        elif facts is not None:
            unusable.update(lacking_there(name, target, facts))
    usable = tuple(name for name in wanted if name not in unusable)
    if not usable:
        raise UserError(f"no runtime of {target.name} is usable here: {'; '.join(unusable.values())}")
    versions: dict[str, str] = {}
    for name in usable:
        versions.update(get_backend(name).versions())
    return Runtimes(usable, unusable, versions)


def lacking_there(name: BackendName, target: Target, facts: Mapping[str, Any]) -> dict[BackendName, str]:
    """The runtime with why the machine cannot run what is made for the target: absent, or of another version."""
    row, runtime = RUNTIMES[name], target.runtime(name)
    if name not in facts["runtimes"]:
        return {name: f"{row.title} is not installed on {facts['machine']}: {find_runtime(name).install}"}
    version = facts["versions"].get(row.package, "")
    wanted = runtime.versions if runtime else ""
    if not version or fits_range(version, wanted):
        return {}
    return {name: f"{facts['machine']} has {row.title} {version}; {target.name} is described with {wanted}"}
