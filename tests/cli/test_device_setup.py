"""What is to be done on a board that lacks a runtime."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgekit.cli.device_setup import SetupPlan, asked_runtimes, set_up
from edgekit.devices.address import Address
from edgekit.devices.known import add_device, change_device, known_devices
from edgekit.devices.wheels import WheelPlatform
from edgekit.errors import DeviceError, UserError
from edgekit.hardware import find_target


def plan(**changes: object) -> SetupPlan:
    values = {
        "address": Address("pi", "10.0.0.5"),
        "platform": WheelPlatform("3.11", "aarch64", 36),
        "venv": "/home/pi/.cache/edgekit-venv",
        "system_packages": False,
        "pins": ("numpy==2.4.6", "onnxruntime==1.31.1"),
        "pip": "pip-26.3-py3-none-any.whl",
        "from_here": False,
        "told": (),
        **changes,
    }
    return SetupPlan(**values)  # type: ignore[arg-type]


def test_the_environment_is_made_without_pip_which_debian_lacks() -> None:
    assert plan().making == ["python3", "-m", "venv", "--without-pip", "/home/pi/.cache/edgekit-venv"]
    assert "--system-site-packages" in plan(system_packages=True).making


def test_pinned_packages_come_from_pypi_or_from_here() -> None:
    words = plan().installing
    assert words[:3] == [
        "/home/pi/.cache/edgekit-venv/bin/python",
        "/home/pi/.cache/edgekit-venv/wheels/pip-26.3-py3-none-any.whl/pip",
        "install",
    ]
    assert words[-2:] == ["numpy==2.4.6", "onnxruntime==1.31.1"]
    assert "--no-index" not in words
    offline = plan(from_here=True).installing
    assert offline[offline.index("--find-links") + 1] == "/home/pi/.cache/edgekit-venv/wheels"
    assert "--no-index" in offline


def test_only_the_targets_runtimes_can_be_asked_for() -> None:
    pi = find_target("raspberry-pi-4")
    assert asked_runtimes(None, pi) == ("litert", "onnxruntime")
    assert asked_runtimes("LiteRT", pi) == ("litert",)
    with pytest.raises(UserError, match="raspberry-pi-4 does not run openvino; allowed: litert, onnxruntime"):
        asked_runtimes("openvino", pi)


def test_only_a_board_with_a_name_is_set_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    with pytest.raises(DeviceError, match="edgekit device add pi ssh://user@host --target T"):
        set_up("pi", None, offline=False, for_real=False)


def test_a_key_is_changed_and_the_rest_of_the_file_stays(tmp_path: Path) -> None:
    file = tmp_path / "devices.toml"
    add_device("pi", {"host": "10.0.0.5"}, file)
    file.write_text(f"# mine\n{file.read_text()}")
    change_device("pi", {"python": "/venv/bin/python"}, file)
    assert known_devices(file)["pi"].python == "/venv/bin/python"
    assert file.read_text().startswith("# mine\n")
    with pytest.raises(DeviceError, match='no device "gone"'):
        change_device("gone", {}, file)
