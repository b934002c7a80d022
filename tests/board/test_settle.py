"""The program that settles on the board: judged by what it does with a bundle, run as it would be run there."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.board import settle
from edgekit.bundle import BoardIdentity, CandidateFacts, Offer, verify_bundle, write_candidates
from edgekit.devices import LocalDevice
from edgekit.types import Budget, Estimate
from tests.bundles import artifact_of, bundle_parts

HERE = BoardIdentity(platform.machine())
EASY = Budget(max_latency_ms=1000.0)


def facts(name: str, **changes: Any) -> CandidateFacts:
    made = CandidateFacts(
        name, f"candidates/{name}", "original", "onnxruntime", "fp32", "", Estimate(1.0, 0.5, 2.0),
        "top-1", 0.9, 0.0, 1000,
    )  # fmt: skip
    return replace(made, **changes)


def candidates_bundle(folder: Path, *, budget: Budget = EASY, identity: BoardIdentity = HERE) -> Path:
    """Two candidates of the tiny network, in ONNX Runtime and in OpenVINO."""
    folder.mkdir()
    offers = []
    for backend, drop in (("onnxruntime", 0.0), ("openvino", 0.005)):
        artifact = artifact_of(backend, folder / backend)  # type: ignore[arg-type]
        one = facts(backend, backend=backend, drop=drop)
        offers.append(Offer(one, bundle_parts(artifact)))
    write_candidates(
        folder / "bundle",
        offers,
        target="some-board",
        identity=identity,
        budget=budget,
        threads=1,
        edgekit_version="0.0.0",
    )
    return folder / "bundle"


def run_settle(bundle: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-I", str(bundle / "settle.py"), "--seconds", "0.3"]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def settled(bundle: Path) -> Mapping[str, Any]:
    content: Mapping[str, Any] = json.loads((bundle / "settled.json").read_text())
    return content


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    bundle = candidates_bundle(tmp_path_factory.mktemp("settle") / "made")
    return bundle, run_settle(bundle)


def test_the_most_accurate_candidate_that_meets_the_budget_wins(
    done: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    bundle, ended = done
    assert ended.returncode == 0, ended.stderr
    assert settled(bundle)["verdict"] == "MEETS"
    assert settled(bundle)["winner"] == "onnxruntime"
    assert "MEETS: onnxruntime" in ended.stdout


def test_every_candidate_is_measured_on_the_spot(
    done: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    rows = settled(done[0])["candidates"]
    assert [row["id"] for row in rows] == ["onnxruntime", "openvino"]
    assert all(0 < row["latency_ms"]["low"] <= row["latency_ms"]["high"] for row in rows)
    assert all(row["peak_memory_bytes"] > 0 for row in rows)


def test_nothing_but_the_answer_is_left_behind_and_the_bundle_still_verifies(
    done: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    bundle = done[0]
    assert not (bundle / "settling").exists()
    assert verify_bundle(bundle).ok


def test_a_budget_that_none_meets_is_a_miss(tmp_path: Path) -> None:
    bundle = candidates_bundle(tmp_path / "made", budget=Budget(max_latency_ms=1e-6))
    ended = run_settle(bundle)
    assert ended.returncode == 3
    assert settled(bundle)["verdict"] == "MISSES"
    assert "p90 ms" in settled(bundle)["candidates"][0]["against"]


def test_another_machine_settles_nothing(tmp_path: Path) -> None:
    identity = BoardIdentity(platform.machine(), models=("Some Board",))
    bundle = candidates_bundle(tmp_path / "made", identity=identity)
    ended = run_settle(bundle)
    assert ended.returncode == 4
    assert settled(bundle)["verdict"] == "PROVISIONAL"
    assert "Some Board" in ended.stdout


def test_a_machine_of_another_architecture_is_told_by_that_alone(tmp_path: Path) -> None:
    bundle = candidates_bundle(tmp_path / "made", identity=BoardIdentity("m68k", models=("Some Board",)))
    ended = run_settle(bundle)
    reason = f"some-board is m68k, this machine is {platform.machine()}"
    assert ended.returncode == 4
    assert settled(bundle)["not_the_board"] == [reason]
    assert ended.stdout.endswith(f"PROVISIONAL: this machine is not some-board ({reason}).\n")


def test_a_changed_file_is_named_before_anything_runs(tmp_path: Path) -> None:
    bundle = candidates_bundle(tmp_path / "made")
    with (bundle / "candidates/onnxruntime/model/model.onnx").open("ab") as file:
        file.write(b"x")
    ended = run_settle(bundle)
    assert ended.returncode == 2
    assert "candidates/onnxruntime/model/model.onnx" in ended.stderr
    assert verify_bundle(bundle).problems == ("candidates/onnxruntime/model/model.onnx was changed",)


def judged(
    *candidates: CandidateFacts,
    times_ms: Mapping[str, float],
    budget: Budget = EASY,
    **entries: Mapping[str, Any],
) -> tuple[list[dict[str, Any]], str, str | None]:
    """Rows, verdict and winner of candidates with one time each. `entries` are those that did otherwise."""
    measured = {
        name: {"status": "ok", "notes": [], "rounds_ms": [[time_ms]], "peak_memory_bytes": 1, "load_ms": 1.0}
        for name, time_ms in times_ms.items()
    }
    manifest = {"budget": asdict(budget), "candidates": [asdict(candidate) for candidate in candidates]}
    exact = {candidate.id: (0.0, 0.01) for candidate in candidates}
    rows, decision = settle.judge(manifest, {**measured, **entries}, exact)
    return rows, decision.verdict, decision.winner


def test_a_quantized_build_slower_than_its_own_float_is_never_chosen() -> None:
    candidates = facts("float"), facts("int8", precision="int8", drop=-0.001)
    _, _, winner = judged(*candidates, times_ms={"float": 1.0, "int8": 1.2})
    assert winner == "float"


def test_with_fastest_the_fastest_wins() -> None:
    candidates, times_ms = (facts("slow"), facts("fast", drop=0.005)), {"slow": 2.0, "fast": 1.0}
    assert judged(*candidates, times_ms=times_ms)[2] == "slow"
    assert judged(*candidates, times_ms=times_ms, budget=Budget(fastest=True))[2] == "fast"


def test_what_speaks_against_a_candidate_keeps_it_from_winning() -> None:
    rows, verdict, winner = judged(facts("only"), times_ms={"only": 2.0}, budget=Budget(max_latency_ms=1.0))
    assert (rows[0]["against"], verdict, winner) == ("p90 ms 2 > 1", "MISSES", None)


def test_where_all_failed_the_budget_cannot_be_met() -> None:
    failed = {"status": "failed", "stage": "load", "cause": "no kernel"}
    rows, verdict, winner = judged(facts("only"), times_ms={}, only=failed)
    assert (rows[0]["against"], verdict, winner) == ("failed at load: no kernel", "INFEASIBLE", None)


def test_what_was_not_timed_meets_no_limit_on_latency() -> None:
    untimed = {"status": "ok", "notes": [], "peak_memory_bytes": 1, "load_ms": 1.0}
    rows, verdict, _ = judged(facts("only"), times_ms={}, only=untimed)
    assert (rows[0]["against"], verdict) == ("its latency was not measured", "INFEASIBLE")


@given(st.lists(st.lists(st.floats(0.001, 100), min_size=1, max_size=8), min_size=1, max_size=6))
def test_the_interval_holds_its_percentile(rounds: list[list[float]]) -> None:
    times = settle.latency_ms(rounds, "p90")
    assert times["low"] <= times["at"] == times["p90"] <= times["high"]
    assert times["p50"] <= times["p90"] <= times["p99"]


def test_it_measures_on_the_cpus_that_a_build_measures_on(tmp_path: Path) -> None:
    bundle = candidates_bundle(tmp_path / "made")
    work = tmp_path / "work"
    work.mkdir()
    job = settle.make_job(str(bundle), str(work), json.loads((bundle / "manifest.json").read_text()), 0.1)
    assert job["cpus"] == LocalDevice(tmp_path / "device").describe()["cpus"][:1]
    assert [entry["options"] for entry in job["entries"]] == [{}, {"INFERENCE_PRECISION_HINT": "f32"}]
