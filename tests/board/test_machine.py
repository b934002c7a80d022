"""What a machine is said to be: its GPUs, for which nothing is started where there are none, and its packages."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.board import machine


def test_a_jetson_is_recognised_by_its_device_tree(monkeypatch: pytest.MonkeyPatch) -> None:
    tree = "nvidia,p3768-0000+p3767-0005\0nvidia,p3767-0005\0nvidia,tegra234"
    monkeypatch.setattr(machine, "read_text", lambda path: tree if path.endswith("compatible") else "")
    assert machine._accelerators() == ["sm_87"]


def test_without_a_driver_no_program_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(*_arguments: Any, **_options: Any) -> None:
        raise AssertionError("a program was started")

    monkeypatch.setattr(os.path, "exists", lambda path: False)
    monkeypatch.setattr(subprocess, "run", start)
    assert machine._accelerators() == []


def fake_nvidia_smi(monkeypatch: pytest.MonkeyPatch, told: bytes) -> None:
    done = subprocess.CompletedProcess([], 0, stdout=told)
    monkeypatch.setattr(os.path, "exists", lambda path: path == "/dev/nvidiactl")
    monkeypatch.setattr(subprocess, "run", lambda *_arguments, **_options: done)


def test_the_driver_names_the_compute_capability(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_nvidia_smi(monkeypatch, b"8.9\n12.0\n8.9\n")
    assert machine._accelerators() == ["sm_120", "sm_89"]


def test_what_a_broken_driver_prints_is_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_nvidia_smi(monkeypatch, b"NVIDIA-SMI has failed because it couldn't communicate with the driver.\n")
    assert machine._accelerators() == []


def test_a_driver_without_its_program_is_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(*_arguments: Any, **_options: Any) -> None:
        raise FileNotFoundError("nvidia-smi")

    monkeypatch.setattr(os.path, "exists", lambda path: path == "/dev/nvidiactl")
    monkeypatch.setattr(subprocess, "run", absent)
    assert machine._accelerators() == []


def test_they_are_in_the_description_of_the_machine() -> None:
    assert isinstance(machine.describe()["accelerators"], list)


def test_described_facts_are_plain_json() -> None:
    facts = machine.describe()
    assert json.loads(json.dumps(facts)) == facts
    assert facts["cores"] == len(facts["cpus"])
    assert facts["memory_bytes"] > 0
    assert facts["versions"]["numpy"] == np.__version__


def test_describing_imports_no_runtime_and_no_numpy() -> None:
    code = (
        "import sys; from edgekit.board.machine import describe; describe(); "
        "print({'onnxruntime', 'numpy'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_versions_are_those_that_importlib_tells() -> None:
    told = {}
    for name in machine.PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            told[name] = metadata.version(name)
    assert machine.versions_on(sys.path) == told


def test_versions_are_read_of_all_kinds_of_metadata(tmp_path: Path) -> None:
    for place, text in {
        "numpy-1.13.3.egg-info": "Metadata-Version: 1.1\nName: numpy\nVersion: 1.13.3\n",
        "ai_edge_litert-1.0.dist-info/METADATA": "Name: ai-edge-litert\nVersion: 1.0.1\n\nVersion: 9\n",
        "nncf.egg-info/PKG-INFO": "Name: nncf\nVersion: 3.0\n",
        "torch-2.0.dist-info/RECORD": "no metadata",
        "onnxruntime_gpu-1.0.dist-info/METADATA": "Name: onnxruntime-gpu\nVersion: 1.0\n",
    }.items():
        path = tmp_path / place
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    absent = str(tmp_path / "absent.zip")
    versions = machine.versions_on([absent, str(tmp_path)])
    assert versions == {"numpy": "1.13.3", "ai-edge-litert": "1.0.1", "nncf": "3.0"}


def test_the_first_folder_that_has_a_package_counts(tmp_path: Path) -> None:
    for number in ("1", "2"):
        folder = tmp_path / number / f"numpy-{number}.dist-info"
        folder.mkdir(parents=True)
        (folder / "METADATA").write_text(f"Name: numpy\nVersion: {number}\n")
    assert machine.versions_on([str(tmp_path / "2"), str(tmp_path / "1")]) == {"numpy": "2"}
