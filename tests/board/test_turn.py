"""One measurement at a time on a board: the lock, its record and its signs of life."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from edgekit.board.turn import LOCK_FILE, Stuck, turn

ADA = {"user": "ada", "edgekit": "0badcafe", "since": "2026-01-01 00:00 UTC"}
HOLD = """
import sys, time
from edgekit.board.turn import turn
with turn(sys.argv[1], {"user": "eve", "pid": 7}, print):
    print("held", flush=True)
    time.sleep(60)
"""


def held_by_another(folder: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)], stdout=subprocess.PIPE, text=True, cwd=Path.cwd()
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()


def test_it_is_told_who_has_it_and_given_when_he_is_done(tmp_path: Path) -> None:
    told: list[str] = []
    inside = threading.Event()

    def second() -> None:
        with turn(str(tmp_path), {"user": "eve"}, told.append) as mine:
            assert mine.notes == []
            inside.set()

    thread = threading.Thread(target=second)
    with turn(str(tmp_path), ADA, told.append):
        assert json.loads((tmp_path / LOCK_FILE).read_text()) == ADA
        thread.start()
        time.sleep(0.6)
        assert not inside.is_set()
    thread.join(10)
    assert inside.is_set()
    assert told == ["ada (edgekit 0badcafe, since 2026-01-01 00:00 UTC)"]
    assert (tmp_path / LOCK_FILE).read_text() == ""


def test_one_that_died_leaves_a_record_that_is_told(tmp_path: Path) -> None:
    process = held_by_another(tmp_path)
    end(process)
    with turn(str(tmp_path), ADA, print) as mine:
        assert mine.notes == ["took over the lock that eve (edgekit unknown, since unknown) left behind"]


def test_an_error_inside_leaves_none(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), turn(str(tmp_path), ADA, print):
        raise ZeroDivisionError
    with turn(str(tmp_path), ADA, print) as mine:
        assert mine.notes == []


def test_one_that_lives_and_says_nothing_is_told_with_its_process(tmp_path: Path) -> None:
    process = held_by_another(tmp_path)
    try:
        process.send_signal(signal.SIGSTOP)
        os.utime(tmp_path / LOCK_FILE, (1, 1))
        with (
            pytest.raises(Stuck, match=r"eve .* gave no sign of life .*process 7"),
            turn(str(tmp_path), ADA, print),
        ):
            pass
    finally:
        end(process)


def test_a_sign_of_life_is_the_files_time(tmp_path: Path) -> None:
    with turn(str(tmp_path), ADA, print) as mine:
        os.utime(tmp_path / LOCK_FILE, (1, 1))
        mine.beat()
        assert time.time() - os.stat(tmp_path / LOCK_FILE).st_mtime < 60


def test_a_record_of_anything_is_no_trouble(tmp_path: Path) -> None:
    for content in (b"\xff\xfe", b"[1]", b"{" * 5000, json.dumps({"user": "x" * 9000}).encode()):
        (tmp_path / LOCK_FILE).write_bytes(content)
        with turn(str(tmp_path), ADA, print) as mine:
            assert all(len(note) < 250 for note in mine.notes)


def test_without_a_place_for_the_lock_it_is_said(tmp_path: Path) -> None:
    with turn(str(tmp_path / "none"), ADA, print) as mine:
        assert "another measurement may have run" in mine.notes[0]
        mine.beat()


def test_a_link_in_its_place_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("precious")
    (tmp_path / LOCK_FILE).symlink_to(tmp_path / "precious")
    with turn(str(tmp_path), ADA, print) as mine:
        assert mine.notes
    assert (tmp_path / "precious").read_text() == "precious"
