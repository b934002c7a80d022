"""Many artifacts timed in one process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edgekit.devices import LocalDevice
from tests.devices.models import write_classifier

pytest.importorskip("onnxruntime")


def run(work: Path, paths: dict[str, Path], **more: Any) -> Any:
    entries = [{"id": name, "runtime": "onnxruntime", "path": str(path)} for name, path in paths.items()]
    job = {"schema": 1, "together": True, "rounds": 3, "seconds": 0.01, "cpus": None, "entries": entries}
    return LocalDevice(work).run({**job, **more}, timeout_s=60.0)


def test_each_artifact_has_a_figure_for_each_round(tmp_path: Path) -> None:
    net = write_classifier(tmp_path / "net.onnx")
    entries = run(tmp_path / "work", {"a": net, "b": net, "c": net})["entries"]
    assert list(entries) == ["a", "b", "c"]
    for entry in entries.values():
        assert entry["status"] == "ok"
        assert len(entry["rounds_ms"]) == 3
        assert min(entry["rounds_ms"]) > 0


def test_one_that_cannot_be_opened_fails_alone(tmp_path: Path) -> None:
    net, damaged = write_classifier(tmp_path / "net.onnx"), tmp_path / "damaged.onnx"
    damaged.write_bytes(b"no network")
    entries = run(tmp_path / "work", {"a": net, "b": damaged, "c": net})["entries"]
    assert [entry["status"] for entry in entries.values()] == ["ok", "failed", "ok"]
    assert "damaged.onnx" in entries["b"]["cause"]
    assert entries["b"]["stage"] == "add"


def test_all_that_are_timed_fail_with_their_worker(tmp_path: Path) -> None:
    net = write_classifier(tmp_path / "net.onnx")
    entries = run(tmp_path / "work", {"a": net, "b": net}, seconds=1e5, rounds=10000, timeout_s=2.0)[
        "entries"
    ]
    assert [entry["status"] for entry in entries.values()] == ["failed", "failed"]
    assert "time limit" in entries["a"]["cause"]
