"""Commands and files that a board's owner has asked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgekit.devices.ssh.commands import bring_files, run_words
from edgekit.errors import DeviceError
from edgekit.testing.sshd import Sshd


def test_words_stay_words(sshd: Sshd, tmp_path: Path) -> None:
    words = ["printf", "%s|", "a b", "$HOME", "; touch gone", "'\"", "*"]
    assert run_words(sshd.address(tmp_path), words) == "a b|$HOME|; touch gone|'\"|*|"


def test_a_program_that_fails_says_why(sshd: Sshd, tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="exit code 3: too bad"):
        run_words(sshd.address(tmp_path), ["sh", "-c", "echo too bad >&2; exit 3"])
    with pytest.raises(DeviceError, match="no-such-program: exit code 127"):
        run_words(sshd.address(tmp_path), ["no-such-program"])


def test_files_arrive_whole_under_names_of_any_kind(sshd: Sshd, tmp_path: Path) -> None:
    content = tmp_path / "content"
    content.write_bytes(bytes(range(256)) * 1000)
    places = [tmp_path / "there" / "new folder" / "it's $HOME; rm", tmp_path / "there" / "b"]
    bring_files(sshd.address(tmp_path), [(content, str(place)) for place in places])
    for place in places:
        assert place.read_bytes() == content.read_bytes()
        assert [file.name for file in place.parent.iterdir() if file.is_file()] == [place.name]


def test_a_place_that_cannot_be_written_leaves_nothing(sshd: Sshd, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("a file")
    with pytest.raises(DeviceError, match="exit code"):
        bring_files(sshd.address(tmp_path), [(tmp_path / "file", str(tmp_path / "file" / "inside"))])
    assert (tmp_path / "file").read_text() == "a file"
