"""Builds side by side, and the page over them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgekit.errors import OutputError
from edgekit.fleet import BoardBuild, build_boards, summed_up, write_fleet
from edgekit.progress import SilentReporter
from edgekit.result import save_result
from edgekit.testing.results import example_result


def test_each_board_runs_in_a_process_and_ends_with_its_own_code(tmp_path: Path) -> None:
    commands = {"a": ["targets", "--json"], "b": ["build", "--target", "no-such-board"]}
    builds = build_boards(commands, tmp_path, SilentReporter())
    assert [(build.board, build.folder, build.code) for build in builds] == [
        ("a", tmp_path / "a", 0),
        ("b", tmp_path / "b", 2),
    ]
    assert "Missing option" in builds[1].told


def results(folder: Path) -> tuple[BoardBuild, ...]:
    for board, verdict in (("pi", "MEETS"), ("nano", "MISSES")):
        (folder / board).mkdir()
        save_result(example_result(verdict), folder / board / "result.json")  # type: ignore[arg-type]
    return (
        BoardBuild("pi", folder / "pi", 0, ""),
        BoardBuild("nano", folder / "nano", 3, ""),
        BoardBuild("<gone>", folder / "gone", 2, "<gone> cannot be reached"),
    )


def test_a_verdict_for_each_and_the_reason_where_there_is_none(tmp_path: Path) -> None:
    fleet = summed_up(results(tmp_path))
    assert [(row.verdict, row.code) for row in fleet.boards] == [("MEETS", 0), ("MISSES", 3), (None, 2)]
    assert fleet.boards[2].told == "<gone> cannot be reached"
    assert fleet.common is not None
    assert [cost.board for cost in fleet.common.costs] == ["pi", "nano"]
    assert fleet.code == 2


@pytest.mark.parametrize(
    ("codes", "code"), [((0, 0), 0), ((0, 4), 4), ((4, 3), 3), ((3, 130), 130), ((2, 3), 2)]
)
def test_the_exit_code_is_that_of_the_board_that_is_worst_off(
    tmp_path: Path, codes: tuple[int, int], code: int
) -> None:
    results(tmp_path)
    builds = [BoardBuild(name, tmp_path / "pi", each, "") for name, each in zip("ab", codes, strict=True)]
    assert summed_up(builds).code == code


def test_the_page_and_the_file_hold_every_board(tmp_path: Path) -> None:
    fleet = summed_up(results(tmp_path))
    write_fleet(fleet, tmp_path)
    write_fleet(fleet, tmp_path)  # its own page is replaced
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert 'href="pi/report.html"' in page
    assert "&lt;gone&gt; cannot be reached" in page
    assert "<gone>" not in page
    content = json.loads((tmp_path / "fleet.json").read_text())
    assert [row["board"] for row in content["boards"]] == ["pi", "nano", "<gone>"]


def test_a_page_of_somebody_else_stays(tmp_path: Path) -> None:
    fleet = summed_up(results(tmp_path))
    (tmp_path / "report.html").write_text("mine")
    with pytest.raises(OutputError, match="is not of edgekit"):
        write_fleet(fleet, tmp_path)
    assert (tmp_path / "report.html").read_text() == "mine"
    assert not (tmp_path / "fleet.json").exists()
