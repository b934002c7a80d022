"""A build and what settles on a board choose alike: the same measurements, through the real code of both sides."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest

from edgekit.board import choosing
from edgekit.board.intervals import percentiles
from edgekit.board.verdict import Figures, Limits, checks, decide
from edgekit.bundle import BUNDLE_SCHEMA, BoardIdentity, CandidateFacts, CandidatesManifest
from edgekit.bundle.manifest import encode_manifest
from edgekit.choose import Entry, choose
from edgekit.devices import measure
from edgekit.devices.base import JobProgress
from edgekit.measure import read_environment
from edgekit.types import (
    Accuracy,
    Artifact,
    Budget,
    Candidate,
    Choice,
    Energy,
    Estimate,
    Failure,
    Measurement,
    Origin,
    Percentile,
)

CASES = 3000
OK = (0.0, 0.01)
OFF = (0.5, 0.01)
TENSOR = {"name": "x", "dtype": "float32", "shape": [1, 2]}


class FakeBoard:
    """A device that answers with a result made up before."""

    name = "fake"
    origin: Origin = "device"

    def __init__(self, entries: Mapping[str, Any]) -> None:
        self.entries = entries

    def describe(self) -> Mapping[str, Any]:
        return {"machine": "m", "cpu": "c", "features": [], "cores": 1, "cpus": [0], "memory_bytes": 1, "os": "",
                "python": "", "versions": {}, "governor": "", "load_1m": 0.0}  # fmt: skip

    def push(self, files: Sequence[tuple[Path, str]]) -> None:
        """Nothing lies anywhere."""

    def pull(self, names: Sequence[str], folder: Path) -> tuple[Path, ...]:
        return ()

    def run(
        self, job: Mapping[str, Any], *, timeout_s: float, progress: JobProgress | None = None
    ) -> Mapping[str, Any]:
        silent: dict[str, Any] = {"temperature_c": {}, "clock_mhz": {}}
        return {"facts": self.describe(), "threads": 1, "cpus": [0], "notes": [], "entries": self.entries,
                "sensors": {"before": silent, "after": silent}, "order": []}  # fmt: skip


def some_rounds(chance: random.Random) -> list[list[float]]:
    """Coarse times, so that candidates tie and hit limits exactly; a single round now and then."""
    middle = chance.choice([2, 3, 4, 6])
    return [
        [(middle + chance.choice([0, 0, 0, 1, 2])) / 4 for _ in range(chance.randint(1, 4))]
        for _ in range(chance.randint(1, 5))
    ]


def some_entry(chance: random.Random) -> dict[str, Any]:
    if chance.random() < 0.08:
        return {"status": "failed", "stage": "load", "cause": "no kernel", "signal": None, "stderr": []}  # fmt: skip
    entry: dict[str, Any] = {
        "status": "ok", "signature": {"inputs": [TENSOR], "outputs": [TENSOR]}, "runtime_facts": {},
        "preemptions": 0, "import_ms": 1.0, "load_ms": 1.0, "warmup_runs": 3, "steady": True, "notes": [],
        "peak_memory_bytes": chance.choice([0, 1000, 2000, 2000]), "outputs": {}, "samples": 1,
    }  # fmt: skip
    if chance.random() < 0.5:
        entry["available_bytes"] = chance.choice([1500, 2500])
    if chance.random() < 0.8:
        value = chance.choice([1.0, 2.0, 3.0])
        row = {
            "value_mj": value,
            "low_mj": value - 0.5,
            "high_mj": value + 0.5,
            "idle_watts": 1.0,
            "source": "s",
        }
        entry["energy"] = chance.choice([row, row, {"reason": "no meter"}])
    if chance.random() < 0.9:
        entry["rounds_ms"] = some_rounds(chance)
    return entry


def some_facts(chance: random.Random, index: int) -> CandidateFacts:
    drop = chance.choice([math.nan, -0.005, 0.0, 0.0, 0.0025, 0.005, 0.01])
    half = chance.choice([0.0, 0.001, 0.0025, 0.005])
    return CandidateFacts(
        f"c{chance.randint(0, 9)}-{index}", "candidates/c", chance.choice(["original", "w"]), "onnxruntime",
        chance.choice(["fp32", "fp16", "bf16", "int8", "w8", "int8-dynamic"]), "", None, "top-1", 0.9, drop,
        chance.choice([1000, 1000, 2000, 3000]), drop - half, drop + half, drop + 2 * half,
    )  # fmt: skip


def some_budget(chance: random.Random, entries: Mapping[str, Any]) -> Budget:
    percentile: Percentile = chance.choice(get_args(Percentile))
    limits = [0.75, 1.0, 1.25, 1.5]
    for entry in entries.values():  # the high end of an interval itself
        if "rounds_ms" in entry:
            limits.append(percentiles(entry["rounds_ms"])[get_args(Percentile).index(percentile)].high)
    return Budget(
        max_latency_ms=chance.choice([None, *limits]),
        fastest=chance.random() < 0.4,
        percentile=percentile,
        max_drop=chance.choice([0.0, 0.0025, 0.005, 0.01]),
        max_size_bytes=chance.choice([None, None, 1000, 2000]),
        max_memory_bytes=chance.choice([None, None, 1000, 2000]),
        confidence=chance.choice([None, None, 0.99]),
        max_energy_mj=chance.choice([None, None, 2.5, 3.0]),
    )


def by_settling(
    facts: Sequence[CandidateFacts],
    entries: Mapping[str, Any],
    deviations: Mapping[str, tuple[float, float]],
    budget: Budget,
) -> tuple[str, str | None]:
    """On the board: from the manifest as it is written, and the job's entries."""
    manifest = CandidatesManifest(
        BUNDLE_SCHEMA, "candidates", "0", "", "t", BoardIdentity("x86_64"), budget, 1, tuple(facts), ()
    )
    _, decision = choosing.judge(json.loads(encode_manifest(manifest)), entries, deviations)
    return decision.verdict, decision.winner


def by_building(
    facts: Sequence[CandidateFacts],
    entries: Mapping[str, Any],
    deviations: Mapping[str, tuple[float, float]],
    budget: Budget,
    folder: Path,
) -> Choice:
    """In a build on that board: measured by `measure`, chosen by `choose`."""
    known = {candidate.id: candidate for candidate in facts}
    artifacts = [Artifact(name, "onnxruntime", str(folder), "m.onnx", (), 1, 0.0) for name in known]
    chosen_from, failures = [], []
    for name, result in measure(FakeBoard(entries), artifacts, folder=folder).items():
        if isinstance(result, Failure):
            failures.append(result)
            continue
        if deviations[name] == OFF:
            failures.append(Failure(name, "measure", "golden outputs do not match"))
            continue
        one = known[name]
        drop = Estimate(one.drop, one.drop_low or 0.0, one.drop_high or 0.0)
        accuracy = Accuracy(
            "top-1", "validation", 100, Estimate(0.9, 0.8, 1.0), drop, drop_bound=one.drop_bound
        )
        candidate = Candidate(name, known[name].variant, "onnxruntime", known[name].precision)
        measurement = replace(result.measurement, accuracy=accuracy)
        chosen_from.append(Entry(candidate, measurement, known[name].size_bytes))
    return choose(budget, chosen_from, failures=failures)


@pytest.mark.parametrize("seed", range(3))
def test_settling_and_building_choose_alike(seed: int, tmp_path: Path) -> None:
    chance = random.Random(seed)
    verdicts = []
    for case in range(CASES // 3):
        facts = [some_facts(chance, index) for index in range(chance.randint(0, 5))]
        entries = {candidate.id: some_entry(chance) for candidate in facts}
        deviations = {name: OFF if chance.random() < 0.05 else OK for name in entries}
        budget = some_budget(chance, entries)
        choice = by_building(facts, entries, deviations, budget, tmp_path)
        answer = by_settling(facts, entries, deviations, budget)
        assert answer == (choice.verdict, choice.winner), (case, budget, facts, entries)
        verdicts.append(choice.verdict)
    assert {verdicts.count(name) > 50 for name in ("MEETS", "MISSES", "INFEASIBLE")} == {True}


def figures(name: str, **changes: Any) -> Figures:
    return Figures(name, "v", "fp32", 1000, 1.0, 1.1, 0.0, 1000)._replace(**changes)


NO_LIMITS = Limits(None, False, None, None, None)


@pytest.mark.parametrize("missing", [None, math.nan, math.inf])
@pytest.mark.parametrize(
    ("quantity", "limit"),
    [
        ("latency_ms", NO_LIMITS._replace(max_latency_ms=2.0)),
        ("latency_high_ms", NO_LIMITS._replace(max_latency_ms=2.0)),
        ("latency_ms", NO_LIMITS._replace(fastest=True)),
        ("drop", NO_LIMITS._replace(max_drop=0.01)),
    ],
)
def test_what_was_not_measured_meets_no_limit(quantity: str, missing: float | None, limit: Limits) -> None:
    (check,) = checks(figures("a", **{quantity: missing}), limit)
    assert (check.value, check.excess) == (None, math.inf)
    assert decide([figures("a", **{quantity: missing})], limit).verdict == "INFEASIBLE"


def test_without_limits_the_unmeasured_comes_last_but_may_win() -> None:
    unmeasured = figures("a", latency_ms=None, latency_high_ms=None, drop=None)
    assert decide([unmeasured, figures("b")], NO_LIMITS).winner == "b"
    assert decide([unmeasured], NO_LIMITS).winner == "a"


def test_the_smaller_of_two_that_are_equal_otherwise_wins() -> None:
    assert decide([figures("a", size_bytes=2000), figures("b")], NO_LIMITS).winner == "b"


def test_a_float_build_that_misses_the_budget_is_no_rival() -> None:
    limit = NO_LIMITS._replace(max_size_bytes=2000)
    slower = figures("int8", precision="int8", latency_ms=2.0, drop=-0.01)
    assert decide([slower, figures("float", size_bytes=4000)], limit).winner == "int8"
    assert decide([slower, figures("float")], limit).winner == "float"


def test_an_energy_that_was_not_measured_meets_no_limit_and_is_never_zero() -> None:
    limit = NO_LIMITS._replace(max_energy_mj=5.0)
    for missing in (None, 0.0, math.nan, math.inf):
        assert decide([figures("a", energy_high_mj=missing)], limit).verdict == "INFEASIBLE"
    assert decide([figures("a", energy_high_mj=5.0)], limit).winner == "a"
    assert decide([figures("a", energy_high_mj=5.1)], limit).nearest == "a"


def test_memory_that_the_board_does_not_have_free_is_a_miss_where_memory_is_limited() -> None:
    limit = NO_LIMITS._replace(max_memory_bytes=5000)
    small = figures("a", available_bytes=999)
    assert [check.limit for check in checks(small, limit)] == ["memory", "free memory"]
    assert decide([small], limit).verdict == "MISSES"
    assert decide([small], NO_LIMITS).verdict == "MEETS"
    assert decide([figures("a", available_bytes=None)], limit).verdict == "MEETS"


@pytest.mark.parametrize("origin", ["host", "estimated"])
def test_another_machines_energy_and_free_memory_are_never_the_boards(origin: Origin) -> None:
    energy = Energy(Estimate(1.0, 0.9, 1.1), 2.0, "RAPL")
    environment = read_environment(FakeBoard({}).describe(), threads=1)
    measurement = Measurement("a", origin, environment, 1.0, 1000, energy=energy, available_bytes=1)
    entry = Entry(Candidate("a", "v", "onnxruntime", "fp32"), measurement, 1)
    assert entry.figures("p50").energy_high_mj is None
    assert entry.figures("p50").available_bytes is None
    onboard = replace(entry, measurement=replace(measurement, origin="device"))
    assert onboard.figures("p50").energy_high_mj == 1.1
