"""A network that is too large for the board's memory is refused where it may not be pruned."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.building.command import build_arguments, run
from tests.conftest import UserNetwork

pytestmark = pytest.mark.slow

TARGET = Path(__file__).parents[2] / "targets" / "raspberry-pi-zero2w.toml"


def with_memory(folder: Path, size_bytes: int) -> None:
    """A board of the project, like a Zero 2 W, with so much memory."""
    (folder / "targets").mkdir()
    text = TARGET.read_text().replace('name = "raspberry-pi-zero2w"', 'name = "small-board"')
    (folder / "targets" / "small-board.toml").write_text(text.replace("[536_870_912]", f"[{size_bytes}]"))


def test_it_is_refused_where_pruning_was_left_out(digits_network: UserNetwork, tmp_path: Path) -> None:
    with_memory(tmp_path, 80_000)
    arguments = build_arguments(digits_network, tmp_path, target="small-board", precision="")
    done = run([*arguments, "--no-prune"], cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert "too large for the board" in done.stderr.strip().splitlines()[-1]
