"""Builds for a board that is not here, as a user runs them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from edgekit.bundle import CandidatesManifest, read_any_manifest, verify_bundle
from edgekit.result import Result, load_result
from tests.building.command import build_arguments, run
from tests.conftest import UserNetwork

pytestmark = pytest.mark.slow


def options(target: str) -> dict[str, str]:
    return {"target": target, "precision": "fp32,fp16,int8", "max-latency": "50ms"}


@pytest.fixture(scope="module")
def pi(digits_network: UserNetwork, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished build for a Raspberry Pi 4."""
    work = tmp_path_factory.mktemp("pi")
    done = run(build_arguments(digits_network, work, **options("raspberry-pi-4")))
    assert done.returncode == 4, done.stderr
    (work / "stdout").write_text(done.stdout)
    return work


@pytest.fixture(scope="module")
def orin(digits_network: UserNetwork, pi: Path) -> Path:
    """A finished build for a Jetson Orin NX, with the Pi's store."""
    work = pi / "orin"
    done = run(build_arguments(digits_network, work, **options("jetson-orin-nx"), store=str(pi / "store")))
    assert done.returncode == 4, done.stderr
    return work


def result_of(work: Path) -> Result:
    return load_result(work / "out" / "result.json")


def manifest_of(work: Path) -> CandidatesManifest:
    manifest = read_any_manifest(work / "out" / "bundle")
    assert isinstance(manifest, CandidatesManifest)
    return manifest


def test_the_verdict_is_provisional_and_says_how_to_settle_it(pi: Path) -> None:
    result = result_of(pi)
    assert result.verdict == "PROVISIONAL"
    assert result.winner is None
    assert "python3 bundle/settle.py" in result.explanation
    told = " ".join((pi / "stdout").read_text().split())
    assert "Nothing is settled before a run on Raspberry Pi 4" in told
    assert "python3 bundle/settle.py" in told


def test_what_concerns_this_network_is_told_before_what_the_board_never_takes(pi: Path) -> None:
    first, *others = result_of(pi).rejected
    assert first.what == "pruning"
    assert "fp16" in " ".join(one.what for one in others)


def test_no_latency_is_shown_as_measured(pi: Path) -> None:
    result = result_of(pi)
    assert {one.origin for one in result.candidates} == {"estimated"}
    assert all(one.latency_ms is not None and not one.latency_ms.rounds_ms for one in result.candidates)
    assert any("roofline" in note for note in result.environment.notes)


def test_accuracy_and_memory_are_measured_here(pi: Path) -> None:
    for one in result_of(pi).candidates:
        assert one.accuracy is not None
        assert one.accuracy.value > 0.85
        assert one.peak_memory_bytes > 10_000_000
    assert result_of(pi).claim is not None


def test_the_bundle_holds_candidates_of_each_precision_and_verifies(pi: Path) -> None:
    manifest = manifest_of(pi)
    assert {one.precision for one in manifest.candidates} == {"fp32", "fp16", "int8"}
    assert {one.backend for one in manifest.candidates} == {"litert", "onnxruntime"}
    found = verify_bundle(pi / "out" / "bundle")
    assert found.ok, found.problems


def test_settling_on_a_machine_that_is_not_the_board_settles_nothing(pi: Path) -> None:
    bundle = pi / "out" / "bundle"
    command = [sys.executable, "-I", str(bundle / "settle.py"), "--seconds", "0.2"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 4, done.stdout + done.stderr
    settled = json.loads((bundle / "settled.json").read_text())
    assert settled["verdict"] == "PROVISIONAL"
    assert all(row["latency_ms"] for row in settled["candidates"])
    assert not any("golden" in row["against"] for row in settled["candidates"])


def test_each_candidate_answers_by_its_own_infer_py(pi: Path) -> None:
    for one in manifest_of(pi).candidates:
        done = run([sys.executable, str(pi / "out" / "bundle" / one.folder / "infer.py")])
        assert done.returncode == 0, one.id + done.stderr
        assert "golden outputs match" in done.stdout


def test_the_commands_know_a_bundle_of_several(pi: Path) -> None:
    shown = run([sys.executable, "-m", "edgekit", "bundle", "show", str(pi / "out")])
    assert shown.returncode == 0, shown.stderr
    assert "settle.py" in shown.stdout
    verified = run([sys.executable, "-m", "edgekit", "bundle", "verify", str(pi / "out")])
    assert verified.returncode == 0, verified.stderr


def test_a_jetson_s_bundle_has_builds_for_the_gpu_and_for_the_dla(orin: Path) -> None:
    manifest = manifest_of(orin)
    assert {one.backend for one in manifest.candidates} == {"tensorrt"}
    kinds = {(one.precision, one.device) for one in manifest.candidates}
    assert {("fp16", ""), ("int8", ""), ("int8", "dla"), ("fp16", "dla")} <= kinds
    found = verify_bundle(orin / "out" / "bundle")
    assert found.ok, found.problems


def test_a_jetson_s_bundle_carries_what_builds_on_arrival(orin: Path) -> None:
    names = {file.path for file in manifest_of(orin).files}
    assert {"settle.py", "board/__main__.py", "board/tensorrt/engine.py"} <= names
    int8 = next(one for one in manifest_of(orin).candidates if one.precision == "int8" and one.device == "")
    assert f"{int8.folder}/model/model.onnx" in names
    assert f"{int8.folder}/model/build.json" in names
    assert f"{int8.folder}/golden.npz" in names
