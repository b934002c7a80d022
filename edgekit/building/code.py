"""Our own code as a part of keys: what an exporter wrote before it was mended is not what it writes now."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

from edgekit.files import sha256_file

__all__ = ["code_digest"]

ROOMS = ("backends", "board", "data", "devices", "graph", "measure", "model", "quantize")
"""What makes samples, networks and artifacts, runs and judges them.

Not `compress`: hours of training outlive an update, and what comes of them is proved by trial. What else is measured
there says so itself.
"""


@cache
def code_digest(rooms: tuple[str, ...] = ROOMS) -> str:
    """SHA-256 over the sources of rooms, as they lie there: another edition of edgekit makes its products anew."""
    package = Path(__file__).resolve().parents[1]
    files = sorted(file for room in rooms for file in (package / room).rglob("*.py"))
    lines = [f"{file.relative_to(package).as_posix()} {sha256_file(file)}" for file in files]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
