from __future__ import annotations

from pathlib import Path

import pytest

from edgekit.cli import main
from edgekit.result import save_result
from edgekit.testing.results import example_result


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    save_result(example_result(), tmp_path / "result.json")
    return tmp_path


def exit_code(*arguments: str) -> object:
    with pytest.raises(SystemExit) as stopped:
        main(["report", *arguments])
    return stopped.value.code


def test_a_run_folder_gets_its_page_again(run_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(str(run_folder)) == 0
    assert (run_folder / "report.html").read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    assert str(run_folder / "report.html") in capsys.readouterr().out


def test_a_result_file_can_be_given_and_the_page_put_elsewhere(run_folder: Path) -> None:
    page = run_folder / "other.html"
    assert exit_code(str(run_folder / "result.json"), "--out", str(page)) == 0
    assert page.exists()
    assert not (run_folder / "report.html").exists()


def test_a_missing_run_is_told_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(str(tmp_path / "nothing")) == 2
    told = capsys.readouterr().err
    assert told.startswith("edgekit: ")
    assert told.count("\n") == 1


def test_a_damaged_result_is_told_and_nothing_is_written(
    run_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = (run_folder / "result.json").read_bytes()
    (run_folder / "result.json").write_bytes(whole[: len(whole) // 2])
    assert exit_code(str(run_folder)) == 2
    assert "is not an edgekit result" in capsys.readouterr().err
    assert not (run_folder / "report.html").exists()


def test_an_unwritable_place_is_told_in_one_line(
    run_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code(str(run_folder), "--out", str(run_folder / "no" / "page.html")) == 2
    assert "cannot be written" in capsys.readouterr().err
