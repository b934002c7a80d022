"""What is not this user's alone: a shared --out, files of another user, names that would rule a terminal."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from rich.text import Text

from edgekit.board.machine import describe
from edgekit.console import make_console
from edgekit.data import open_source
from edgekit.devices.local import LocalDevice, _lock_file
from edgekit.errors import DataError, ModelError, OutputError, UserError, visible
from edgekit.files import only_one_in
from edgekit.model import locate
from edgekit.store import Store
from edgekit.types import Preprocess

ESC = "cat\x1b[31m\x1b]0;owned\x07"


@pytest.mark.parametrize("text", [ESC, "a\x9b2Jb", "a\u202eb", "a\rb", "a\x00b"])
def test_control_characters_are_made_visible(text: str) -> None:
    assert visible(text).isprintable()
    assert str(UserError(text)).isprintable()
    assert visible("plain: Grün,\n\tdone") == "plain: Grün,\n\tdone"


def test_what_is_printed_rules_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    console = make_console(force_terminal=True, width=60)
    for renderable in (ESC, Text(ESC), f"[bold]{ESC}[/bold]"):
        console.print(renderable)
    console.print("plain", style="bold red")
    out = capsys.readouterr().out
    assert "\x1b]0;" not in out
    assert "\x1b[31m\x1b" not in out
    assert "\\x1b]0;owned" in out
    assert "\x1b[1;31mplain" in out


def test_a_home_that_nobody_has_is_a_name_like_any_other(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"~nouser/net.onnx.*no such file"):
        locate("~nouser/net.onnx")
    with pytest.raises(ModelError, match=r"~nouser/net.py: no such file"):
        locate("~nouser/net.py:make")
    with pytest.raises(DataError, match="~nouser"):
        open_source("~nouser/x.npz", Preprocess(), tmp_path)


def test_a_machine_is_not_named_as_its_network_knows_it() -> None:
    name = describe()["machine"]
    assert name
    assert platform.node() not in name


WRITES = """
import sys, time
from pathlib import Path
from edgekit.files import only_one_in
folder = Path(sys.argv[1])
with only_one_in(folder):
    for name in ("a", "b"):
        (folder / name).write_text(sys.argv[2])
        time.sleep(0.05)
"""


def test_those_who_share_a_folder_wait_for_each_other(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    runs = [
        subprocess.Popen([sys.executable, "-c", WRITES, str(tmp_path / "out"), str(number)])
        for number in range(6)
    ]
    while any(run.poll() is None for run in runs):
        with only_one_in(tmp_path / "out"):
            texts = {path.read_text() for path in (tmp_path / "out").iterdir()}
            assert len(texts) <= 1
        time.sleep(0.01)
    assert {run.returncode for run in runs} == {0}
    assert [path.name for path in sorted((tmp_path / "out").iterdir())] == ["a", "b"]


@contextmanager
def another_user() -> Iterator[None]:
    """Without root's rights for a while."""
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.parametrize("part", ["temp", "locks", "runs.sqlite", "export.log"])
def test_a_store_with_files_of_another_user_is_told(part: str, tmp_path: Path) -> None:
    store = tmp_path / "store"
    Store.open(store).close()
    (store / "export.log").touch()
    for path in (tmp_path, *tmp_path.parents[:3]):
        path.chmod(path.stat().st_mode | 0o055)
    for path in (store, *store.rglob("*")):
        os.chown(path, 65534, 65534)
    os.chown(store / part, 0, 0)
    (store / part).chmod(0o755 if (store / part).is_dir() else 0o644)
    with another_user(), pytest.raises(OutputError) as caught:
        Store.open(store)
    assert str(caught.value).startswith(
        f"{store / part} belongs to root and may not be written; give it back"
    )


def test_the_lock_of_measurements_is_one_s_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temp"))
    assert _lock_file() == tmp_path / "cache" / "edgekit" / "measure.lock"
    (tmp_path / "cache" / "edgekit").rmdir()
    (tmp_path / "cache" / "edgekit").write_text("in its place")
    user = os.geteuid()
    assert _lock_file() == tmp_path / "temp" / f"edgekit-{user}" / "measure.lock"
    (tmp_path / "temp" / f"edgekit-{user}").rmdir()
    (tmp_path / "temp" / f"edgekit-{user}").symlink_to(tmp_path)
    with pytest.raises(OutputError, match="is a folder of this user's that can be written"):
        LocalDevice(tmp_path / "work").run({}, timeout_s=1.0)
