"""Finding targets by name, in three folders."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from edgekit.errors import TargetFileError, UnknownTargetError
from edgekit.hardware import all_targets, data_dir, find_target, load_registry


def put(folder: Path, text: str, name: str = "my-board") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.toml"
    path.write_text(text.replace("my-board", name), encoding="utf-8")
    return path


def test_an_unknown_name_gets_the_nearest_ones(tmp_path: Path) -> None:
    with pytest.raises(UnknownTargetError, match="did you mean jetson-nano") as caught:
        find_target("jetson-nanoo", tmp_path)
    assert "edgekit targets" in str(caught.value)


def test_a_name_near_to_nothing_gets_the_command_that_lists_them(tmp_path: Path) -> None:
    with pytest.raises(UnknownTargetError) as caught:
        find_target("zzzzzzzz", tmp_path)
    assert "did you mean" not in str(caught.value)


def test_a_path_is_not_a_name(tmp_path: Path) -> None:
    with pytest.raises(UnknownTargetError):
        find_target("../targets/jetson-nano", tmp_path)


def test_a_project_brings_its_own_target(tmp_path: Path, board_text: str) -> None:
    put(tmp_path / "targets", board_text)
    assert find_target("my-board", tmp_path).title == "A board of mine"
    assert "my-board" in [target.name for target in all_targets(tmp_path)]


def test_the_config_folder_brings_its_own_target(tmp_path: Path, config_home: Path, board_text: str) -> None:
    path = put(config_home / "edgekit" / "targets", board_text)
    assert find_target("my-board", tmp_path).name == "my-board"
    entry = next(item for item in load_registry(tmp_path).entries if item.target.name == "my-board")
    assert (entry.path, entry.origin) == (path.resolve(), "config")


def test_the_project_hides_the_shipped_target_and_tells(tmp_path: Path, board_text: str) -> None:
    path = put(tmp_path / "targets", board_text, "generic-cpu")
    assert find_target("generic-cpu", tmp_path).title == "A board of mine"
    (note,) = load_registry(tmp_path).notes
    assert note == f"{path.resolve()} is used for generic-cpu instead of edgekit's own"


def test_the_shipped_folder_as_project_hides_nothing() -> None:
    assert load_registry(data_dir("targets").parent).notes == ()


def test_a_broken_neighbour_does_not_hinder_finding_another(tmp_path: Path) -> None:
    put(tmp_path / "targets", "name =", "broken")
    assert find_target("generic-cpu", tmp_path).name == "generic-cpu"
    with pytest.raises(TargetFileError, match="broken"):
        all_targets(tmp_path)


@pytest.mark.parametrize(
    ("short", "meant"),
    [
        ("pi4", "raspberry-pi-4"),
        ("rpi4", "raspberry-pi-4"),
        ("RasPi 5", "raspberry-pi-5"),
        ("pi-zero", "raspberry-pi-zero2w"),
        ("orin-nano", "jetson-orin-nano"),
        ("n100", "intel-n100"),
    ],
)
def test_a_short_name_of_a_board_gets_the_long_one(short: str, meant: str, tmp_path: Path) -> None:
    with pytest.raises(UnknownTargetError, match=rf"did you mean {meant}\?"):
        find_target(short, tmp_path)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("orin", "jetson-agx-orin or jetson-orin-nano or jetson-orin-nx"),
        ("Orin Nano", "jetson-orin-nano"),
        ("Jetson_Orin_Nano", "jetson-orin-nano"),
        ("pi 4", "raspberry-pi-4"),
    ],
)
def test_words_of_a_name_find_it(name: str, meant: str, tmp_path: Path) -> None:
    with pytest.raises(UnknownTargetError, match=re.escape(f"did you mean {meant}? ")):
        find_target(name, tmp_path)
