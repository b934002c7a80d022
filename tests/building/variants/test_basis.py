"""What plans are made from, kept in the store: a rerun traces and solves nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from edgekit.building.board import Board
from edgekit.building.cache import Cache
from edgekit.building.layer_times import TABLE_AUTO, LayerTimes
from edgekit.building.variants import basis as module
from edgekit.building.variants.basis import plan_basis, stored_solution
from edgekit.compress import PruneConfig
from edgekit.devices import LocalDevice
from edgekit.hardware import Machine, find_target
from edgekit.latency import LatencyTable, units_of
from edgekit.model import export_onnx
from edgekit.plan.solving import PlanLimits, solve
from edgekit.planning import Coupling, unchanged
from edgekit.progress import SilentReporter
from edgekit.types import Cost, Signature, Variant
from tests.building.parts import digit_splits, opened_cache
from tests.building.variants.contexts import given_model
from tests.building.variants.plans import real_basis
from tests.planning.networks import formula_table


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[Cache]:
    with opened_cache(tmp_path / "store") as opened:
        yield opened


def test_a_stored_solution_is_the_solution(
    cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    problem = real_basis(tmp_path).assembled.problem
    whole_ms = unchanged(problem).latency_ms
    limited = [replace(problem, limits=PlanLimits(latency_ms=share * whole_ms)) for share in (0.6, 0.8, 0.01)]
    first = [stored_solution(cache, part) for part in limited]
    assert first == [solve(part) for part in limited]
    assert [part.outcome for part in first] == ["FOUND", "FOUND", "INFEASIBLE"]
    monkeypatch.setattr(module, "solve", refuse)
    again = [stored_solution(cache, part) for part in limited]
    assert again == first
    assert [part.plan.choices for part in again] == [part.plan.choices for part in first]


def refuse(*_: object, **__: object) -> Any:
    raise AssertionError("it is in the store")


def test_what_a_network_lets_a_plan_choose_and_each_cut_are_found_once(
    cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, splits = given_model(), digit_splits()
    path = tmp_path / "network.onnx"
    export_onnx(model.load(), (np.zeros((1, 1, 8, 8), np.float32),), path)
    original = Variant("original", "original", None, "", str(path), "", Signature((), ()), Cost(1, 1, 1, 1))
    config = PruneConfig(importance="magnitude", round_to=8)

    def made() -> Any:
        return plan_basis(
            cache, SilentReporter(), model, splits.validation.source, splits, original,
            formula_table(units_of(path, "onnxruntime", "int8").units), "int8", config, PlanLimits(latency_ms=1.0),
        )  # fmt: skip

    first = made()
    problem = first.assembled.problem
    allocation = first.solve(
        replace(problem, limits=PlanLimits(latency_ms=0.9 * unchanged(problem).latency_ms))
    ).plan
    plan = first.pruning(allocation)
    assert plan.changes
    monkeypatch.setattr(module, "coupled", refuse)
    monkeypatch.setattr(module, "PlanCutter", refuse)
    monkeypatch.setattr(type(model), "load", refuse)
    again = made()
    assert again.coupling == first.coupling
    assert msgspec.convert(msgspec.to_builtins(first.coupling), Coupling) == first.coupling
    assert again.assembled.problem == problem
    assert again.pruning(allocation) == plan


def test_a_network_is_planned_by_the_table_that_it_was_planned_by(
    cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "network.onnx"
    export_onnx(given_model().load(), (np.zeros((1, 1, 8, 8), np.float32),), path)
    device = LocalDevice(tmp_path / "work")
    board = Board(find_target("generic-cpu"), Machine.from_facts(device.describe()), ())
    times = LayerTimes(TABLE_AUTO, device, board, 1, SilentReporter(), cache=cache)
    measured: list[LatencyTable] = []
    table = formula_table(units_of(path, "onnxruntime", "int8").units)

    def measure(self: LayerTimes, place: Any, adding: Any) -> LatencyTable:
        measured.append(replace(table, measured_on=place, timed=table.timed[len(measured) :]))
        return measured[-1]

    monkeypatch.setattr(LayerTimes, "_measured", measure)
    first = times.table_for(path, "onnxruntime", "int8")
    assert times.table_for(path, "onnxruntime", "int8") == first
    assert set(first.timed) == set(measured[0].timed)
    assert set(times.table_for(path, "onnxruntime", "fp32").timed) == set(measured[1].timed)
    assert len(measured) == 2
