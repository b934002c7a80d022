"""Which boards a build is asked to measure on, and what each of their builds is told."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from edgekit.cli import cli
from edgekit.cli.fleet import asked_devices, folder_name, without_ours
from edgekit.devices.known import add_device
from edgekit.errors import DeviceError, UserError


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    for name, label in (("pi", "lab"), ("nano", "lab"), ("desk", "home")):
        add_device(name, {"host": f"{name}.local", "labels": [label]}, tmp_path / "edgekit" / "devices.toml")


@pytest.mark.parametrize(
    ("options", "devices"),
    [
        ({}, ("local",)),
        ({"devices": ("pi",)}, ("pi",)),
        ({"devices": ("pi", "ssh://a@b")}, ("pi", "ssh://a@b")),
        ({"fleet": "lab"}, ("pi", "nano")),
    ],
)
def test_boards_are_named_one_by_one_or_by_their_label(
    options: dict[str, Any], devices: tuple[str, ...]
) -> None:
    assert asked_devices({"devices": (), "fleet": None, **options}) == devices


@pytest.mark.parametrize(
    ("options", "error", "told"),
    [
        ({"fleet": "lap"}, DeviceError, 'no device has the label "lap"; allowed: home, lab'),
        ({"fleet": "lab", "devices": ("pi",)}, UserError, "exclude each other"),
        ({"devices": ("pi", "pi")}, UserError, "--device pi is there twice"),
    ],
)
def test_what_cannot_be_meant_is_refused(options: dict[str, Any], error: type[UserError], told: str) -> None:
    with pytest.raises(error, match=told):
        asked_devices({"devices": (), "fleet": None, **options})


def test_each_boards_build_gets_the_command_line_without_what_is_its_own() -> None:
    given = shlex.split(
        "build --target auto --model a.onnx --device pi --device=nano --out=o --json --max-drop 1%"
    )
    assert without_ours(given) == ["build", "--model", "a.onnx", "--max-drop", "1%"]


def test_a_folder_is_named_after_its_board() -> None:
    assert folder_name("ssh://pi@10.0.0.5:22") == "pi-10.0.0.5-22"


def test_a_board_is_added_listed_and_removed() -> None:
    run = CliRunner().invoke
    added = run(
        cli, ["device", "add", "lab2", "ssh://me@10.0.0.7:2222", "--target", "jetson-nano", "--label", "x"]
    )
    assert added.exit_code == 0, added.output
    listed = run(cli, ["device", "list"])
    assert "me@10.0.0.7:2222" in listed.output
    assert '"port": 2222' in run(cli, ["device", "list", "--json"]).output
    assert run(cli, ["device", "remove", "lab2"]).exit_code == 0
    assert "lab2" not in run(cli, ["device", "list"]).output


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["add", "pi", "ssh://x"], 'there is a device "pi"'),
        (["add", "new", "10.0.0.5"], "is no address of a board"),
        (["add", "new", "ssh://x", "--target", "rasberry-pi-4"], "raspberry-pi-4"),
        (["add", "local", "ssh://x"], '"local" cannot be a device'),
        (["remove", "gone"], 'no device "gone"'),
        (["check", "gone"], 'no device "gone"'),
    ],
)
def test_a_mistake_is_one_line(words: list[str], told: str) -> None:
    with pytest.raises(UserError, match=told):
        CliRunner().invoke(cli, ["device", *words], catch_exceptions=False)
