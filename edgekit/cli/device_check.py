"""What a board over SSH is, and what it lacks for its target."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgekit.hardware import Target

__all__ = ["BoardCheck", "examine", "print_examination", "versions_there"]


@dataclass(frozen=True)
class BoardCheck:
    """One board. `runtimes`: name → version, as it has them. `fitting`: targets that it is, the nearest first.

    `target`: the one that its owner named, else the first that fits. `contradictions`: why it cannot be that one.
    `lacking`: runtime of the target → what it lacks there. `free_disk_bytes`: None where it is not told.
    """

    name: str
    origin: str
    machine: str
    arch: str
    cpu: str
    cores: int
    memory_bytes: int
    os: str
    python: str
    runtimes: Mapping[str, str]
    target: str | None
    fitting: tuple[str, ...]
    contradictions: tuple[str, ...]
    lacking: Mapping[str, str]
    free_disk_bytes: int | None

    @property
    def is_ready(self) -> bool:
        """Whether a build for its target can measure on it."""
        return self.target is not None and not self.contradictions and bool(self.runtimes)


def examine(name: str) -> BoardCheck:
    """Reach the board and ask it. Raises DeviceError; UnknownTargetError for a target that devices.toml names."""
    from edgekit.devices import make_device
    from edgekit.devices.known import HERE, read_address
    from edgekit.hardware import Machine, find_target, fitting_targets

    named = None if name == HERE else read_address(name).target
    with TemporaryDirectory(prefix="edgekit-") as work:
        device = make_device(name, Path(work))
        facts, origin = device.describe(), device.origin
    machine = Machine.from_facts(facts)
    fitting = tuple(target.name for target in fitting_targets(machine))
    wanted = named or next(iter(fitting), None)
    target = None if wanted is None else find_target(wanted)
    return BoardCheck(
        name=name,
        origin=origin,
        machine=machine.name,
        arch=machine.arch,
        cpu=machine.cpu,
        cores=machine.cores,
        memory_bytes=machine.memory_bytes,
        os=machine.os,
        python=str(facts["python"]),
        runtimes=versions_there(facts),
        target=wanted,
        fitting=fitting,
        contradictions=() if target is None or origin == "emulated" else target.misfits(machine),
        lacking={} if target is None else lacking_for(target, facts),
        free_disk_bytes=facts.get("free_disk_bytes"),
    )


def versions_there(facts: Mapping[str, Any]) -> dict[str, str]:
    """Runtime → its version on the board, "" where it does not tell."""
    from edgekit.board.runtimes import RUNTIMES

    versions = facts["versions"]
    return {
        name: next((versions[package] for package in RUNTIMES[name].packages if package in versions), "")
        for name in facts["runtimes"]
    }


def lacking_for(target: Target, facts: Mapping[str, Any]) -> dict[str, str]:
    """Runtime of the target → why the board cannot run what is made for it."""
    from edgekit.building.board import lacking_there

    lacking: dict[str, str] = {}
    for runtime in target.runtimes:
        lacking.update(lacking_there(runtime.name, target, facts))
    return lacking


def print_examination(board: BoardCheck) -> None:
    """A few lines; the last says what to do."""
    from edgekit.console import make_console
    from edgekit.report.wording import bytes_text

    console = make_console()

    def say(text: str, **style: Any) -> None:
        console.print(text, highlight=False, markup=False, **style)

    say(f"{board.name}: {board.machine}", style="bold")
    if board.origin == "emulated":
        say("  emulated: what runs there is right, how long it takes says nothing of a board", style="yellow")
    say(f"  {board.cpu}, {board.arch}, {board.cores} cores, {bytes_text(board.memory_bytes)} of memory")
    room = "" if board.free_disk_bytes is None else f"; {bytes_text(board.free_disk_bytes)} free on its disk"
    say(f"  {board.os}; Python {board.python}{room}")
    for runtime, version in board.runtimes.items():
        say(f"  {runtime} {version}".rstrip())
    for contradiction in board.contradictions:
        say(f"  no {board.target}: {contradiction}", style="red")
    for reason in board.lacking.values():
        say(f"  {reason}", style="yellow")
    if board.target is None:
        say("No target fits it: edgekit targets new NAME begins a description.")
    elif board.contradictions:
        fitting = f"; it is {', '.join(board.fitting)}" if board.fitting else ""
        say(f"It cannot be {board.target}{fitting}.")
    elif board.lacking:
        say(f"To give it what it lacks: edgekit device setup {board.name}")
    if board.is_ready:
        say(f"Ready: edgekit build --target {board.target} --device {board.name} ...")
