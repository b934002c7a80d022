"""One artifact on a device, outside of a build."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgekit.devices import Device, Measured, MeasureOptions, measure
from edgekit.errors import ModelError, StageError
from edgekit.limits import HOURS
from edgekit.types import Artifact

__all__ = ["LONGEST_S", "measured_on"]

LONGEST_S = 3600.0
"""What one artifact may take, all its stages together."""

TIME_OVER = "within the entry's time limit"  # as the board says it


def measured_on(
    device: Device, artifact: Artifact, folder: Path, options: MeasureOptions, **asked: Any
) -> Measured:
    """What `devices.measure` gives of one artifact; `asked` are its further arguments.

    Raises ModelError where it fails: what the device cannot do is the user's one line.
    """
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
    remedy = result.remedy or (f"{HOURS} allows more time" if TIME_OVER in result.cause else "")
    raise ModelError(cause if device.is_here else f"on {device.name}: {cause}", remedy=remedy)
