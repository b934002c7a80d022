"""pytest's emulated board: one for the tests of a process, mended before each test that takes it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.board_emulated.board import EmulatedBoard
from tests.board_emulated.host import why_not
from tests.board_emulated.root import RootTrouble, board_root

__all__ = ["emulated_board", "running_board"]


@pytest.fixture(scope="session")
def running_board() -> Iterator[EmulatedBoard]:
    """A board that lasts as long as the tests of this process; skips with the reason where there is none."""
    reason = why_not()
    if reason is not None:
        pytest.skip(f"no emulated board: {reason}")
    try:
        board_root()
    except RootTrouble as problem:
        pytest.skip(f"no emulated board: its root cannot be made here: {problem}")
    board = EmulatedBoard()
    with board.start():
        yield board


@pytest.fixture
def emulated_board(running_board: EmulatedBoard) -> Iterator[EmulatedBoard]:
    """The running board without what earlier tests did to it; files that they left stay."""
    running_board.heal()
    yield running_board
    running_board.heal()
