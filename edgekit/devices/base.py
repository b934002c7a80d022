"""The seam of boards: what every device offers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from edgekit.types import Origin

__all__ = ["Device", "JobProgress"]

JobProgress = Callable[[str, str, int, int], None]
"""Called with (stage, entry or "", done, total)."""


class Device(Protocol):
    """A machine that can run the folder board/. The local machine is a device like any other."""

    @property
    def name(self) -> str: ...

    @property
    def is_here(self) -> bool:
        """Whether it is the machine that this code runs on."""

    @property
    def origin(self) -> Origin:
        """What measurements from here may claim. A build says `device` where this machine is the board."""

    def describe(self) -> Mapping[str, Any]:
        """What the runner's `describe` says of the machine: CPU, features, cores, memory, versions.

        And `runtimes`: the names (`runtimes.RUNTIMES`) of those that it can run. Cheap: no runtime is imported.
        """

    def push(self, files: Sequence[tuple[Path, str]]) -> None:
        """Copy local files to the device: (local path, name in the device's work folder)."""

    def run(
        self, job: Mapping[str, Any], *, timeout_s: float, progress: JobProgress | None = None
    ) -> Mapping[str, Any]:
        """Run one job (schema: board/coordinator.py; its paths are names in the work folder) and give its result.

        `progress` is called with (stage, entry or "", done, total). Raises StageError on a dead runner.
        """

    def pull(self, names: Sequence[str], folder: Path) -> tuple[Path, ...]:
        """Copy files from the device's work folder into `folder`."""
