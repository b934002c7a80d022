"""edgekit's own device over SSH, on the emulated board: the whole way there and back, and what cuts it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.devices import Measured, MeasureOptions, measure
from edgekit.devices.address import Address
from edgekit.devices.local import LocalDevice
from edgekit.devices.ssh import SshDevice
from edgekit.errors import DeviceError
from edgekit.types import Artifact
from tests.board_emulated.board import EmulatedBoard
from tests.devices.models import PIXELS, write_classifier

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
"""The first one may wait for the board's root to be made."""

UNTIMED = MeasureOptions(seconds=0.0, timeout_s=400.0)
NEAR = 1e-5


@pytest.fixture
def device(emulated_board: EmulatedBoard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SshDevice:
    home = tmp_path / "home"
    (home / ".ssh").mkdir(parents=True)
    (home / ".ssh" / "known_hosts").write_text(emulated_board.known_hosts.read_text())
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    address = Address(
        "board", emulated_board.host, emulated_board.port, emulated_board.user, str(emulated_board.key)
    )
    return SshDevice(address, tmp_path / "from-there", patience_s=120.0)


@pytest.fixture
def network(tmp_path: Path) -> Artifact:
    from edgekit.backends.opening import read_artifact

    return read_artifact(write_classifier(tmp_path / "net.onnx"))


def samples(folder: Path, count: int = 8) -> dict[str, Path]:
    path = folder / "samples.npy"
    np.save(path, np.random.default_rng(0).random((count, 3, PIXELS, PIXELS), dtype=np.float32))
    return {"input": path}


def test_it_is_known_as_emulated_and_answers_as_this_machine_does(
    device: SshDevice, network: Artifact, tmp_path: Path
) -> None:
    facts = device.describe()
    assert (facts["arch"], facts["emulated"], device.origin) == ("aarch64", True, "emulated")
    assert facts["libc"].startswith("glibc 2.")
    there = measured(device, network, tmp_path / "there")
    here = measured(LocalDevice(tmp_path / "work"), network, tmp_path / "here")
    assert there.measurement.origin == "emulated"
    assert there.measurement.environment.machine.startswith("Raspberry Pi 4")
    for name, array in here.load_outputs().items():
        assert np.abs(array - there.load_outputs()[name]).max() < NEAR


def measured(device: Any, network: Artifact, folder: Path) -> Measured:
    folder.mkdir()
    result = measure(device, [network], folder=folder, options=UNTIMED, samples=samples(folder))
    row = result[network.candidate]
    assert isinstance(row, Measured), row
    return row


@pytest.mark.parametrize(
    ("hurt", "mend"),
    [
        (EmulatedBoard.cut_link, EmulatedBoard.restore_link),
        (EmulatedBoard.freeze, EmulatedBoard.thaw),
        (EmulatedBoard.kill_sshd, EmulatedBoard.start_sshd),
    ],
    ids=["link cut", "frozen", "sshd killed"],
)
def test_what_comes_back_within_the_patience_loses_nothing(
    device: SshDevice,
    emulated_board: EmulatedBoard,
    network: Artifact,
    tmp_path: Path,
    hurt: Callable[[EmulatedBoard], None],
    mend: Callable[[EmulatedBoard], None],
) -> None:
    def fault() -> None:
        time.sleep(3.0)
        hurt(emulated_board)
        time.sleep(8.0)
        mend(emulated_board)

    device.describe()
    trouble = threading.Thread(target=fault)
    trouble.start()
    try:
        there = measured(device, network, tmp_path / "there")
    finally:
        trouble.join()
    here = measured(LocalDevice(tmp_path / "work"), network, tmp_path / "here")
    for name, array in here.load_outputs().items():
        assert np.abs(array - there.load_outputs()[name]).max() < NEAR


def test_a_full_disk_and_a_changed_key_are_one_line(
    device: SshDevice, emulated_board: EmulatedBoard, network: Artifact, tmp_path: Path
) -> None:
    device.describe()
    emulated_board.fill_disk()
    with pytest.raises(DeviceError, match="full"):
        measured(device, network, tmp_path / "there")
    emulated_board.free_disk()
    device.close()
    emulated_board.change_host_key()
    with pytest.raises(DeviceError, match="ssh-keygen -R"):
        device.describe()
