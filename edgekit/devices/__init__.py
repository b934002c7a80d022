"""Devices: machines that run the runner, and measuring artifacts on them.

`measure` turns artifacts into one job, lets a device run it, and gives a `Measured` or a `Failure` for each.
"""

from __future__ import annotations

from edgekit.devices.base import Device, JobProgress
from edgekit.devices.local import LocalDevice, local_machine
from edgekit.devices.measuring import Measured, MeasureOptions, measure
from edgekit.devices.samples import SampleFiles, write_samples
from edgekit.devices.table import DEFAULT_DEVICE, DEVICES, check_device, make_device

__all__ = [
    "DEFAULT_DEVICE",
    "DEVICES",
    "Device",
    "JobProgress",
    "LocalDevice",
    "MeasureOptions",
    "Measured",
    "SampleFiles",
    "check_device",
    "local_machine",
    "make_device",
    "measure",
    "write_samples",
]
