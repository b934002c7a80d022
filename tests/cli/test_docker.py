"""`edgekit docker`: each bad input is one line and exit code 2."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgekit.cli import main


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    with pytest.raises(SystemExit) as ended:
        main(["docker", *words])
    assert ended.value.code == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1, lines
    return lines[0]


def test_an_unknown_target_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert 'no target "raspbery-pi-5"' in refused(capsys, "build", "--target", "raspbery-pi-5")


def test_no_bundle_is_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    line = refused(capsys, "build", "--target", "raspberry-pi-5", "--bundle", str(tmp_path / "none"))
    assert "is not a folder" in line


@pytest.mark.parametrize(
    "words",
    [
        ("build", "--target", "raspberry-pi-5"),
        ("bench", "some/image:1"),
        ("export", "some/image:1", "image.tar"),
    ],
)
def test_no_engine_is_told_with_the_remedy(
    words: tuple[str, ...],
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    line = refused(capsys, *words)
    assert "no container engine to use" in line
    assert "install podman" in line


def test_a_time_that_is_none_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert "soon" in refused(capsys, "bench", "some/image:1", "--seconds", "soon")
