"""Every device passes the device contract."""

from __future__ import annotations

from pathlib import Path

from edgekit.devices import Device, LocalDevice
from edgekit.testing.device_contract import DeviceContract
from edgekit.testing.fake_board import FakeBoardDevice
from tests.devices.models import PIXELS, write_classifier


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
