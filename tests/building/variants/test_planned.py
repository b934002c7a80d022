"""The maker of planned variants where nothing can be planned: it says why, and prunes by MACs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from edgekit.building.board import Board
from edgekit.building.layer_times import LayerTimes
from edgekit.building.variants import planned, way
from edgekit.building.variants.base import MakerContext
from edgekit.building.variants.planned import PlannedMaker
from edgekit.devices import LocalDevice
from edgekit.errors import StageError, UserError
from edgekit.hardware import Machine
from edgekit.latency import LatencyTable, MeasuredOn, save_table
from edgekit.progress import SilentReporter
from edgekit.types import Rejection
from tests.building.parts import attempt, budget, measurement
from tests.building.variants.contexts import maker_context


class FakePruned:
    """Stands for PrunedMaker: says that it was asked."""

    def why_not(self, context: MakerContext) -> Rejection | None:
        return None

    def make(self, context: MakerContext) -> Iterator[Rejection]:
        yield Rejection("pruning", "was asked")


@pytest.fixture
def context(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[MakerContext]:
    """With a table of ONNX Runtime's times that holds no layer."""
    place = MeasuredOn("there", "cpu", "x86_64", (), "onnxruntime", "1", 1)
    save_table(LatencyTable(place), tmp_path / "empty.json")
    monkeypatch.setattr(planned, "PrunedMaker", FakePruned)
    with maker_context(tmp_path / "store") as made:
        device = LocalDevice(tmp_path / "work")
        board = Board(made.target, Machine.from_facts(device.describe()), ())
        times = LayerTimes(tmp_path / "empty.json", device, board, 1, SilentReporter())
        yield replace(made, layer_times=times)


def reasons(context: MakerContext) -> list[str]:
    """Of the rejections; the last is that of the other maker."""
    made = list(PlannedMaker().make(context))
    assert all(isinstance(part, Rejection) for part in made)
    told = [part.reason for part in made if isinstance(part, Rejection)]
    assert told.pop() == "was asked"
    return told


def test_a_budget_without_a_latency_is_none_to_plan_for(context: MakerContext) -> None:
    request = replace(context.request, budget=budget(fastest=True, max_drop=0.02))
    (told,) = reasons(replace(context, request=request))
    assert told.startswith("plans are for a latency")
    assert told.endswith("the network is pruned by its MACs instead")


def test_a_table_of_a_runtime_that_does_not_lead_is_told_with_what_does(context: MakerContext) -> None:
    other = attempt("original-ov-int8")
    other = replace(other, candidate=replace(other.candidate, backend="openvino"))
    measured = {"original-ov-int8": measurement("original-ov-int8")}
    (told,) = reasons(replace(context, attempts=(other,), measurements=measured))
    assert "openvino int8" in told


def test_a_network_that_cannot_be_planned_is_pruned_all_the_same(
    context: MakerContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    for error in (StageError("prune", "it cannot be traced"), UserError("it cannot be traced")):

        def refuse(*given: object, error: Exception = error) -> None:
            raise error

        monkeypatch.setattr(way, "plan_basis", refuse)
        (told,) = reasons(context)
        assert told.startswith("it cannot be traced;")


def test_a_board_that_is_not_here_has_no_layers_to_time(context: MakerContext) -> None:
    times = context.layer_times
    assert times is not None
    absent = replace(times, given="auto", board=replace(times.board, absent=("it is elsewhere",)))
    (told,) = reasons(replace(context, layer_times=absent))
    assert "is not here" in told
