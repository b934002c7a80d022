"""What the machine under an emulated board must have, and how it gets it."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

__all__ = ["ARM64", "Unprepared", "prepare", "why_not"]

BINFMT = Path("/proc/sys/fs/binfmt_misc")
BACKPORTS = Path("/etc/apt/sources.list.d/edgekit-tests-backports.list")
PREPARE = "run `python -m tests.board_emulated prepare` (as root, on Debian or Ubuntu)"
TOOLS = {
    "mmdebstrap": "mmdebstrap",
    "ip": "iproute2",
    "unshare": "util-linux",
    "ssh": "openssh-client",
    "ssh-keygen": "openssh-client",
    "mount": "mount",
}
"""Program → Debian package."""

OLDEST_QEMU = 10
"""qemu-user 7.2 (Debian 12) crashes ONNX Runtime 1.31 on import and LiteRT 2.3 in its Interpreter; 10.0 runs both."""

ARM64 = (
    r":qemu-aarch64:M::\x7f\x45\x4c\x46\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00"
    r":\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff"
)
"""A line of binfmt_misc up to its interpreter: 64-bit little-endian ELF programs for AArch64 (QEMU's own table)."""


class Unprepared(Exception):
    """This machine could not be prepared; the text says why."""


def why_not() -> str | None:
    """Why no board can be emulated here, with the remedy; None where one can. Changes nothing."""
    if sys.platform != "linux":
        return "needs Linux namespaces"
    if os.geteuid() != 0:
        return "needs root for namespaces and mounts"
    missing = sorted({package for tool, package in TOOLS.items() if shutil.which(tool) is None})
    if missing:
        return f"not installed: {', '.join(missing)}; {PREPARE}"
    if platform.machine() not in ("aarch64", "arm64"):
        if not _is_registered():
            return f"binfmt_misc knows no arm64 programs; {PREPARE}"
        version = _qemu_version()
        if version is not None and version < OLDEST_QEMU:
            return f"qemu-user {version} crashes the runtimes, {OLDEST_QEMU} is needed; {PREPARE}"
    probe = ["unshare", "--mount", "--net", "--pid", "--uts", "--ipc", "--fork", "true"]
    refused = subprocess.run(probe, capture_output=True, text=True, check=False)
    if refused.returncode:
        return f"no namespaces here: {refused.stderr.strip()}"
    return None


def prepare() -> None:
    """Install what is missing and register arm64 programs. Raises Unprepared where that cannot be done.

    The registration lasts until the machine is restarted; flags P (argv[0] is kept) and F (the interpreter is
    opened now, so that it works in any root).
    """
    if sys.platform != "linux" or os.geteuid() != 0:
        raise Unprepared("needs Linux and root")
    missing = sorted({package for tool, package in TOOLS.items() if shutil.which(tool) is None})
    is_foreign = platform.machine() not in ("aarch64", "arm64")
    needs_qemu = is_foreign and (_qemu_version() or 0) < OLDEST_QEMU
    if (missing or needs_qemu) and shutil.which("apt-get") is None:
        raise Unprepared(f"no apt-get here to install {', '.join([*missing, 'qemu-user'])}")
    if missing or needs_qemu:
        if needs_qemu and "VERSION_CODENAME=bookworm" in Path("/etc/os-release").read_text():
            BACKPORTS.write_text("deb http://deb.debian.org/debian bookworm-backports main\n")
        _apt("update")
    if missing:
        _apt("install", "-y", "--no-install-recommends", *missing)
    if needs_qemu:
        suite = ["-t", "bookworm-backports"] if BACKPORTS.exists() else []
        _apt("install", "-y", "--no-install-recommends", *suite, "qemu-user")
    if is_foreign and not _is_registered():
        _register()


def _apt(*words: str) -> None:
    done = subprocess.run(
        ["apt-get", "-o", "Acquire::Retries=3", *words],
        env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no word of why"])[-1]
        raise Unprepared(f"apt-get {' '.join(words)} failed: {last}")


def _qemu() -> str | None:
    return shutil.which("qemu-aarch64") or shutil.which("qemu-aarch64-static")


def _qemu_version() -> int | None:
    """Major version of the emulator on the PATH; None without one (binfmt_misc may hold another)."""
    program = _qemu()
    if program is None:
        return None
    told = subprocess.run([program, "--version"], capture_output=True, text=True, check=False).stdout
    words = told.split()
    return int(words[2].partition(".")[0]) if len(words) > 2 and words[2][:1].isdigit() else None


def _is_registered() -> bool:
    """Whether binfmt_misc starts arm64 programs through an interpreter that every root sees (flag F)."""
    for name in ("qemu-aarch64", "aarch64"):
        entry = BINFMT / name
        if entry.is_file():
            lines = entry.read_text().splitlines()
            flags = next((line for line in lines if line.startswith("flags:")), "")
            return "enabled" in lines and "F" in flags
    return False


def _register() -> None:
    program = _qemu()
    if program is None:
        raise Unprepared("no qemu-aarch64 on the PATH")
    try:
        if not (BINFMT / "register").exists():
            subprocess.run(
                ["mount", "-t", "binfmt_misc", "none", str(BINFMT)], check=True, capture_output=True
            )
        old = BINFMT / "qemu-aarch64"
        if old.exists():  # without F, or disabled: it serves no other root
            old.write_text("-1")
        (BINFMT / "register").write_text(f"{ARM64}:{program}:PF")
    except (OSError, subprocess.CalledProcessError) as problem:
        raise Unprepared(f"binfmt_misc takes no registration: {problem}") from problem
