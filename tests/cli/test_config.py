"""`--config`: a file's keys are the options' names, what is wrong is one line, and the command line wins."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from edgekit.cli import main
from edgekit.cli.build import build
from edgekit.cli.config import in_effect


def told(path: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """The one line that a build with this file ends with."""
    with pytest.raises(SystemExit) as ended:
        main(["build", "--config", str(path)])
    assert ended.value.code == 2
    line = capsys.readouterr().err
    assert line.count("\n") == 1, line
    assert line.startswith("edgekit: ")
    assert len(line) < 500
    return line


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("max-latncy = '2ms'", 'no option "max-latncy"; did you mean max-latency?'),
        ("zzzz = 1", 'no option "zzzz"'),
        ("config = 'other.toml'", 'no option "config"'),
        ("help = true", 'no option "help"'),
        ("threads = 'two'", "threads = 'two'; allowed: a whole number"),
        ("threads = 1.5", "allowed: a whole number"),
        ("threads = true", "allowed: a whole number"),
        ("threads = 0", "threads = 0: 0 is not in the range"),
        ("alpha = inf", "alpha = inf; allowed: finite numbers"),
        ("alpha = nan", "allowed: finite numbers"),
        ("alpha = 'much'", "allowed: a number"),
        ("epochs = -1", "epochs = -1: -1; allowed: a number above 0"),
        ("percentile = 'p95'", "percentile = 'p95': 'p95' is not one of"),
        ("percentile = 90", "allowed: text in quotes"),
        ("max-drop = inf", "allowed: finite numbers"),
        ("mean = [0.5, inf]", "allowed: finite numbers"),
        ("target = {name = 'x'}", "allowed: text, a number, or a list of these"),
        ("target = []", "allowed: text, a number, or a list of these"),
        ("[budget]\nmax-latency = '2ms'", 'no option "budget"'),
        ("no-prune = 'yes'", "no-prune = 'yes'; allowed: true or false"),
        ("max-latency = '2ms'\nmax_latency = '3ms'", "max_latency is there twice"),
        ("no-prune = true\nprune = true", "prune is there twice"),
        ("target = ", "is not TOML"),
        ("x = " + "[" * 100_000, "nested too deep"),
        (b"target = '\xff'", "is not UTF-8 text"),
    ],
)
def test_what_is_wrong_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str | bytes, expected: str
) -> None:
    path = tmp_path / "build.toml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert expected in told(path, capsys)


@pytest.mark.parametrize("kind", ["absent", "folder", "huge"])
def test_a_file_that_cannot_be_read_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    path = tmp_path / "build.toml"
    if kind == "folder":
        path.mkdir()
    elif kind == "huge":
        path.write_bytes(b"#" * 2_000_000)
    assert str(path) in told(path, capsys)


@pytest.fixture
def options(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the command is given, instead of a build; `command` is what it says was in effect."""
    got: dict[str, Any] = {}

    @click.pass_context
    def take(context: click.Context, /, **given: Any) -> None:
        got.update(given, command=in_effect(context, context.obj))

    monkeypatch.setattr(build, "callback", take)
    return got


def run(*arguments: str) -> None:
    done = CliRunner().invoke(build, arguments, obj=("build", *arguments), catch_exceptions=False)
    assert done.exit_code == 0, done.output


CONFIG = """
target = "generic-cpu"
model = "net.py:make"
data = "digits"
max_latency = 2
max-drop = 0.00001
precision = ["int8", "fp32"]
mean = [0.5, 0.25]
threads = 2
no-prune = true
"""


def test_keys_are_the_options_names_and_numbers_and_lists_are_written_as_toml_has_them(
    tmp_path: Path, options: dict[str, Any]
) -> None:
    (tmp_path / "build.toml").write_text(CONFIG)
    run("--config", str(tmp_path / "build.toml"))
    assert (options["target"], options["max_latency"], options["max_drop"]) == ("generic-cpu", "2", "0.00001")
    assert (options["precision"], options["mean"], options["threads"]) == ("int8,fp32", "0.5,0.25", 2)
    assert options["no_prune"] is True


def test_the_command_line_wins_and_the_record_says_what_was_in_effect(
    tmp_path: Path, options: dict[str, Any]
) -> None:
    (tmp_path / "build.toml").write_text(CONFIG)
    run("--threads", "1", "--prune", "--config", str(tmp_path / "build.toml"), "--max-drop", "1%")
    assert (options["threads"], options["no_prune"], options["max_drop"]) == (1, False, "1%")
    words = options["command"]
    pairs = dict(pairwise(words))
    assert "--config" not in words
    assert (pairs["--threads"], pairs["--max-drop"], pairs["--max-latency"]) == ("1", "1%", "2")
    assert "--prune" in words
    assert "--seed" not in words  # a default is in effect anyway
    first = dict(options)
    run(*words[1:])
    assert {**options, "command": None} == {**first, "command": None}


def test_a_list_is_an_option_that_may_be_given_several_times(tmp_path: Path, options: dict[str, Any]) -> None:
    (tmp_path / "build.toml").write_text(CONFIG + 'teacher = ["big.py:make@0.7", "other.onnx@0.3"]\n')
    run("--config", str(tmp_path / "build.toml"))
    assert options["teachers"] == ("big.py:make@0.7", "other.onnx@0.3")
    words = options["command"]
    assert [words[place + 1] for place, word in enumerate(words) if word == "--teacher"] == list(
        options["teachers"]
    )
    (tmp_path / "build.toml").write_text(CONFIG + 'teacher = "other.onnx"\n')
    run("--config", str(tmp_path / "build.toml"))
    assert options["teachers"] == ("other.onnx",)


def test_without_a_file_the_record_is_what_was_typed(options: dict[str, Any]) -> None:
    typed = ("--model", "m.onnx", "--data", "digits", "--target=generic-cpu")
    run(*typed)
    assert options["command"] == ("build", *typed)
