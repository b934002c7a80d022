"""`python3 -m board bench` and `selftest`, run in real bundles as they would be run on a board."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from edgekit import board
from edgekit.board.selftest import code_of
from edgekit.bundle import verify_bundle
from tests.board.test_settle import candidates_bundle, python_with, resealed
from tests.bundles import artifact_of, bundle_of


def start(bundle: Path, *arguments: str, python: str = sys.executable) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [python, "-m", "board", *arguments], cwd=bundle, capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("one")
    return bundle_of(artifact_of("onnxruntime", folder / "artifact"), folder / "bundle")


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return candidates_bundle(tmp_path_factory.mktemp("several") / "made")


def test_bench_tells_percentiles_with_intervals_and_memory(one: Path) -> None:
    done = start(one, "bench", "--seconds", "0.1", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    for name in ("p50", "p90", "p99"):
        times = told["latency_ms"][name]
        assert 0 < times["low"] <= times["value"] <= times["high"]
    assert len(told["rounds_ms"]) == 12  # as a build
    assert told["peak_memory_bytes"] > 0
    assert verify_bundle(one).ok


def test_bench_is_told_to_people(one: Path) -> None:
    done = start(one, "bench", "--seconds", "0.1")
    assert done.returncode == 0, done.stderr
    assert [line.split()[0] for line in done.stdout.splitlines()[1:4]] == ["p50", "p90", "p99"]


def test_bench_of_candidates_asks_for_one(several: Path) -> None:
    done = start(several, "bench")
    assert (done.returncode, done.stdout) == (2, "")
    assert "holds several candidates; give one of them" in done.stderr


@pytest.mark.parametrize("seconds", ["0", "-1", "nan", "1e9"])
def test_bench_refuses_impossible_seconds(one: Path, seconds: str) -> None:
    done = start(one, "bench", f"--seconds={seconds}")
    assert done.returncode == 2
    assert "allowed: above 0 to 3600" in done.stderr


def test_selftest_checks_the_artifact(one: Path) -> None:
    done = start(one, "selftest")
    assert done.returncode == 0, done.stderr
    assert "golden outputs match: off by" in done.stdout


def test_selftest_checks_every_candidate(several: Path) -> None:
    done = start(several, "selftest", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["ok"] is True
    assert [(row["id"], row["status"]) for row in told["artifacts"]] == [
        ("onnxruntime", "match"), ("openvino", "match"),
    ]  # fmt: skip
    assert verify_bundle(several).ok


@pytest.mark.parametrize("tolerance", [0, 0.6, 1e9])
def test_selftest_refuses_a_tolerance_that_says_nothing(tmp_path: Path, tolerance: float) -> None:
    bundle = bundle_of(artifact_of("onnxruntime", tmp_path / "artifact"), tmp_path / "bundle")
    resealed(bundle, golden={"samples": 4, "tolerance": tolerance})
    done = start(bundle, "selftest")
    assert done.returncode == 2
    assert "the golden tolerance is" in done.stderr


def test_selftest_says_what_answers_otherwise(tmp_path: Path) -> None:
    bundle = bundle_of(artifact_of("onnxruntime", tmp_path / "artifact"), tmp_path / "bundle")
    with np.load(bundle / "golden.npz") as stored:
        arrays = dict(stored)
    np.savez(bundle / "golden.npz", **{**arrays, "out0": arrays["out0"] + 1})
    files = json.loads((bundle / "manifest.json").read_text())["files"]
    digest = hashlib.sha256((bundle / "golden.npz").read_bytes()).hexdigest()
    resealed(
        bundle, files=[{**file, "sha256": digest} if file["path"] == "golden.npz" else file for file in files]
    )
    done = start(bundle, "selftest")
    assert done.returncode == 1
    assert "DO NOT MATCH" in done.stdout


@pytest.mark.parametrize("command", ["bench", "selftest"])
def test_a_changed_file_is_one_line(tmp_path: Path, command: str) -> None:
    bundle = bundle_of(artifact_of("onnxruntime", tmp_path / "artifact"), tmp_path / "bundle")
    with (bundle / "model/model.onnx").open("ab") as file:
        file.write(b"x")
    done = start(bundle, command)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.endswith("model/model.onnx was changed or is missing; copy the bundle again\n")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("command", ["bench", "selftest"])
def test_outside_of_a_bundle_they_say_so(tmp_path: Path, command: str) -> None:
    source = Path(board.__file__).parent
    shutil.copytree(source, tmp_path / "board", ignore=shutil.ignore_patterns("__pycache__"))
    done = start(tmp_path, command)
    assert done.returncode == 2
    assert "is no bundle: it has no manifest.json" in done.stderr


def test_without_a_runtime_the_line_that_installs_it_is_told(one: Path, tmp_path: Path) -> None:
    python = python_with(tmp_path / "board")
    for command in ("bench", "selftest"):
        done = start(one, command, python=python)
        assert done.returncode == 2
        assert "onnxruntime is not installed: pip install onnxruntime" in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("found", "code"),
    [
        (["match"], 0),
        (["match", "differs"], 1),
        (["failed", "not installed"], 1),
        (["match", "not installed"], 2),
    ],
)
def test_the_exit_code_tells_the_worst(found: Sequence[str], code: int) -> None:
    assert code_of([{"status": status} for status in found]) == code
