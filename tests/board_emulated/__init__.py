"""A board for the tests: an arm64 Debian under emulation, with its own network, processes and disk, over SSH.

By hand: `python -m tests.board_emulated --help`. What it measures says nothing about any board: origin `emulated`.
"""

from __future__ import annotations

from tests.board_emulated.board import BoardTrouble, EmulatedBoard
from tests.board_emulated.host import why_not

__all__ = ["BoardTrouble", "EmulatedBoard", "why_not"]
