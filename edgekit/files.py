"""SHA-256 of files, read in pieces so that memory stays flat."""

from __future__ import annotations

import hashlib
from pathlib import Path

__all__ = ["sha256_file"]

_PIECE = 1 << 20


def sha256_file(path: str | Path) -> str:
    """Hexadecimal SHA-256 of the file's bytes. Raises OSError when it cannot be read."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while piece := file.read(_PIECE):
            digest.update(piece)
    return digest.hexdigest()
