"""A line more than click has, where it is clear what was meant."""

from __future__ import annotations

import pytest

from edgekit.cli import main
from edgekit.cli.hints import ELSEWHERE, MEANT

BUILD = ["build", "--target", "jetson-orin-nano"]


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as ended:
        main(list(arguments))
    assert ended.value.code == 2
    told = capsys.readouterr().err
    assert "Traceback" not in told
    return told


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        ([*BUILD, "--weights", "a.onnx"], "a.onnx has its own weights; did you mean --model a.onnx?"),
        ([*BUILD, "--weights=a.onnx"], "did you mean --model a.onnx?"),
        ([*BUILD, "--weights", "a.pt"], "--model net.py:factory"),
        ([*BUILD, "--onnx", "a.onnx"], "did you mean --model FILE.onnx?"),
        ([*BUILD, "--int8"], "did you mean --precision int8?"),
        ([*BUILD, "--model", "a.onnx", "--data", "p", "--max-latency", "10", "ms"], "without a blank: 10ms"),
        (
            [*BUILD, "--model", "a.onnx", "--data", "p/1.jpg", "p/2.jpg"],
            "the folder, not the files in it: --data p",
        ),
        (["lint", "a.onnx"], "`edgekit targets` lists the boards"),
        (
            ["bench", "a.onnx", "--target", "jetson-nano"],
            "for a board that is not here: edgekit build --target",
        ),
    ],
)
def test_what_is_meant_is_told(arguments: list[str], hint: str, capsys: pytest.CaptureFixture[str]) -> None:
    told = refused(capsys, *arguments)
    assert hint in told.splitlines()[-1]
    assert "--json" not in told


def test_many_files_of_a_pattern_are_not_listed(capsys: pytest.CaptureFixture[str]) -> None:
    files = [f"p/{number}.jpg" for number in range(100)]
    told = refused(capsys, *BUILD, "--model", "a.onnx", "--data", *files)
    assert "p/1.jpg p/2.jpg p/3.jpg ..." in told
    assert "p/50.jpg" not in told


def test_an_option_that_the_command_lacks_is_not_offered(capsys: pytest.CaptureFixture[str]) -> None:
    assert "edgekit: " not in refused(capsys, "lint", "a.onnx", "--budget", "2ms")
    assert "edgekit: " not in refused(capsys, *BUILD, "--nothing-like-it")


def test_every_hint_names_an_option_that_there_is() -> None:
    from edgekit.cli.bench import bench
    from edgekit.cli.build import build
    from edgekit.cli.profile import profile

    options = {name for each in build.params for name in each.opts}
    for given, meant in MEANT.items():
        assert given not in options
        assert meant.replace(",", " ").split()[0] in options
    for command in (bench, profile):
        assert (command.name, "--target") in ELSEWHERE
        assert "--target" not in {name for each in command.params for name in each.opts}
