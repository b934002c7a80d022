"""Device's name → device: the only place that knows them all."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.errors import UserError

if TYPE_CHECKING:
    from edgekit.devices.base import Device

__all__ = ["DEFAULT_DEVICE", "DEVICES", "make_device"]

DEFAULT_DEVICE = "local"

DEVICES: Mapping[str, tuple[str, str]] = {"local": ("edgekit.devices.local", "LocalDevice")}
"""Name → module and class, loaded when asked for; the class takes a folder of this machine for its work."""


def make_device(name: str, work: Path) -> Device:
    """The device of that name. Raises UserError for a name not in DEVICES, and what the device raises."""
    if name not in DEVICES:
        raise UserError(f'no device "{name}"', allowed=", ".join(DEVICES))
    module, attribute = DEVICES[name]
    device: Device = getattr(importlib.import_module(module), attribute)(work)
    return device
