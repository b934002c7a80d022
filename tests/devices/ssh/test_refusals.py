"""Boards that cannot be used: one line each, that says what came and how to mend it."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from edgekit.devices.ssh import SshDevice
from edgekit.errors import DeviceError, MissingExtraError, UserError
from edgekit.testing.sshd import Sshd, make_key

Maker = Callable[..., SshDevice]


def refusal(device: SshDevice) -> str:
    """What it says when it is asked to take a file."""
    device.work.mkdir(exist_ok=True)
    (device.work / "file").write_bytes(b"content")
    with pytest.raises(DeviceError) as caught:
        device.push([(device.work / "file", "file")])
    text = str(caught.value)
    assert isinstance(caught.value, UserError)
    assert "\n" not in text
    assert "…" not in text, "a part of the message was cut"
    return text


def fake_python(path: Path, lines: str) -> dict[str, str]:
    """An interpreter that is none, as the address names it."""
    path.write_text(f"#!/bin/sh\n{lines}\n")
    path.chmod(0o755)
    return {"python": str(path)}


# ---- host keys ---------------------------------------------------------------------------------------------


@pytest.fixture
def known_hosts(sshd: Sshd) -> Iterator[Path]:
    file = sshd.home / ".ssh" / "known_hosts"
    before = file.read_text()
    yield file
    file.write_text(before)


def fingerprint(key: Path) -> str:
    done = subprocess.run(["ssh-keygen", "-lf", str(key)], capture_output=True, text=True, check=True)
    return done.stdout.split()[1]


def run_told(text: str, home: Path) -> None:
    """Run the commands that the message tells after its last colon and blank."""
    command = text.rpartition("then: ")[2].replace("~/.ssh", f"{home}/.ssh")
    command = command.replace("ssh-keygen -R", f"ssh-keygen -f {home}/.ssh/known_hosts -R")
    subprocess.run(["sh", "-c", command], check=True, capture_output=True)


def test_an_unknown_host_key_is_refused_and_the_told_command_mends_it(
    sshd: Sshd, make_device: Maker, known_hosts: Path
) -> None:
    known_hosts.unlink()
    text = refusal(make_device())
    assert "not known" in text
    assert fingerprint(sshd.folder / "host_key.pub") in text
    run_told(text, sshd.home)
    assert make_device().describe()["cores"] >= 1


def test_a_changed_host_key_is_refused_and_the_told_commands_mend_it(
    sshd: Sshd, make_device: Maker, known_hosts: Path, tmp_path: Path
) -> None:
    other = make_key(tmp_path / "other")
    words = Path(f"{other}.pub").read_text().split()[:2]
    known_hosts.write_text(f"[127.0.0.1]:{sshd.port} {' '.join(words)}\n")
    text = refusal(make_device())
    assert "has changed" in text
    assert fingerprint(sshd.folder / "host_key.pub") in text
    assert fingerprint(other) in text
    assert f"ssh-keygen -R '[127.0.0.1]:{sshd.port}'" in text
    run_told(text, sshd.home)
    assert make_device().describe()["cores"] >= 1


def test_a_configuration_that_turns_host_keys_off_does_not(
    sshd: Sshd, make_device: Maker, known_hosts: Path
) -> None:
    known_hosts.unlink()
    config = sshd.home / ".ssh" / "config"
    config.write_text("Host *\n  StrictHostKeyChecking no\n  UserKnownHostsFile none\n")
    try:
        assert "not known" in refusal(make_device())
    finally:
        config.unlink()


# ---- getting in --------------------------------------------------------------------------------------------


def test_a_key_that_the_board_does_not_know(make_device: Maker, tmp_path: Path) -> None:
    text = refusal(make_device({"key": str(make_key(tmp_path / "stranger"))}))
    assert "does not let" in text
    assert "ssh-copy-id" in text


def test_a_user_whom_the_board_does_not_know(make_device: Maker) -> None:
    assert '"nobody-of-that-name"' in refusal(make_device({"user": "nobody-of-that-name"}))


def test_a_key_file_that_is_not_there(make_device: Maker, tmp_path: Path) -> None:
    assert "no key file" in refusal(make_device({"key": str(tmp_path / "none")}))


def test_a_key_with_a_passphrase_is_left_to_the_agent(make_device: Maker, tmp_path: Path) -> None:
    key = make_key(tmp_path / "locked")
    command = ["ssh-keygen", "-q", "-p", "-P", "", "-N", "secret", "-f", str(key)]
    subprocess.run(command, check=True, capture_output=True)
    assert "ssh-add" in refusal(make_device({"key": str(key)}))


def test_a_host_that_nobody_knows(make_device: Maker) -> None:
    assert 'no host "board.invalid"' in refusal(make_device({"host": "board.invalid"}))


def test_a_port_where_nothing_answers(make_device: Maker) -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        port = server.getsockname()[1]
    text = refusal(make_device({"port": port}))
    assert f"nothing answers at port {port}" in text


def test_a_jump_host_that_is_none(make_device: Maker) -> None:
    assert "no jump host" in refusal(make_device({"jump": "host:many"}))


def test_without_asyncssh_the_line_to_install_it_is_told(
    make_device: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgekit.devices.ssh.connecting.find_spec", lambda _name: None)
    with pytest.raises(MissingExtraError, match=r"edgekit\[ssh\]"):
        make_device().describe()


def test_a_board_that_ends_each_connection_is_told_soon(sshd: Sshd, make_device: Maker) -> None:
    """A forced command, as of a login that is for something else."""
    authorized = sshd.folder / "authorized"
    before = authorized.read_text()
    authorized.write_text(f'command="kill -9 $PPID" {before}')
    try:
        text = refusal(make_device())
    finally:
        authorized.write_text(before)
    assert "lets us in and ends the connection" in text


# ---- what is there -----------------------------------------------------------------------------------------


def test_no_python_there(make_device: Maker) -> None:
    assert 'no program "python-of-none"' in refusal(make_device({"python": "python-of-none"}))


def test_a_program_that_is_no_python(make_device: Maker, tmp_path: Path) -> None:
    fake = fake_python(tmp_path / "FakePython", "echo SyntaxError: invalid syntax >&2; exit 1")
    assert "no Python 3" in refusal(make_device(fake))


def test_a_login_that_gives_no_shell(make_device: Maker, tmp_path: Path) -> None:
    fake = fake_python(tmp_path / "FakeShell", "echo This account is not available.; exit 1")
    assert "This account is not available" in refusal(make_device(fake))


def test_python_3_5_there(make_device: Maker, tmp_path: Path) -> None:
    answer = """echo '{"edgekit": {"python": [3, 5, 3], "bits": 64}}'"""
    text = refusal(make_device(fake_python(tmp_path / "FakePython35", answer)))
    assert "Python 3.5.3" in text
    assert "3.6 or newer" in text


def changed_answer(path: Path, before: str, after: str) -> dict[str, str]:
    """This Python, that says something else of itself when it is greeted."""
    return fake_python(
        path, f"""if [ "$1" = -c ]; then {sys.executable} "$@" | sed 's/{before}/{after}/'
        else exec {sys.executable} "$@"; fi"""
    )  # fmt: skip


def test_no_numpy_there(make_device: Maker, tmp_path: Path) -> None:
    fake = changed_answer(tmp_path / "FakePython", '"numpy": true', '"numpy": false')
    device = make_device(fake)
    text = refusal(device)
    assert "has no numpy" in text
    assert "edgekit device setup pi" in text
    assert device.describe()["cores"] >= 1, "it can still be asked what it is"


def test_a_32_bit_system(make_device: Maker, tmp_path: Path) -> None:
    fake = changed_answer(tmp_path / "FakePython", '"bits": 64', '"bits": 32')
    assert "32-bit" in refusal(make_device(fake))


def test_what_a_login_shell_prints_is_no_answer(make_device: Maker, tmp_path: Path) -> None:
    """A .bashrc with an echo in it breaks scp; not this."""
    noisy = fake_python(tmp_path / "FakeNoise", f'echo Welcome; echo "{{}}"; exec {sys.executable} "$@"')
    assert make_device(noisy).describe()["cores"] >= 1


# ---- the work folder ---------------------------------------------------------------------------------------


def test_a_folder_of_other_things_is_not_taken(make_device: Maker, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "thesis.tex").write_text("precious")
    assert "holds other things" in refusal(make_device())
    assert os.listdir(tmp_path / "there") == ["thesis.tex"]


def mounted(*arguments: str) -> bool:
    return subprocess.run(["mount", *arguments], check=False, capture_output=True).returncode == 0


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """The work folder on the board is a disk of 16 MB."""
    there = tmp_path / "there"
    there.mkdir()
    if os.geteuid() != 0 or not mounted("-t", "tmpfs", "-o", "size=16m", "tmpfs", str(there)):
        pytest.skip("a small disk needs root that may mount")
    yield there
    subprocess.run(["umount", "-l", str(there)], check=True)


def test_a_read_only_work_folder(make_device: Maker, small_disk: Path) -> None:
    assert mounted("-o", "remount,ro", str(small_disk))
    text = refusal(make_device())
    assert "cannot be written" in text
    assert "Read-only" in text


def test_a_full_disk(make_device: Maker, small_disk: Path) -> None:
    make_device().describe()
    (small_disk / "other").write_bytes(b"\0" * (shutil.disk_usage(small_disk).free - 8192))
    assert "disk of pi is full" in refusal(make_device()) or "its disk is full" in refusal(make_device())


def test_a_file_that_does_not_fit_is_refused_before_it_travels(
    make_device: Maker, small_disk: Path, tmp_path: Path
) -> None:
    large = tmp_path / "large"
    large.write_bytes(np.random.default_rng(0).bytes(20 << 20))
    device = make_device()
    with pytest.raises(DeviceError, match="disk of pi is full"):
        device.push([(large, "large")])
    assert not list((small_disk / "blobs").iterdir())
    (tmp_path / "small").write_bytes(b"x")
    device.push([(tmp_path / "small", "small")])  # it goes on
