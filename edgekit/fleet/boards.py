"""A build in a process of its own for each board: they share the store, so what two of them need is made once."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from edgekit.errors import Interrupted
from edgekit.progress import Reporter, Step

__all__ = ["BoardBuild", "build_boards"]

# The working folder's modules hide nothing of ours: it is not on the path.
PROGRAM = """
import sys
sys.path[:] = [place for place in sys.path if place]
from edgekit.cli import main
main(sys.argv[1:])
"""


@dataclass(frozen=True)
class BoardBuild:
    """How one board's build ended. `told`: its last line, which says why where the code is not 0, 3 or 4."""

    board: str
    folder: Path
    code: int
    told: str


def build_boards(
    commands: Mapping[str, Sequence[str]], out: Path, reporter: Reporter
) -> tuple[BoardBuild, ...]:
    """Run the command lines (board → words after `edgekit`), all at once; each writes into `out`/BOARD.

    On Ctrl-C the builds are left to end as they do by themselves. Raises Interrupted then.
    """
    started = {board: _started(words) for board, words in commands.items()}
    ended: dict[str, BoardBuild] = {}
    with reporter.step(f"Building for {len(commands)} boards") as step:
        threads = [
            threading.Thread(target=_follow, args=(board, process, out / board, step, ended, len(commands)))
            for board, process in started.items()
        ]
        for thread in threads:
            thread.start()
        try:
            for thread in threads:
                thread.join()
        except KeyboardInterrupt as stop:  # the terminal has sent it to each of them
            for thread in threads:
                thread.join()
            raise Interrupted(
                "stopped; what is finished is kept: the same command goes on from there"
            ) from stop
        finally:
            for process in started.values():
                if process.poll() is None:
                    process.terminate()
    return tuple(ended[board] for board in commands)


def _started(words: Sequence[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
    )


def _follow(
    board: str,
    process: subprocess.Popen[str],
    folder: Path,
    step: Step,
    ended: dict[str, BoardBuild],
    total: int,
) -> None:
    """Hand a build's lines on until it ends. `ended` is this thread's to write under its own board."""
    last = ""
    lines: IO[str] = process.stderr  # type: ignore[assignment]
    for line in lines:
        if line.strip():
            last = line.strip()
            step.advance(len(ended) / total, f"{board}: {last}")
    lines.close()
    code = process.wait()
    ended[board] = BoardBuild(board, folder, code, last.removeprefix("edgekit: "))
