"""`edgekit targets new`: a description that its own check accepts, and nothing that is there is touched."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgekit.cli import main
from edgekit.errors import OutputError, UserError
from edgekit.hardware import find_target, load_target_file, write_skeleton


@pytest.mark.parametrize("architecture", ["x86_64", "aarch64"])
def test_what_is_written_is_a_target_that_is_found(tmp_path: Path, architecture: str) -> None:
    path = write_skeleton("my-board.2", architecture, tmp_path)
    assert path == tmp_path / "targets" / "my-board.2.toml"
    assert load_target_file(path).architecture == architecture
    assert find_target("my-board.2", tmp_path).int8_rule(()).weight_bits == 8


def test_its_comments_are_sections_that_the_check_accepts_too(tmp_path: Path) -> None:
    path = write_skeleton("my-board", "aarch64", tmp_path)
    lines = path.read_text(encoding="utf-8").splitlines()
    code = [line[2:] if line.startswith("# [bandwidth]") or line[2:] in CODE else line for line in lines]
    path.write_text("\n".join(code), encoding="utf-8")
    target = load_target_file(path)
    assert target.bandwidth is not None
    assert target.rejected["fp16"].instead == "int8"


CODE = (
    "gb_s = 12.8",
    'source = ["sheet"]',
    "[rejected.fp16]",
    'reason = "no float16 arithmetic"',
    'instead = "int8"',
)


@pytest.mark.parametrize(
    "name", ["My Board", "", "../x", "auto", "-x", "a" * 65, "generic-cpu", "jetson-nano"]
)
def test_a_name_that_is_none_or_taken_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError):
        write_skeleton(name, "aarch64", tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", ["file", "broken link"])
def test_nothing_is_overwritten(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "targets" / "my-board.toml"
    path.parent.mkdir()
    path.symlink_to(tmp_path / "gone") if kind == "broken link" else path.write_text("mine")
    with pytest.raises((UserError, OutputError)):
        write_skeleton("my-board", "aarch64", tmp_path)
    assert not (tmp_path / "gone").exists()
    assert kind == "broken link" or path.read_text() == "mine"


def test_the_command_says_what_comes_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main(["targets", "new", "my-board", "--architecture", "x86_64"])
    assert ended.value.code == 0
    assert "edgekit targets check" in capsys.readouterr().out
    with pytest.raises(SystemExit) as ended:
        main(["targets", "new", "my-board"])
    assert ended.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1
