"""The seam of boards: what every device offers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

__all__ = ["Device"]


class Device(Protocol):
    """A machine that can run `devices/runner.py`. The local machine is a device like any other."""

    @property
    def name(self) -> str: ...

    def describe(self) -> Mapping[str, Any]:
        """What the runner's `describe` says of the machine: CPU, features, cores, memory, runtime versions."""

    def push(self, files: Sequence[tuple[Path, str]]) -> None:
        """Copy local files to the device: (local path, name in the device's work folder)."""

    def run(self, job: Mapping[str, Any], *, timeout_s: float) -> Mapping[str, Any]:
        """Run one job (the schema stands in runner.py) and give its result. Raises StageError on a dead runner."""

    def pull(self, names: Sequence[str], folder: Path) -> tuple[Path, ...]:
        """Copy files from the device's work folder into `folder`."""
