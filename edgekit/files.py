"""Whole-or-absent files and their SHA-256 off the board; the rules stand in `board/files.py`."""

from __future__ import annotations

from edgekit.board.files import atomic_path, sha256_file, write_atomically

__all__ = ["atomic_path", "sha256_file", "write_atomically"]
