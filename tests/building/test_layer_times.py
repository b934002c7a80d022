"""Times of layers in both precisions, as a build asks for them, and what it does without."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from edgekit.building.board import Board
from edgekit.building.candidates.exporting import Exporter
from edgekit.building.layer_times import TABLE_AUTO, Exporting, LayerTimes
from edgekit.building.samples import SampleStore
from edgekit.building.tasks import ExportTask
from edgekit.devices import LocalDevice
from edgekit.hardware import Machine, find_target
from edgekit.latency import LatencyTable, MeasuredOn, TimedUnit, save_table
from edgekit.latency.precisions import precision_graph
from edgekit.progress import SilentReporter
from edgekit.quantize import PrecisionTimes
from edgekit.testing.building_fakes import FakeExecutor
from edgekit.testing.onnx_networks import as_variant, residual_network
from edgekit.types import BackendName, Candidate, Estimate, TensorSpec, Variant
from tests.building.parts import digit_splits, opened_cache

pytest.importorskip("onnx")


class RecordingReporter(SilentReporter):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, line: str) -> None:
        self.said.append(line)


@pytest.fixture
def variant(tmp_path: Path) -> Variant:
    return as_variant(residual_network(tmp_path / "net.onnx"))


def table(path: Path, variant: Variant, *, float_ms: float = 2.0, transitions: bool = True) -> Path:
    """A file of ONNX Runtime's times: every layer takes 1 ms in int8, a transition a tenth."""
    rows = []
    for unit in precision_graph(Path(variant.onnx_path), "onnxruntime").wanted():
        if unit.family.kind != "transition":
            value = float_ms if unit.family.precision == "fp32" else 1.0
        elif transitions:
            value = 0.1
        else:
            continue
        rows.append(TimedUnit(unit, Estimate(value, value, value)))
    place = MeasuredOn("here", "a CPU", "x86_64", (), "onnxruntime", "1", 1)
    save_table(LatencyTable(place, tuple(rows)), path)
    return path


def layer_times(given: Path | str, tmp_path: Path, said: RecordingReporter) -> LayerTimes:
    device, target = LocalDevice(tmp_path / "work"), find_target("generic-cpu")
    return LayerTimes(given, device, Board(target, Machine.from_facts(device.describe()), ()), 1, said)


def test_a_file_tells_the_times_of_its_own_runtime_alone(variant: Variant, tmp_path: Path) -> None:
    said = RecordingReporter()
    times = layer_times(table(tmp_path / "t.json", variant), tmp_path, said)
    told = times.precision_times(variant, "onnxruntime")
    assert told is not None
    assert [unit.extra_ms for unit in told.units][:6] == [1.0] * 6
    assert times.precision_times(variant, "litert") is None
    assert said.said == []


def test_a_file_without_transitions_leaves_the_choice_to_accuracy_and_says_so_once(
    variant: Variant, tmp_path: Path
) -> None:
    said = RecordingReporter()
    times = layer_times(table(tmp_path / "t.json", variant, transitions=False), tmp_path, said)
    for _ in range(2):
        assert times.precision_times(variant, "onnxruntime") is None
    (line,) = said.said
    assert "chosen by accuracy alone" in line
    assert "edgekit latency measure --mixed" in line


def test_layers_of_an_absent_board_are_not_timed(variant: Variant, tmp_path: Path) -> None:
    said = RecordingReporter()
    times = layer_times(TABLE_AUTO, tmp_path, said)
    absent = replace(times, board=replace(times.board, absent=("it is elsewhere",)))
    assert absent.precision_times(variant, "onnxruntime") is None
    assert "is not here" in said.said[0]


def test_times_are_corrected_by_whole_networks_once(variant: Variant, tmp_path: Path) -> None:
    said, executor = RecordingReporter(), FakeExecutor()
    path = Path(variant.onnx_path)
    file = layer_times(table(tmp_path / "t.json", variant, float_ms=1.1), tmp_path, said)
    told = file.precision_times(variant, "onnxruntime")
    assert told is not None
    with opened_cache(tmp_path / "store") as cache:
        auto = replace(file, exporting=Exporting(executor, {}), cache=cache)
        assert auto.exporting is not None
        corrected = [auto._corrected(path, "onnxruntime", told, auto.exporting, cache) for _ in range(2)]
    assert said.said == []
    assert corrected[0] == corrected[1]
    assert "corrected by" in corrected[0].measured_on
    assert corrected[0].int8_ms < told.int8_ms / 2, "which is six made-up milliseconds"
    assert executor.stages == ["mixed-whole"] * 7


def test_times_that_no_whole_network_corrects_stay_as_they_are_and_this_is_said(
    variant: Variant, tmp_path: Path
) -> None:
    """Where float takes a hundred times as long no share of the time pays for it."""
    said = RecordingReporter()
    file = layer_times(table(tmp_path / "t.json", variant, float_ms=100.0), tmp_path, said)
    told = file.precision_times(variant, "onnxruntime")
    assert told is not None
    with opened_cache(tmp_path / "store") as cache:
        exporting = Exporting(FakeExecutor(), {})
        assert file._corrected(Path(variant.onnx_path), "onnxruntime", told, exporting, cache) == told
    assert len(said.said) == 1
    assert "not corrected by whole networks: 0 different networks" in said.said[0]


def exported(tmp_path: Path, variant: Variant, recipe: str, backend: BackendName, times: LayerTimes) -> Any:
    """The task of an export."""
    inputs = (TensorSpec("pixels", "float32", (1, 1, 8, 8)),)  # as the samples are
    variant = replace(variant, signature=replace(variant.signature, inputs=inputs))
    with opened_cache(tmp_path / "store") as cache:
        exporter = Exporter(
            cache=cache,
            executor=FakeExecutor(),
            samples=SampleStore(cache),
            calibration=digit_splits().calibration,
            target=find_target("generic-cpu"),
            features=frozenset(),
            threads=1,
            versions={},
            project=tmp_path,
            layer_times=times,
        )
        return exporter._task(variant, Candidate("x", "original", backend, "int8", recipe))


def key(task: ExportTask) -> bytes:
    return msgspec.json.encode(task.key_parts(), order="sorted")


def test_an_artifact_hangs_on_the_times_that_its_recipe_chooses_by(variant: Variant, tmp_path: Path) -> None:
    said = RecordingReporter()
    slow, fast = (
        layer_times(table(tmp_path / f"{ms}.json", variant, float_ms=ms), tmp_path, said) for ms in (2.0, 1.5)
    )
    mixed = [exported(tmp_path, variant, "int8-mixed", "onnxruntime", times) for times in (slow, fast, slow)]
    assert all(isinstance(task.times, PrecisionTimes) for task in mixed)
    assert key(mixed[0]) == key(mixed[2]) != key(mixed[1])
    plain = [exported(tmp_path, variant, "int8-mse", "onnxruntime", times) for times in (slow, fast)]
    assert key(plain[0]) == key(plain[1])
    assert plain[0].times is None
