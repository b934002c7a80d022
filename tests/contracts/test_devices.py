"""Every device passes the device contract."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from edgekit.devices import Device, LocalDevice
from edgekit.devices.ssh import SshDevice
from edgekit.testing.device_contract import DeviceContract
from edgekit.testing.fake_board import FakeBoardDevice
from edgekit.testing.sshd import Sshd
from tests.devices.models import PIXELS, write_classifier
from tests.devices.ssh.boards import running_sshd


class TestLocalDevice(DeviceContract):
    def make_device(self, work: Path) -> Device:
        return LocalDevice(work)

    def make_artifact(self, folder: Path) -> tuple[str, Path, str, tuple[int, ...]]:
        return "onnxruntime", write_classifier(folder / "net.onnx"), "input", (1, 3, PIXELS, PIXELS)


class TestFakeBoardDevice(DeviceContract):
    def make_device(self, work: Path) -> Device:
        return FakeBoardDevice(work)

    def make_artifact(self, folder: Path) -> tuple[str, Path, str, tuple[int, ...]]:
        (folder / "net.fake").write_bytes(b"anything")
        return "onnxruntime", folder / "net.fake", "in", (1, 2)


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    with running_sshd(tmp_path_factory.mktemp("sshd")) as board:
        yield board


class TestSshDevice(DeviceContract):
    @pytest.fixture(autouse=True)
    def connected(self, sshd: Sshd, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        monkeypatch.setenv("HOME", str(sshd.home))
        self.sshd, self.made = sshd, []
        yield
        for device in self.made:
            device.close()

    def make_device(self, work: Path) -> Device:
        address = self.sshd.address(work.parent / "there")
        self.made.append(SshDevice(address, work, lock_folder=str(work.parent)))
        return self.made[-1]

    def make_artifact(self, folder: Path) -> tuple[str, Path, str, tuple[int, ...]]:
        return "onnxruntime", write_classifier(folder / "net.onnx"), "input", (1, 3, PIXELS, PIXELS)
