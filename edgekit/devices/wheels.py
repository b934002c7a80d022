"""Which wheels a board takes, and bringing them together on this machine: pip resolves for the board's Python."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekit.errors import DeviceError

__all__ = ["WheelPlatform", "download_wheels", "pinned", "platform_of"]

OLDEST_GLIBC = 17
"""manylinux2014 is glibc 2.17 (PEP 599); the tags from there on are manylinux_2_NN (PEP 600)."""

RESOLVE_S = 300.0


@dataclass(frozen=True)
class WheelPlatform:
    """A board as wheels are tagged: `python` as "3.11", `arch` as "aarch64", `glibc` its minor version, 36 of 2.36."""

    python: str
    arch: str
    glibc: int

    @property
    def options(self) -> list[str]:
        """pip's, for which wheels are sought; binaries only: nothing is compiled for another machine."""
        tags = [f"manylinux_2_{minor}_{self.arch}" for minor in range(self.glibc, OLDEST_GLIBC - 1, -1)]
        platforms = [*tags, f"manylinux2014_{self.arch}", f"linux_{self.arch}"]
        return [
            *("--only-binary", ":all:", "--implementation", "cp", "--python-version", self.python),
            *(word for platform in platforms for word in ("--platform", platform)),
        ]


def platform_of(facts: Mapping[str, Any], name: str) -> WheelPlatform:
    """From a board's `describe`. Raises DeviceError for a system that has no wheels: 32 bits, musl, not Linux."""
    libc = re.fullmatch(r"glibc 2\.([0-9]+)", str(facts.get("libc", "")))
    if facts["arch"] not in ("x86_64", "aarch64") or facts.get("bits", 64) != 64:
        raise DeviceError(
            f"{name} is a system of {facts.get('bits', 32)} bits ({facts['arch']})",
            allowed="x86_64 or aarch64, of which there are wheels",
            remedy="install a 64-bit system on it",
        )
    if libc is None:
        raise DeviceError(
            f"{name} has {facts.get('libc') or 'no glibc'}",
            allowed="Linux with glibc, for which wheels are made",
        )
    python = ".".join(str(facts["python"]).split(".")[:2])
    return WheelPlatform(python, str(facts["arch"]), int(libc[1]))


def pinned(requirements: Sequence[str], platform: WheelPlatform) -> tuple[str, ...]:
    """All packages with their versions, as "numpy==2.4.6", that pip would install there. Raises DeviceError."""
    report = _pip(
        ["install", "--dry-run", "--quiet", "--ignore-installed", "--report", "-", "--target", "nowhere"],
        requirements,
        platform,
    )
    try:
        rows = json.loads(report)["install"]
        pins = sorted(f"{row['metadata']['name'].lower()}=={row['metadata']['version']}" for row in rows)
    except (ValueError, KeyError) as problem:
        raise DeviceError(f"pip's report cannot be read: {problem}") from problem
    return tuple(pins)


def download_wheels(pins: Sequence[str], platform: WheelPlatform, folder: Path) -> tuple[Path, ...]:
    """Their wheels in `folder`, which is made. Raises DeviceError."""
    folder.mkdir(parents=True, exist_ok=True)
    _pip(["download", "--quiet", "--no-deps", "--dest", str(folder)], pins, platform)
    return tuple(sorted(folder.glob("*.whl")))


def _pip(command: Sequence[str], packages: Sequence[str], platform: WheelPlatform) -> str:
    program = [sys.executable, "-m", "pip", *command, "--disable-pip-version-check", *platform.options]
    try:
        done = subprocess.run(
            [*program, "--", *packages],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=RESOLVE_S,
            check=False,
        )
    except subprocess.TimeoutExpired as problem:
        raise DeviceError(
            f"pip found no answer within {RESOLVE_S:.0f} s", remedy="is there a way to PyPI?"
        ) from problem
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        said = (errors or done.stderr.splitlines() or ["no words"])[-1].removeprefix("ERROR: ")
        raise DeviceError(
            f"no wheels of {', '.join(packages)} for Python {platform.python} on {platform.arch}, "
            f"glibc 2.{platform.glibc}: {said}"
        )
    return done.stdout
