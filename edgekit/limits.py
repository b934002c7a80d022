"""What a worker may use, told and set in one place: memory and time of its tasks.

Memory is the resident set of the process and of those that it started, as /proc/PID/statm has it (proc(5)), read by the
parent. RLIMIT_AS would count what is only reserved: importing torch and ONNX Runtime takes 0.65 GB of addresses and
0.24 GB of memory, and each thread and arena reserves more. Without /proc (macOS, Windows) memory is not limited.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path

from edgekit.board.machine import memory_bytes
from edgekit.errors import UserError

__all__ = ["HOURS", "MEMORY", "WorkerLimits", "over_memory", "worker_limits"]

MEMORY = "EDGEKIT_WORKER_MEMORY_GB"
HOURS = "EDGEKIT_WORKER_HOURS"

AVAILABLE_SHARE = 0.8
DEFAULT_S = 6 * 3600.0
"""A sensitivity analysis of a large network takes an hour or two; what takes longer hangs."""


@dataclass(frozen=True)
class WorkerLimits:
    """`seconds`: of each task; None: its own (`Task.timeout_s`), or DEFAULT_S for one that names none."""

    memory_bytes: int
    seconds: float | None

    def seconds_of(self, timeout_s: float | None) -> float:
        """How long a task may take that asks for `timeout_s`."""
        if self.seconds is not None:
            return self.seconds
        return DEFAULT_S if timeout_s is None else timeout_s


def worker_limits() -> WorkerLimits:
    """Those of the environment, else 80 % of the memory that is available now and six hours. Raises UserError."""
    gigabytes, hours = _number(MEMORY), _number(HOURS)
    memory = AVAILABLE_SHARE * _available_bytes() if gigabytes is None else gigabytes * 1e9
    return WorkerLimits(int(memory), None if hours is None else hours * 3600)


def over_memory(process: int, limit_bytes: int) -> tuple[str, str] | None:
    """None while a process keeps to its memory; else what it took, and the remedy, for a StageError."""
    if resident_bytes(process) <= limit_bytes:
        return None
    return f"it took more than {limit_bytes / 1e9:.3g} GB of memory", f"{MEMORY} raises the limit"


def _number(name: str) -> float | None:
    text = os.environ.get(name, "").strip()
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < 1e6:
        raise UserError(f"{name}={text}", allowed="a number above 0")
    return value


def _available_bytes() -> int:
    """What /proc/meminfo says is available, and no more than the container allows."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return 1 << 62
    kilobytes = [int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")]
    bounds = [1024 * size for size in kilobytes] + [memory_bytes() or 1 << 62]
    return min(bounds)


def resident_bytes(process: int) -> int:
    """Of a process and all that it started and did not leave alone; 0 for one that is gone, or without /proc."""
    total, pending = 0, [process]
    while pending:
        place = Path(f"/proc/{pending.pop()}")
        try:
            pages = int((place / "statm").read_text(encoding="ascii").split()[1])
            for thread in (place / "task").iterdir():
                pending += map(int, (thread / "children").read_text(encoding="ascii").split())
        except (OSError, IndexError):
            continue  # it ended meanwhile
        total += pages * os.sysconf("SC_PAGE_SIZE")
    return total
