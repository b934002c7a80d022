"""`edgekit build` as a user runs it: a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.conftest import UserNetwork


def build_arguments(network: UserNetwork, work: Path, **options: str) -> list[str]:
    """Arguments of a build on digits; `options` override or add, an empty value removes."""
    chosen = {
        "target": "generic-cpu",
        "model": network.model,
        "weights": str(network.weights),
        "data": "digits",
        "precision": "fp32,int8",
        "max-latency": "100ms",
        "max-drop": "2%",
        "timed": "0.3s",
        "out": str(work / "out"),
        "store": str(work / "store"),
        **{name.replace("_", "-"): value for name, value in options.items()},
    }
    flags = [part for name, value in chosen.items() if value for part in (f"--{name}", value)]
    return [sys.executable, "-m", "edgekit", "build", "--no-repeat", *flags]


def run(arguments: list[str], cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """To its end, everything it says kept."""
    return subprocess.run(arguments, capture_output=True, text=True, check=False, timeout=500, cwd=cwd)
