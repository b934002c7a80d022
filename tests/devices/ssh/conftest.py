"""A board for each module of tests, and devices on it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from edgekit.devices.ssh import SshDevice
from edgekit.testing.sshd import Sshd
from tests.devices.ssh.boards import running_sshd


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    with running_sshd(tmp_path_factory.mktemp("sshd")) as board:
        yield board


@pytest.fixture(autouse=True)
def at_home(sshd: Sshd, monkeypatch: pytest.MonkeyPatch) -> None:
    """The user's own SSH files play no part."""
    monkeypatch.setenv("HOME", str(sshd.home))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)


@pytest.fixture
def make_device(sshd: Sshd, tmp_path: Path) -> Iterator[Callable[..., SshDevice]]:
    """(address's changes, device's options) → a device with a work folder of its own on the board."""
    made: list[SshDevice] = []

    def make(changes: dict[str, Any] | None = None, **options: Any) -> SshDevice:
        address = sshd.address(tmp_path / "there", **(changes or {}))
        place = tmp_path / f"here-{len(made)}"
        made.append(
            SshDevice(address, place, **{"lock_folder": str(tmp_path), "patience_s": 30.0, **options})
        )
        return made[-1]

    yield make
    for device in made:
        device.close()
