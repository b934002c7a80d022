"""The program that settles on the board: judged by what it does with a bundle, run as it would be run there."""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import venv
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.board import choosing, runner, settle, settling
from edgekit.board.manifest import manifest_digest
from edgekit.board.runner import LocalRunner
from edgekit.bundle import BoardIdentity, CandidateFacts, Offer, verify_bundle, write_candidates
from edgekit.devices import LocalDevice
from edgekit.errors import BundleError
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


def candidates_bundle(
    folder: Path,
    *,
    budget: Budget = EASY,
    identity: BoardIdentity = HERE,
    target: str = "some-board",
    claimed_drops: Mapping[str, float] = MappingProxyType({}),
) -> Path:
    """Two candidates of the tiny network, in ONNX Runtime and in OpenVINO; drops on the test split by runtime."""
    folder.mkdir()
    offers = []
    for backend, drop in (("onnxruntime", 0.0), ("openvino", 0.005)):
        artifact = artifact_of(backend, folder / backend)  # type: ignore[arg-type]
        one = facts(backend, backend=backend, drop=drop)
        parts = bundle_parts(artifact)
        claim = None
        if backend in claimed_drops:
            claim = replace(parts["claim"], drop=Estimate(claimed_drops[backend], 0.0, 0.9))
        offers.append(Offer(one, {**parts, "claim": claim}))
    write_candidates(
        folder / "bundle",
        offers,
        target=target,
        identity=identity,
        budget=budget,
        threads=1,
        edgekit_version="0.0.0",
    )
    return folder / "bundle"


def run_settle(bundle: Path, python: str = sys.executable) -> subprocess.CompletedProcess[str]:
    command = [python, "-I", str(bundle / "settle.py"), "--seconds", "0.3", "--no-tune"]
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
    assert settled(bundle)["established"] is True  # the unchanged network
    assert [row["confirmed_ms"] is not None for row in settled(bundle)["candidates"]] == [True, False]
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
    rows, decision = choosing.judge(manifest, {**measured, **entries}, exact)
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


def settled_choice(
    *candidates: CandidateFacts, seemed_ms: Mapping[str, float], alone_ms: Mapping[str, float], budget: Budget
) -> tuple[str | None, Mapping[str, str], list[str]]:
    """Winner, what is against each, and who was timed again, of candidates that seemed and are that fast."""
    looked = []

    def entry(time_ms: float) -> Mapping[str, Any]:
        return {"status": "ok", "notes": [], "rounds_ms": [[time_ms]], "peak_memory_bytes": 1, "load_ms": 1.0}

    def time_alone(name: str) -> Mapping[str, Any]:
        looked.append(name)
        return entry(alone_ms[name])

    manifest = {"budget": asdict(budget), "candidates": [asdict(candidate) for candidate in candidates]}
    exact = {candidate.id: (0.0, 0.01) for candidate in candidates}
    entries = {name: entry(time_ms) for name, time_ms in seemed_ms.items()}
    rows, decision = choosing.settle_choice(manifest, entries, exact, time_alone)
    return decision.winner, {row["id"]: row["against"] for row in rows}, looked


def test_a_winner_that_is_too_slow_on_its_own_gives_way_to_the_next() -> None:
    winner, against, looked = settled_choice(
        facts("lucky"), facts("sound", drop=0.004), seemed_ms={"lucky": 1.9, "sound": 1.0},
        alone_ms={"lucky": 2.1, "sound": 1.1}, budget=Budget(max_latency_ms=2.0),
    )  # fmt: skip
    assert (winner, looked) == ("sound", ["lucky", "sound"])
    assert against["lucky"] == "timed once more, on its own: p90 ms 2.1 > 2"


def test_nothing_is_timed_again_where_no_latency_is_limited() -> None:
    winner, _, looked = settled_choice(
        facts("a"), seemed_ms={"a": 1.0}, alone_ms={}, budget=Budget(fastest=True)
    )
    assert (winner, looked) == ("a", [])


def test_at_most_four_and_the_unchanged_network_are_timed_again() -> None:
    names = [f"c{place}" for place in range(6)]
    slow = [facts(name, drop=place / 1000, variant="pruned") for place, name in enumerate(names)]
    winner, against, looked = settled_choice(
        *slow, facts("float", drop=0.009), seemed_ms=dict.fromkeys([*names, "float"], 1.0),
        alone_ms={**dict.fromkeys(names, 3.0), "float": 1.0}, budget=Budget(max_latency_ms=2.0),
    )  # fmt: skip
    assert (winner, looked) == ("float", [*names[:4], "float"])
    assert against["c5"] == "not tried, since 4 before it did not hold"


@pytest.mark.parametrize(
    ("changes", "established"),
    [
        ({"split": "test", "drop_high": 0.009}, True),
        ({"split": "test", "drop_high": 0.011}, False),
        ({"split": "validation", "drop_high": 0.009}, False),
        ({"split": "validation", "variant": "original"}, True),
        ({"split": "test"}, False),
    ],
)
def test_a_drop_is_established_by_its_interval_on_the_test_split(
    changes: Mapping[str, Any], established: bool
) -> None:
    row = {**asdict(facts("a", variant="pruned")), "latency_ms": None, "peak_memory_bytes": 1, **changes}
    assert choosing.is_established({"budget": asdict(Budget())}, row) is established


def test_a_bundle_of_before_settles_without_intervals_and_confidence() -> None:
    old = {name: value for name, value in asdict(facts("a")).items() if not name.startswith("drop_")}
    budget = {name: value for name, value in asdict(EASY).items() if name != "confidence"}
    entry = {"status": "ok", "notes": [], "rounds_ms": [[1.0]], "peak_memory_bytes": 1, "load_ms": 1.0}
    _, decision = choosing.judge({"budget": budget, "candidates": [old]}, {"a": entry}, {"a": (0.0, 0.01)})
    assert decision.winner == "a"


@given(st.lists(st.lists(st.floats(0.001, 100), min_size=1, max_size=8), min_size=1, max_size=6))
def test_the_interval_holds_its_percentile(rounds: list[list[float]]) -> None:
    times = choosing.latency_ms(rounds, "p90")
    assert times["low"] <= times["at"] == times["p90"] <= times["high"]
    assert times["p50"] <= times["p90"] <= times["p99"]


def test_it_measures_on_the_cpus_that_a_build_measures_on(tmp_path: Path) -> None:
    bundle = candidates_bundle(tmp_path / "made")
    work = tmp_path / "work"
    work.mkdir()
    facts, manifests = settle.read_bundle(str(bundle))
    plan = settling.SettlingPlan(0.1, False, 1)
    settled = settling.Settling(str(bundle), facts, manifests, LocalRunner(str(work)), str(work), plan)
    job = settled.job(list(settled.entries.values()))
    assert job["cpus"] == LocalDevice(tmp_path / "device").describe()["cpus"][:1]
    assert [entry["options"] for entry in job["entries"]] == [{}, {"INFERENCE_PRECISION_HINT": "f32"}]


# The drop that a verdict stands on


def test_the_drop_on_the_test_split_counts_where_it_was_measured(tmp_path: Path) -> None:
    bundle = candidates_bundle(
        tmp_path / "made", budget=replace(EASY, max_drop=0.01), claimed_drops={"onnxruntime": 0.04}
    )
    ended = run_settle(bundle)
    assert ended.returncode == 0, ended.stderr
    rows = {row["id"]: row for row in settled(bundle)["candidates"]}
    assert (rows["onnxruntime"]["drop"], rows["onnxruntime"]["split"]) == (0.04, "test")
    assert (rows["openvino"]["drop"], rows["openvino"]["split"]) == (0.005, "validation")
    assert rows["onnxruntime"]["against"] == "accuracy drop 0.04 > 0.01"
    assert settled(bundle)["winner"] == "openvino"
    assert "4.00% (test)" in ended.stdout
    assert "(validation): openvino: not measured on the test split" in ended.stdout


# What is missing on the board


def python_with(folder: Path, *packages: str) -> str:
    """An interpreter that has numpy and these packages, as a board may have."""
    venv.create(folder, symlinks=True)
    python = folder / "bin" / "python"
    asked = [str(python), "-c", "import site; print(site.getsitepackages()[0])"]
    place = Path(subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip())
    for package in ("numpy", *packages):
        spec = importlib.util.find_spec(package)
        assert spec is not None
        assert spec.origin is not None
        source = Path(spec.origin).parent
        (place / package).symlink_to(source)
        libraries = source.with_name(f"{package}.libs")
        if libraries.exists():
            (place / libraries.name).symlink_to(libraries)
    return str(python)


def test_without_a_runtime_nothing_is_measured_and_nothing_is_missed(tmp_path: Path) -> None:
    bundle = candidates_bundle(tmp_path / "made", budget=Budget(max_latency_ms=1e-6))
    ended = run_settle(bundle, python_with(tmp_path / "board"))
    assert ended.returncode == 2
    assert ended.stdout == ""
    assert ended.stderr.splitlines()[-3:] == [
        "settle: nothing was measured",
        "  onnxruntime is not installed: pip install onnxruntime",
        "  openvino is not installed: pip install openvino",
    ]
    assert not (bundle / "settled.json").exists()
    assert verify_bundle(bundle).ok


@pytest.mark.parametrize(("limit_ms", "code", "verdict"), [(1e-6, 2, "PROVISIONAL"), (1000.0, 0, "MEETS")])
def test_with_one_runtime_of_two_only_what_meets_is_settled(
    tmp_path: Path, limit_ms: float, code: int, verdict: str
) -> None:
    bundle = candidates_bundle(tmp_path / "made", budget=Budget(max_latency_ms=limit_ms))
    ended = run_settle(bundle, python_with(tmp_path / "board", "onnxruntime"))
    assert (ended.returncode, settled(bundle)["verdict"]) == (code, verdict), ended.stderr
    assert settled(bundle)["not_installed"] == {"openvino": "pip install openvino"}
    assert ("pip install openvino" in ended.stderr) == (code == 2)
    assert "MISSES" not in ended.stdout


# What was changed


def copied(done: tuple[Path, subprocess.CompletedProcess[str]], tmp_path: Path) -> Path:
    """A bundle of its own to damage."""
    shutil.copytree(done[0], tmp_path / "bundle")
    (tmp_path / "bundle" / "settled.json").unlink()
    return tmp_path / "bundle"


def resealed(bundle: Path, **changes: Any) -> None:
    """The manifest with changes and the digest that fits them, as an attacker writes it."""
    content = {**json.loads((bundle / "manifest.json").read_text()), **changes}
    del content["digest"]
    (bundle / "manifest.json").write_text(json.dumps({**content, "digest": manifest_digest(content)}))


def refused(bundle: Path) -> str:
    """The one line that settling ends with; nothing was written."""
    before = sorted(bundle.rglob("*"))
    ended = run_settle(bundle)
    assert ended.returncode == 2, ended.stdout
    assert ended.stdout == ""
    assert sorted(bundle.rglob("*")) == before
    (line,) = ended.stderr.splitlines()
    return line


@pytest.mark.parametrize("seed", range(6))
def test_no_single_bit_of_the_manifest_can_be_flipped(
    done: tuple[Path, subprocess.CompletedProcess[str]], tmp_path: Path, seed: int
) -> None:
    bundle = copied(done, tmp_path)
    path = bundle / "manifest.json"
    content = path.read_bytes()
    assert settle.read_bundle(str(bundle))
    for bit in range(seed * 37, 8 * len(content), 97 * 6):
        damaged = bytearray(content)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        with pytest.raises(settle.ManifestError):
            settle.read_bundle(str(bundle))


def test_a_budget_that_was_raised_is_told_and_chooses_nothing(
    done: tuple[Path, subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    bundle = copied(done, tmp_path)
    path = bundle / "manifest.json"
    path.write_text(path.read_text().replace('"max_latency_ms": 1000.0', '"max_latency_ms": 5000.0'))
    assert refused(bundle).endswith("manifest.json was changed: its digest does not match")


@pytest.mark.parametrize("content", ["", "[]", "null", "{}", '{"schema": 1', "[" * 100_000, "\ufeff{}"])
def test_a_manifest_that_is_none_is_one_line(
    done: tuple[Path, subprocess.CompletedProcess[str]], tmp_path: Path, content: str
) -> None:
    bundle = copied(done, tmp_path)
    (bundle / "manifest.json").write_text(content)
    assert "manifest.json" in refused(bundle)


@pytest.mark.parametrize("field", ["id", "folder"])
@pytest.mark.parametrize("name", ["../../outside", "/outside", "..", "a\\b", ""])
def test_a_candidate_whose_name_leads_out_is_refused(
    done: tuple[Path, subprocess.CompletedProcess[str]], tmp_path: Path, field: str, name: str
) -> None:
    bundle = copied(done, tmp_path)
    first, second = json.loads((bundle / "manifest.json").read_text())["candidates"]
    resealed(bundle, candidates=[{**first, field: name}, second])
    assert "leads out of the bundle" in refused(bundle)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bundle"]
    with pytest.raises(BundleError, match="leads out of the bundle"):
        verify_bundle(bundle)


@pytest.mark.parametrize("name", ["manifest.json", "candidates/openvino/golden.npz", "candidates"])
def test_a_link_in_the_bundle_is_refused(
    done: tuple[Path, subprocess.CompletedProcess[str]], tmp_path: Path, name: str
) -> None:
    bundle = copied(done, tmp_path)
    (bundle / name).rename(tmp_path / "elsewhere")
    (bundle / name).symlink_to(tmp_path / "elsewhere")
    assert name in refused(bundle)


def test_a_pipe_in_the_place_of_a_file_does_not_hang(
    done: tuple[Path, subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    bundle = copied(done, tmp_path)
    for name in ("candidates/openvino/golden.npz", "manifest.json"):
        (bundle / name).unlink()
        os.mkfifo(bundle / name)
        assert name in refused(bundle)


@pytest.mark.parametrize("content", ["mine", "{}", "[" * 100_000])
def test_a_settled_json_of_another_is_not_overwritten(
    done: tuple[Path, subprocess.CompletedProcess[str]], tmp_path: Path, content: str
) -> None:
    bundle = copied(done, tmp_path)
    (bundle / "settled.json").write_text(content)
    assert "settled.json is there and is not of this program" in refused(bundle)
    assert (bundle / "settled.json").read_text() == content


def test_a_folder_called_settling_stays_and_settling_again_works(
    done: tuple[Path, subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    bundle = copied(done, tmp_path)
    (bundle / "settling").mkdir()
    (bundle / "settling" / "mine.txt").write_text("mine")
    assert [run_settle(bundle).returncode for _ in range(2)] == [0, 0]
    assert (bundle / "settling" / "mine.txt").read_text() == "mine"
    assert [path.name for path in bundle.glob("settling*")] == ["settling"]


# Tuning


@pytest.mark.slow
def test_what_costs_nothing_is_tried_and_recorded(tmp_path: Path) -> None:
    """By real runtimes. What is kept depends on the machine; that it was seen to be faster twice does not."""
    bundle = candidates_bundle(tmp_path / "made")
    command = [sys.executable, "-I", str(bundle / "settle.py"), "--seconds", "0.1"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    answer = settled(bundle)
    offered = {
        "onnxruntime": {"extended graph optimizations", "basic graph optimizations"},
        "openvino": {"hint of throughput"},
    }
    for name, names in offered.items():
        told = answer["tuning"][name]
        first = [row for row in told["tried"] if not row.get("again")]
        assert names <= {row["name"] for row in first}
        assert not [row for row in first if "failed" in row["against"]]
        again = [row for row in told["tried"] if row.get("again")]
        assert bool(told["changed"]) == any(row["kept"] for row in again)
        for row in [*first, *again]:
            if row["kept"]:
                assert row["latency_ms"]["high"] < row["default_ms"]["low"]
        assert (bundle / "candidates" / name / "tuned.json").exists() == bool(told["changed"])
    assert verify_bundle(bundle).ok
    assert [path.name for path in bundle.glob("settling*")] == []


def test_an_interrupted_settling_changes_nothing(tmp_path: Path) -> None:
    bundle = candidates_bundle(tmp_path / "made")
    before = sorted(bundle.rglob("*"))
    command = [sys.executable, "-I", str(bundle / "settle.py"), "--seconds", "600", "--no-tune"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert process.stderr.read(1)  # it measures
        process.send_signal(signal.SIGINT)
        said = process.stderr.read()
        assert process.wait() == 130
    assert "nothing was changed" in said
    assert "Traceback" not in said
    assert sorted(bundle.rglob("*")) == before


@pytest.mark.parametrize("threads", ["0", "-1", "5000"])
def test_impossible_threads_are_refused(
    done: tuple[Path, subprocess.CompletedProcess[str]], threads: str
) -> None:
    command = [sys.executable, "-I", str(done[0] / "settle.py"), f"--max-threads={threads}"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert "allowed: 1 to 4096" in ended.stderr


def test_an_emulated_board_settles_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    bundle = candidates_bundle(tmp_path / "made")
    described = runner.describe()
    monkeypatch.setattr(runner, "describe", lambda: {**described, "emulated": True})
    assert settle.settle(str(bundle), 0.1, False, None, False) == 4
    answer = settled(bundle)
    assert answer["verdict"] == "PROVISIONAL"
    assert answer["not_the_board"] == [settling.EMULATED]
