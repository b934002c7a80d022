"""The runner names the GPUs of the machine it runs on, and starts nothing where there are none."""

from __future__ import annotations

import os
import subprocess
from typing import Any

import pytest

from edgekit.board import runner


def test_a_jetson_is_recognised_by_its_device_tree(monkeypatch: pytest.MonkeyPatch) -> None:
    tree = "nvidia,p3768-0000+p3767-0005\0nvidia,p3767-0005\0nvidia,tegra234"
    monkeypatch.setattr(runner, "_read", lambda path: tree if path.endswith("compatible") else "")
    assert runner._accelerators() == ["sm_87"]


def test_without_a_driver_no_program_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(*_arguments: Any, **_options: Any) -> None:
        raise AssertionError("a program was started")

    monkeypatch.setattr(os.path, "exists", lambda path: False)
    monkeypatch.setattr(subprocess, "run", start)
    assert runner._accelerators() == []


def fake_nvidia_smi(monkeypatch: pytest.MonkeyPatch, told: bytes) -> None:
    done = subprocess.CompletedProcess([], 0, stdout=told)
    monkeypatch.setattr(os.path, "exists", lambda path: path == "/dev/nvidiactl")
    monkeypatch.setattr(subprocess, "run", lambda *_arguments, **_options: done)


def test_the_driver_names_the_compute_capability(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_nvidia_smi(monkeypatch, b"8.9\n12.0\n8.9\n")
    assert runner._accelerators() == ["sm_120", "sm_89"]


def test_what_a_broken_driver_prints_is_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_nvidia_smi(monkeypatch, b"NVIDIA-SMI has failed because it couldn't communicate with the driver.\n")
    assert runner._accelerators() == []


def test_a_driver_without_its_program_is_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(*_arguments: Any, **_options: Any) -> None:
        raise FileNotFoundError("nvidia-smi")

    monkeypatch.setattr(os.path, "exists", lambda path: path == "/dev/nvidiactl")
    monkeypatch.setattr(subprocess, "run", absent)
    assert runner._accelerators() == []


def test_they_are_in_the_description_of_the_machine() -> None:
    assert isinstance(runner.describe()["accelerators"], list)
