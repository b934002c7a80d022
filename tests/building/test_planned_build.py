"""Builds that follow plans, whole: a table by a formula stands in for a board's, and the loop corrects it."""

from __future__ import annotations

import json
import platform
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgekit.data import open_source
from edgekit.latency import save_table, units_of
from edgekit.model import export_onnx, load_module, locate
from edgekit.result import Result, load_result
from edgekit.types import BackendName, Preprocess
from tests.building.command import build_arguments, run
from tests.conftest import UserNetwork
from tests.planning.networks import formula_table

ARCHITECTURE = {"arm64": "aarch64", "AMD64": "x86_64"}.get(platform.machine(), platform.machine())


def fake_table(
    network: UserNetwork,
    folder: Path,
    runtime: BackendName = "onnxruntime",
    architecture: str = ARCHITECTURE,
) -> Path:
    """Of the network's layers in INT8; on no board."""
    example = open_source("digits", Preprocess(), folder).take(np.arange(1)).inputs
    path = folder / "network.onnx"
    export_onnx(load_module(locate(network.model, network.weights)), example, path)
    table = formula_table(units_of(path, runtime, "int8").units)
    place = replace(table.measured_on, arch=architecture, machine="no board", runtime=runtime)
    table = replace(table, measured_on=place)
    save_table(table, folder / "fake.json")
    return folder / "fake.json"


@pytest.fixture(scope="module")
def planned(digits_network: UserNetwork, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """The folder of a build that had to lose a third of its size, and its command."""
    work = tmp_path_factory.mktemp("planned")
    table = fake_table(digits_network, work)
    whole = run(build_arguments(digits_network, work, runtime="onnxruntime", out=str(work / "whole")))
    assert whole.returncode == 0, whole.stderr
    least = min(row.size_bytes for row in load_result(work / "whole" / "result.json").candidates)
    command = build_arguments(
        digits_network,
        work,
        runtime="onnxruntime",
        max_size=str(round(0.7 * least)),
        max_drop="8%",
        epochs="16",
        latency_table=str(table),
    )
    done = run(command)
    assert done.returncode == 0, done.stdout + done.stderr
    return work, command


def result_of(work: Path) -> Result:
    return load_result(work / "out" / "result.json")


def test_a_planned_network_is_trained_and_meets_the_budget(planned: tuple[Path, list[str]]) -> None:
    result = result_of(planned[0])
    assert result.verdict == "MEETS"
    winner = next(row for row in result.candidates if row.id == result.winner)
    network = next(row for row in result.variants if row.id == winner.variant)
    assert network.id.startswith("planned-")
    assert network.macs < result.variants[0].macs
    assert network.history[-1] == "planned"
    assert result.budget.max_size_bytes is not None
    assert winner.size_bytes <= result.budget.max_size_bytes


def test_every_plan_is_told_with_what_became_of_it(planned: tuple[Path, list[str]]) -> None:
    planning = result_of(planned[0]).planning
    assert planning is not None
    assert (planning.runtime, planning.precision, planning.origin) == ("onnxruntime", "int8", "device")
    assert planning.table.startswith("no board, onnxruntime")
    (trained,) = [plan for plan in planning.plans if plan.variant]
    assert all(plan.why for plan in planning.plans if not plan.variant)
    assert trained.latency_ms is not None
    assert trained.widths or trained.dropped
    assert trained.drop is not None
    assert trained.trained_ms is not None
    assert planning.reason.endswith(
        f"{trained.id} met the budget when it was looked at, and no other plan is predicted to be worth its training"
    )
    ranked = [plan for plan in planning.plans if plan.scores]
    assert len(ranked) != 1  # one alone needs no contest
    assert all(0 <= score <= 1 for plan in ranked for score in plan.scores)
    if ranked:
        assert len(trained.scores) == max(len(plan.scores) for plan in ranked)
        assert trained.scores[-1] == max(
            plan.scores[-1] for plan in ranked if len(plan.scores) == len(trained.scores)
        )


def test_a_rerun_takes_everything_from_the_store(planned: tuple[Path, list[str]]) -> None:
    work, command = planned
    first = result_of(work)
    done = run(command)
    assert done.returncode == 0, done.stderr
    assert result_of(work).planning == first.planning
    assert [row.digest for row in result_of(work).candidates] == [row.digest for row in first.candidates]


def test_the_schema_s_own_reader_reads_the_plans(planned: tuple[Path, list[str]]) -> None:
    raw = json.loads((planned[0] / "out" / "result.json").read_text(encoding="utf-8"))
    assert {plan["id"] for plan in raw["planning"]["plans"]} >= {"plan-1"}


@pytest.mark.slow
def test_for_a_board_that_is_not_here_the_table_s_own_times_count(
    digits_network: UserNetwork, tmp_path: Path
) -> None:
    table = fake_table(digits_network, tmp_path, "litert", "aarch64")
    command = build_arguments(
        digits_network,
        tmp_path,
        target="raspberry-pi-4",
        runtime="litert",
        precision="int8",
        max_size="24kB",
        max_drop="8%",
        epochs="2",
        latency_table=str(table),
    )
    done = run(command)
    assert done.returncode == 4, done.stdout + done.stderr
    planning = result_of(tmp_path).planning
    assert planning is not None
    assert planning.origin == "estimated"
    assert all(plan.latency_ms == pytest.approx(plan.predicted_ms) for plan in planning.plans)
    assert "measured times" not in planning.reason


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"latency_table": "absent.json"}, "absent.json cannot be read"),
        ({"latency_table": "net.py"}, "is no latency table"),
        ({"threads": "2"}, "the times in"),
        ({"target": "raspberry-pi-4"}, "machine, and raspberry-pi-4 is aarch64"),
    ],
)
def test_a_table_that_cannot_serve_is_one_line_before_any_work(
    digits_network: UserNetwork, tmp_path: Path, options: dict[str, str], told: str
) -> None:
    table = fake_table(digits_network, tmp_path)
    if options.get("latency_table") == "net.py":
        options = {"latency_table": digits_network.model.split(":")[0]}
    if ARCHITECTURE == "aarch64" and "target" in options:
        pytest.skip("this machine has that architecture")
    chosen = {"latency_table": str(table), **options}
    done = run(build_arguments(digits_network, tmp_path, **chosen), cwd=tmp_path)
    assert done.returncode == 2
    assert told in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert not (tmp_path / "out").exists()
