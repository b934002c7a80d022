"""Files travel once, whole and right."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edgekit.devices.ssh import SshDevice
from edgekit.devices.ssh.link import Link
from edgekit.devices.ssh.packing import read_pushed
from edgekit.devices.ssh.pushing import bring
from edgekit.devices.ssh.results import fetch_checked
from edgekit.devices.ssh.trouble import LinkLost
from edgekit.errors import DeviceError, StageError
from edgekit.files import sha256_file
from edgekit.testing.sshd import Sshd
from tests.board.test_folder import old_pythons

Maker = Callable[..., SshDevice]


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that travelled."""
    paths: list[Path] = []
    send = Link.send

    def recorded(link: Link, digest: str, path: Path) -> None:
        paths.append(path)
        send(link, digest, path)

    monkeypatch.setattr(Link, "send", recorded)
    return paths


def test_the_same_content_travels_once(make_device: Maker, tmp_path: Path, sent: list[Path]) -> None:
    for name in ("a", "b"):
        (tmp_path / name).write_bytes(b"the same")
    device = make_device()
    device.push([(tmp_path / "a", "x/a"), (tmp_path / "b", "y/b")])
    make_device().push([(tmp_path / "b", "z")])
    assert len(sent) == 1
    pulled = device.pull(["x/a", "y/b"], tmp_path / "back")
    assert [path.read_bytes() for path in pulled] == [b"the same"] * 2


@pytest.mark.parametrize("is_compressible", [True, False])
def test_what_was_cut_goes_on_where_it_stopped(
    sshd: Sshd, make_device: Maker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_compressible: bool
) -> None:
    size = 8 << 20
    content = bytes(size) if is_compressible else np.random.default_rng(0).bytes(size)
    (tmp_path / "file").write_bytes(content)
    device = make_device()
    device.describe()
    frames = 0
    frame = Link._frame

    async def cutting(link: Link, piece: bytes) -> None:
        nonlocal frames
        frames += 1
        if frames == 20:
            raise LinkLost("cut by the test")
        await frame(link, piece)

    monkeypatch.setattr(Link, "_frame", cutting)
    device.push([(tmp_path / "file", "file")])
    digest = sha256_file(tmp_path / "file")
    assert sha256_file(tmp_path / "there" / "blobs" / digest) == digest
    (pulled,) = device.pull(["file"], tmp_path / "back")
    assert sha256_file(pulled) == digest


def test_a_file_that_changes_while_it_is_sent_is_told(
    make_device: Maker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_bytes(b"before")
    send = Link.send

    def late(link: Link, digest: str, path: Path) -> None:
        path.write_bytes(b"after")
        send(link, digest, path)

    monkeypatch.setattr(Link, "send", late)
    with pytest.raises(DeviceError, match="changed while it was sent"):
        make_device().push([(tmp_path / "file", "file")])
    assert not [path for path in (tmp_path / "there" / "blobs").iterdir() if len(path.name) == 64]


def test_what_was_neither_pushed_nor_written_is_told(make_device: Maker, tmp_path: Path) -> None:
    with pytest.raises(StageError, match="no none"):
        make_device().pull(["none"], tmp_path)


def test_unused_files_go_and_running_code_stays(make_device: Maker, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content")
    device = make_device()
    device.push([(tmp_path / "file", "file")])
    assert device.clean() == 0
    assert device.clean(older_than_s=0) == len(b"content")
    device.push([(tmp_path / "file", "file")])
    (pulled,) = device.pull(["file"], tmp_path / "back")
    assert pulled.read_bytes() == b"content"


def test_names_of_ssh_config_and_jump_hosts_are_the_users(
    sshd: Sshd, make_device: Maker, tmp_path: Path
) -> None:
    config = sshd.home / ".ssh" / "config"
    config.write_text(
        f"Host bench-pi\n  HostName 127.0.0.1\n  Port {sshd.port}\n  IdentityFile {sshd.key}\n"
        f"Host way\n  HostName 127.0.0.1\n  Port {sshd.port}\n  IdentityFile {sshd.key}\n"
    )
    nothing = {"port": None, "user": None, "key": None}
    try:
        assert make_device({**nothing, "host": "bench-pi"}).describe()["cores"] >= 1
        through = make_device({**nothing, "host": "bench-pi", "jump": "way"})
        assert through.describe()["cores"] >= 1
        assert len(through._reach.link()._connections) == 2
    finally:
        config.unlink()


@pytest.mark.parametrize("python", old_pythons() or [None], ids=lambda path: path or "none")
def test_an_old_python_answers(make_device: Maker, tmp_path: Path, python: str | None) -> None:
    """Greets, takes our code in, describes itself, takes a file and gives it back."""
    if python is None:
        pytest.skip("no Python from 3.6 to 3.8 is here; PYTHON36 names one")
    device = make_device({"python": python})
    assert device.describe()["python"].startswith(("3.6.", "3.7.", "3.8."))
    (tmp_path / "file").write_bytes(b"content")
    pushed = read_pushed([(tmp_path / "file", "file")])
    bring(device._reach, pushed.values())
    fetch_checked(device._reach, f"blobs/{pushed['file'].digest}", pushed["file"].digest, tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == b"content"
