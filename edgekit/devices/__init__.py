"""Devices: machines that run the runner, and measuring artifacts on them.

`measure` turns artifacts into one job, lets a device run it, and gives a `Measured` or a `Failure` for each.
"""

from __future__ import annotations

from edgekit.devices.base import Device, JobProgress
from edgekit.devices.local import LocalDevice, local_machine
from edgekit.devices.measuring import Measured, MeasureOptions, measure
from edgekit.devices.samples import SampleFiles, write_samples

__all__ = [
    "Device",
    "JobProgress",
    "LocalDevice",
    "MeasureOptions",
    "Measured",
    "SampleFiles",
    "local_machine",
    "measure",
    "write_samples",
]
