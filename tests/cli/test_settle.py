"""`edgekit bundle settle`, and `edgekit report --settled`."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from edgekit.bundle import BoardIdentity
from edgekit.cli import main
from tests.board.test_settle import run_settle
from tests.settling import built

QUICK = ("--seconds", "0.1", "--no-tune")


def call(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as caught:
        main([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    return int(caught.value.code or 0), out, err


def test_a_bundle_is_settled_on_this_machine(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = built(tmp_path / "out")
    command = ("bundle", "settle", out, "--device", "local", "--store", tmp_path / "store", *QUICK)
    code, told, err = call(capsys, *command)
    assert code == 0, err
    assert told.startswith("MEETS")
    assert (out / "report.html").is_file()
    assert json.loads((out / "result.json").read_text())["settled_in"] == "candidates/onnxruntime"
    code, shown, _ = call(capsys, "bundle", "show", out)
    assert code == 0
    assert "MEETS, onnxruntime" in shown
    code, told, _ = call(capsys, *command, "--json")
    assert code == 0
    assert json.loads(told)["winner"] == "onnxruntime"


def test_what_a_board_wrote_is_taken_over_by_report(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = built(tmp_path / "out")
    shutil.copytree(out / "bundle", tmp_path / "board")
    assert run_settle(tmp_path / "board").returncode == 0
    code, told, err = call(capsys, "report", out, "--settled", tmp_path / "board/settled.json")
    assert code == 0, err
    assert told.startswith("MEETS")
    assert json.loads((out / "result.json").read_text())["verdict"] == "MEETS"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((), "--device"),
        (("--device", "nowhere"), "nowhere"),
        (("--device", "local", "--seconds", "0"), "'0' is not a duration"),
        (("--device", "local", "--seconds", "2h"), "--seconds 2h"),
        (("--device", "local", "--max-threads", "0"), "--max-threads"),
    ],
)
def test_bad_options_are_one_line_and_change_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], told: str
) -> None:
    out = built(tmp_path / "out")
    before = (out / "result.json").read_bytes()
    code, _, err = call(capsys, "bundle", "settle", out, "--store", tmp_path / "store", *arguments)
    assert code == 2
    assert told in err
    assert "Traceback" not in err
    assert (out / "result.json").read_bytes() == before


def test_this_machine_settles_nothing_for_a_board_that_it_is_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pi = BoardIdentity("aarch64", models=("Raspberry Pi 4",))
    out = built(tmp_path / "out", target="raspberry-pi-4", identity=pi)
    code, _, err = call(
        capsys, "bundle", "settle", out, "--device", "local", "--store", tmp_path / "store", *QUICK
    )
    assert code == 2
    assert "local is no raspberry-pi-4" in err


def test_a_file_that_is_not_there_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = built(tmp_path / "out")
    code, _, err = call(capsys, "report", out, "--settled", tmp_path / "none.json")
    assert code == 2
    assert "none.json is missing" in err


def test_its_help_begins_at_once() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "edgekit", "bundle", "settle", "--help"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "--no-tune" in done.stdout
