"""One artifact on a device, for a command: what the device cannot do is the user's one line."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.errors import DeviceError, ModelError, StageError

if TYPE_CHECKING:
    from edgekit.devices import Device, Measured, MeasureOptions
    from edgekit.types import Artifact, BackendName

__all__ = ["check_runtime", "machine_text", "measured_on", "told_of"]

LONGEST_S = 3600.0
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


def measured_on(
    device: Device, artifact: Artifact, folder: Path, options: MeasureOptions, **asked: Any
) -> Measured:
    """What `devices.measure` gives of one artifact; `asked` are its further arguments. Raises ModelError where it fails."""
    from edgekit.devices import Measured, measure

    try:
        result = measure(device, [artifact], folder=folder, options=options, **asked)[artifact.candidate]
    except StageError as error:  # the runner's own end, or its limits
        raise ModelError(
            f"{artifact.entry} cannot be measured: {error.cause}", remedy=error.remedy
        ) from error
    if isinstance(result, Measured):
        return result
    if "load" in result.stage:
        cause = f"{artifact.backend} cannot load {artifact.entry}: {result.cause}"
    else:
        cause = f"{artifact.entry} cannot be measured: {result.stage}: {result.cause}"
    raise ModelError(cause if device.is_here else f"on {device.name}: {cause}", remedy=result.remedy)


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
