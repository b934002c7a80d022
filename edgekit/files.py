"""Whole-or-absent files, their SHA-256 and safe names off the board; the rules stand in `board/files.py`."""

from __future__ import annotations

from edgekit.board.files import atomic_path, is_safe, sha256_file, write_atomically

__all__ = ["atomic_path", "is_safe", "sha256_file", "write_atomically"]
