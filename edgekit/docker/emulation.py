"""Whether this machine runs programs of another platform."""

from __future__ import annotations

import platform as python_platform
import sys
from pathlib import Path

from edgekit.docker.images import PLATFORMS
from edgekit.errors import UserError

__all__ = ["check_runs", "host_platform"]

BINFMT = Path("/proc/sys/fs/binfmt_misc")
INTERPRETERS = {"linux/arm64": ("qemu-aarch64", "aarch64"), "linux/amd64": ("qemu-x86_64", "x86_64")}
"""Platform → names under which emulators register with the kernel: Debian's and tonistiigi/binfmt's, then others'."""


def host_platform() -> str:
    """This machine's own, as "linux/amd64"; its words for itself where registries have none."""
    machine = {"AMD64": "x86_64", "arm64": "aarch64"}.get(
        python_platform.machine(), python_platform.machine()
    )
    return PLATFORMS.get(machine, f"linux/{machine}")


def check_runs(platform: str, binfmt: Path = BINFMT) -> None:
    """Raises UserError where programs of that platform do not run here.

    Elsewhere than on Linux the engines bring emulators of their own. `binfmt`: the kernel's list of interpreters.
    """
    if platform == host_platform() or sys.platform != "linux":
        return
    for name in INTERPRETERS.get(platform, ()):
        file = binfmt / name
        if file.is_file():
            lines = file.read_text(encoding="ascii", errors="replace").splitlines()
            flags = next((line for line in lines if line.startswith("flags:")), "")
            if "enabled" in lines and "F" in flags:  # without F it is not found inside of a container
                return
    raise UserError(
        f"this machine ({host_platform()}) runs no programs of {platform}",
        remedy="install an emulator: apt-get install qemu-user-static binfmt-support, or "
        "docker run --privileged --rm tonistiigi/binfmt --install all (qemu 8 or later; 7.2 crashes the runtimes)",
    )
