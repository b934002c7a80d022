"""Artifacts in, measurements or failures out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.devices import LocalDevice, Measured, MeasureOptions, measure
from edgekit.testing.fake_board import FakeBoardDevice
from edgekit.types import Artifact, Failure, FileHash, Moment, SensorReading, Steadiness
from tests.devices.models import write_classifier

QUICK = MeasureOptions(seconds=0.05, rounds=3, warmup_s=0.2)


def artifact(path: Path, candidate: str) -> Artifact:
    files = (FileHash(path.name, "", path.stat().st_size),)
    return Artifact(candidate, "onnxruntime", str(path.parent), path.name, files, files[0].size_bytes, 0.0)


def test_a_good_and_a_broken_artifact_give_a_measurement_and_a_failure(tmp_path: Path) -> None:
    good = artifact(write_classifier(tmp_path / "net.onnx"), "good")
    (tmp_path / "bad.onnx").write_bytes(b"no model")
    samples = tmp_path / "x.npy"
    np.save(samples, np.zeros((3, 3, 8, 8), dtype=np.float32))
    found = measure(
        LocalDevice(tmp_path / "work"),
        [good, artifact(tmp_path / "bad.onnx", "bad")],
        folder=tmp_path / "back",
        options=QUICK,
        feeds={"input": np.ones((1, 3, 8, 8), dtype=np.float32)},
        samples={"input": samples},
    )
    assert isinstance(found["good"], Measured)
    assert found["good"].measurement.origin == "host"
    assert found["good"].measurement.latency is not None
    assert found["good"].measurement.environment.threads == 1
    assert found["good"].load_outputs()["scores"].shape == (3, 4)
    assert isinstance(found["bad"], Failure)
    assert found["bad"].stage == "measure (load)"
    assert str(tmp_path) not in found["bad"].cause


def test_a_boards_latency_is_the_boards(tmp_path: Path) -> None:
    net = tmp_path / "net.fake"
    net.write_bytes(b"x")
    board = FakeBoardDevice(tmp_path / "work", {"slow": 8.0, "fast": 2.0})
    found = measure(board, [artifact(net, "slow"), artifact(net, "fast")], folder=tmp_path / "back")
    medians = {}
    for name, one in found.items():
        assert isinstance(one, Measured)
        assert one.measurement.origin == "emulated"
        assert one.measurement.latency is not None
        medians[name] = one.measurement.latency.p50.value
    assert medians["slow"] == pytest.approx(4 * medians["fast"], rel=0.05)


def test_two_artifacts_of_one_candidate_are_refused(tmp_path: Path) -> None:
    net = artifact(write_classifier(tmp_path / "net.onnx"), "a")
    with pytest.raises(ValueError, match="two artifacts"):
        measure(FakeBoardDevice(tmp_path / "work"), [net, net], folder=tmp_path / "back")


def test_no_artifacts_need_no_device_run(tmp_path: Path) -> None:
    assert measure(FakeBoardDevice(tmp_path / "work"), [], folder=tmp_path / "back") == {}


def test_what_the_machine_did_meanwhile_stands_beside_the_numbers(tmp_path: Path) -> None:
    net = artifact(write_classifier(tmp_path / "net.onnx"), "a")
    artifacts = [net, artifact(tmp_path / "net.onnx", "b")]
    device = LocalDevice(tmp_path / "work")
    results = measure(device, artifacts, folder=tmp_path / "back", options=QUICK).values()
    turns = []
    for result in results:
        assert isinstance(result, Measured)
        latency, environment = result.measurement.latency, result.measurement.environment
        assert latency is not None
        assert latency.preemptions is not None
        assert result.measurement.import_ms is not None
        assert environment.sensors_before is not None
        assert environment.sensors_after is not None
        turns.append(latency.turns)
    assert [sorted(places) for places in zip(*turns, strict=True)] == [[1, 2]] * QUICK.rounds


def test_a_boards_sensors_are_the_boards(tmp_path: Path) -> None:
    (tmp_path / "net.fake").write_bytes(b"x")
    (tmp_path / "broken.fake").write_bytes(b"")
    artifacts = [artifact(tmp_path / f"{name}.fake", name) for name in ("broken", "net")]
    board = FakeBoardDevice(tmp_path / "work")
    result = measure(board, artifacts, folder=tmp_path / "back", options=QUICK)["net"]
    assert isinstance(result, Measured)
    environment, latency = result.measurement.environment, result.measurement.latency
    assert environment.sensors_before == SensorReading({"fake-thermal": 40.0}, {"0": 1400.0})
    assert environment.sensors_after == SensorReading({"fake-thermal": 48.5}, {"0": 1200.0})
    assert latency is not None
    assert latency.turns == (1, 1, 1)


def certificate(state: str, drift: float = 0.0, *reasons: str) -> dict[str, Any]:
    moment = {"t_s": 0.5, "median_ms": 1.0, "clock_mhz": 1800.0}
    return {
        "steadiness": {
            "state": state, "reasons": list(reasons), "notes": [], "drift": drift, "attempts": 2,
            "timeline": [moment],
        }
    }  # fmt: skip


def measured_as(tmp_path: Path, tells: dict[str, Any], *, strict: bool) -> Measured | Failure:
    net = tmp_path / "net.fake"
    net.write_bytes(b"x")
    board = FakeBoardDevice(tmp_path / "work", tells={"a": tells})
    options = replace(QUICK, strict=strict)
    return measure(board, [artifact(net, "a")], folder=tmp_path / "back", options=options)["a"]


def test_the_certificate_stands_beside_the_latency(tmp_path: Path) -> None:
    found = measured_as(tmp_path, certificate("throttled", 0.0, "the firmware throttles"), strict=False)
    assert isinstance(found, Measured)
    assert found.measurement.latency is not None
    assert found.measurement.latency.steadiness == Steadiness(
        "throttled", ("the firmware throttles",), attempts=2, timeline=(Moment(0.5, 1.0, 1800.0, None),)
    )


@pytest.mark.parametrize(("state", "drift"), [("throttled", 0.0), ("unknown", 0.04)])
def test_strict_refuses_what_was_throttled_or_drifted(tmp_path: Path, state: str, drift: float) -> None:
    found = measured_as(tmp_path, certificate(state, drift, "it got hot"), strict=True)
    assert isinstance(found, Failure)
    assert found.stage == "measure (steadiness)"
    assert "it got hot" in found.cause
    assert found.remedy


@pytest.mark.parametrize("state", ["clean", "unknown"])
def test_strict_takes_what_is_only_not_known(tmp_path: Path, state: str) -> None:
    assert isinstance(measured_as(tmp_path, certificate(state), strict=True), Measured)


def test_a_runner_that_gives_no_certificate_is_read_too(tmp_path: Path) -> None:
    found = measured_as(tmp_path, {}, strict=True)
    assert isinstance(found, Measured)
    assert found.measurement.latency is not None
    assert found.measurement.latency.steadiness is None
