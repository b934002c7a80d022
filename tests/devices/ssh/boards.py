"""The board of these tests, or the reason why there is none."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from edgekit.testing.sshd import NoSshd, Sshd


@contextmanager
def running_sshd(folder: Path) -> Iterator[Sshd]:
    """Skips where there is none."""
    try:
        board = Sshd(folder)
    except NoSshd as reason:
        pytest.skip(str(reason))
    yield board
    board.stop()
