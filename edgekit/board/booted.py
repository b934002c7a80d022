"""Which start of the machine this is, and whether its processor is the one that programs here are made for."""

import os
import platform
import sys

from .files import read_text

BOOT_ID = "/proc/sys/kernel/random/boot_id"
EMULATORS = ("qemu-", "rosetta", "box64", "fex")
ARM, X86 = ("aarch64", "arm64", "armv7l", "armv6l"), ("x86_64", "amd64", "i686", "i386")


def boot_id(path: str = BOOT_ID) -> str:
    """Another text after each start of the machine; of a container too, whose first process is then another."""
    fields = read_text("/proc/1/stat").rpartition(")")[2].split()
    begun = (
        fields[19] if len(fields) > 19 else ""
    )  # field 22 of proc(5): clock ticks since the kernel's start
    return "%s %s" % (read_text(path), begun)


def is_emulated(cpuinfo: str = "/proc/cpuinfo") -> bool:
    """Whether another processor plays the one that this Python was compiled for (QEMU's user mode, Rosetta).

    The emulator's own file is behind the program: QEMU hides it in /proc/self/exe, not in the thread's. Where that
    says nothing, the kernel's words for its processor do: x86 has a vendor_id, Arm an implementer.
    """
    if sys.platform != "linux":
        return False
    try:
        program = os.path.basename(os.readlink("/proc/self/task/%d/exe" % os.getpid())).lower()
    except OSError:
        program = ""
    if program.startswith(EMULATORS) or "-binfmt" in program:
        return True
    machine, told = platform.machine().lower(), read_text(cpuinfo)
    return (machine in ARM and "vendor_id" in told) or (machine in X86 and "CPU implementer" in told)
