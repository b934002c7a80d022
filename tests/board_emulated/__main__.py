"""An emulated board by hand: prepare, up, down, and the faults."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from pathlib import Path

from platformdirs import user_cache_path

from tests.board_emulated.board import DISK_BYTES, BoardTrouble, EmulatedBoard
from tests.board_emulated.host import Unprepared, prepare, why_not
from tests.board_emulated.root import RootTrouble, board_root, cached_root

EPILOG = """\
  python -m tests.board_emulated prepare          install what this machine lacks, register arm64 programs
  python -m tests.board_emulated up --name a      start a board; prints how it is reached
  python -m tests.board_emulated cut --name a     cut, restore, freeze, thaw, kill-sshd, start-sshd, reboot,
                                                  power-cut, fill-disk, free-disk, heal
  python -m tests.board_emulated down --name a
"""
FAULTS = {
    "cut": EmulatedBoard.cut_link,
    "restore": EmulatedBoard.restore_link,
    "freeze": EmulatedBoard.freeze,
    "thaw": EmulatedBoard.thaw,
    "kill-sshd": EmulatedBoard.kill_sshd,
    "start-sshd": EmulatedBoard.start_sshd,
    "reboot": EmulatedBoard.reboot,
    "power-cut": lambda board: board.reboot(tells=False),
    "fill-disk": EmulatedBoard.fill_disk,
    "free-disk": EmulatedBoard.free_disk,
    "change-host-key": EmulatedBoard.change_host_key,
    "refuse-key": EmulatedBoard.refuse_key,
    "heal": EmulatedBoard.heal,
}


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.board_emulated",
        description="An emulated arm64 board with sshd. Its timings say nothing about any board.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("order", choices=["prepare", "root", "up", "down", "show", *FAULTS])
    parser.add_argument("--name", default="board", help="which board; several may run")
    parser.add_argument(
        "--disk-mib", type=int, default=DISK_BYTES >> 20, metavar="MIB", help="size of its disk"
    )
    options = parser.parse_args()
    try:
        return obey(options)
    except (BoardTrouble, RootTrouble, Unprepared) as problem:
        print(problem, file=sys.stderr)
        return 1


def obey(options: argparse.Namespace) -> int:
    board = EmulatedBoard(user_cache_path("edgekit") / "tests" / "up" / options.name)
    if options.order == "prepare":
        prepare()
    reason = why_not()
    if reason is not None:
        print(f"no board here: {reason}", file=sys.stderr)
        return 1
    if options.order == "prepare":
        print("ready")
    elif options.order == "root":
        print("cached" if cached_root().exists() else "made", board_root())
    elif options.order == "up":
        _up(board, options.disk_mib << 20)
    elif options.order == "down":
        board.stop()
    elif options.order == "show":
        show(board)
    else:
        FAULTS[options.order](board)
    return 0


def _up(board: EmulatedBoard, disk_bytes: int) -> None:
    if board.folder.exists():
        try:
            board.processes()
        except BoardTrouble:
            shutil.rmtree(board.folder)  # left over from before a restart of this machine
        else:
            raise BoardTrouble(
                f"a board of that name runs already; see `show`, or `down --name {board.folder.name}`"
            )
    if not cached_root().exists():
        print("making the board's root: some minutes", file=sys.stderr)
    board.start(disk_bytes=disk_bytes, ends_with_parent=False)
    show(board)


def show(board: EmulatedBoard) -> None:
    facts = {name: str(Path(getattr(board, name))) for name in ("key", "known_hosts")}
    print(
        json.dumps(
            {"url": board.url, "host": board.host, "port": board.port, "user": board.user, **facts}, indent=1
        )
    )


if __name__ == "__main__":
    sys.exit(main())
