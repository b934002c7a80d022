"""Device's name → device: the only place that knows them all."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.console import asked_on_terminal
from edgekit.devices.known import HERE, read_address

if TYPE_CHECKING:
    from edgekit.devices.base import Device

__all__ = ["DEFAULT_DEVICE", "DEVICES", "check_device", "make_device"]

DEFAULT_DEVICE = HERE

DEVICES: Mapping[str, tuple[str, str]] = {HERE: ("edgekit.devices.local", "LocalDevice")}
"""Name → module and class, loaded when asked for; the class takes a folder of this machine for its work."""

OVER_SSH = ("edgekit.devices.ssh", "SshDevice")
"""What any other name is; this class takes an `Address` before the folder."""


def check_device(name: str) -> None:
    """Raises DeviceError for what is neither in DEVICES, nor an address, nor a name of devices.toml."""
    if name not in DEVICES:
        read_address(name)


def make_device(
    name: str,
    work: Path,
    *,
    memory_bytes: int | None = None,
    tell: Callable[[str], None] | None = None,
) -> Device:
    """The device of that name: of DEVICES, ssh://[user@]host[:port], or of devices.toml. Nothing is reached yet.

    `memory_bytes`: what a runner on this machine may take; a board has limits of its own. `tell` hears of a link
    that is lost and found. On Ctrl-C the user is asked whether a board's job goes on.

    Raises DeviceError for other names, and what the device raises.
    """
    module, attribute = DEVICES.get(name, OVER_SSH)
    kind = getattr(importlib.import_module(module), attribute)
    if name in DEVICES:
        limits = {"memory_bytes": memory_bytes} if name == HERE else {}
        here: Device = kind(work, **limits)
        return here
    device: Device = kind(read_address(name), work, tell=tell, ask=asked_on_terminal)
    return device
