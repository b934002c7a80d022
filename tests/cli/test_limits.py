"""Artifacts of strangers: what fills the memory or never ends costs a command one line, not the machine."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from edgekit.cli import main
from edgekit.limits import HOURS, MEMORY
from tests.hostile import endless_loop, large_tile

pytest.importorskip("onnxruntime")


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    with pytest.raises(SystemExit) as caught:
        main([str(argument) for argument in arguments])
    line = capsys.readouterr().err
    assert caught.value.code == 2, line
    assert line.count("\n") == 1, line
    return line


def command(name: str, path: Path) -> list[object]:
    return [name, path, path] if name == "compare" else [name, path]


@pytest.mark.skipif(sys.platform != "linux", reason="memory is limited where there is /proc")
@pytest.mark.parametrize("name", ["bench", "profile", "compare"])
def test_what_fills_the_memory_is_ended_and_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(MEMORY, "1.5")
    line = refused(capsys, *command(name, large_tile(tmp_path / "net.onnx")))
    assert f"more than 1.5 GB of memory; {MEMORY} raises the limit" in line


@pytest.mark.parametrize("name", ["bench", "profile", "compare"])
def test_what_never_ends_is_ended_and_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(HOURS, str(6 / 3600))
    line = refused(capsys, *command(name, endless_loop(tmp_path / "net.onnx")))
    assert "no answer within" in line
    assert HOURS in line
