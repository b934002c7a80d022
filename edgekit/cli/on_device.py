"""What a command says of the device that it measures on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from edgekit.errors import DeviceError

if TYPE_CHECKING:
    from edgekit.devices import Device, Measured
    from edgekit.types import BackendName

__all__ = ["check_runtime", "machine_text", "told_of"]

EMULATED = "emulated: what runs there is right, how long it takes says nothing of a board"


def check_runtime(device: Device, runtime: BackendName, facts: Mapping[str, Any]) -> None:
    """Raises DeviceError where the device has not that runtime. `facts`: what its `describe` says."""
    from edgekit.board.runtimes import find_runtime
    from edgekit.runtimes import RUNTIMES

    if runtime not in facts["runtimes"]:
        raise DeviceError(
            f"{RUNTIMES[runtime].title} is not installed on {device.name}",
            allowed=", ".join(facts["runtimes"]) or "none is there",
            remedy=f"there: {find_runtime(runtime).install}",
        )


def told_of(device: Device, measured: Measured) -> dict[str, Any]:
    """Where figures come from, for --json."""
    environment = measured.measurement.environment
    return {
        "name": device.name,
        "origin": measured.measurement.origin,
        "machine": environment.machine,
        "cpu": environment.cpu,
        "os": environment.os,
        "versions": dict(environment.versions),
    }


def machine_text(told: Mapping[str, Any]) -> str:
    """The same as a line."""
    line = f"origin {told['origin']}; {told['machine']}, {told['cpu']}, {told['os']}"
    return f"{line}; {EMULATED}" if told["origin"] == "emulated" else line
