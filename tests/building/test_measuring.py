"""Outputs and accuracy of artifacts, on a made-up board."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgekit.building import measuring
from edgekit.building.measuring import Bench, Evaluator
from edgekit.devices import MeasureOptions
from edgekit.errors import StageError
from edgekit.store import Store
from edgekit.testing.fake_board import FakeBoardDevice
from edgekit.types import Artifact
from tests.building.parts import attempt, bench, count_entries, opened_cache, split_files


@pytest.fixture
def artifact(tmp_path: Path) -> Artifact:
    (tmp_path / "m.onnx").write_bytes(b"a network")
    return attempt(folder=tmp_path).artifact


def test_outputs_and_memory_come_from_one_run(tmp_path: Path, artifact: Artifact) -> None:
    samples = split_files(tmp_path)
    with opened_cache(tmp_path / "store") as cache:
        evaluator = Evaluator(cache, bench(tmp_path / "board"), None)
        assert evaluator.outputs(artifact, samples)["out"].shape == (12, 10)
        assert evaluator.peak_memory_bytes(artifact, samples) == 1_000_000
        assert count_entries(cache) == 1


def test_accuracy_is_paired_with_the_reference_on_the_split(tmp_path: Path, artifact: Artifact) -> None:
    samples = split_files(tmp_path)
    with opened_cache(tmp_path / "store") as cache:
        evaluator = Evaluator(cache, bench(tmp_path / "board"), None)
        accuracy = evaluator.accuracy(artifact, artifact, samples)
        unlabelled = replace(samples, files=replace(samples.files, labels=None))
        agreed = evaluator.accuracy(artifact, artifact, unlabelled)
    assert (accuracy.metric, accuracy.split, accuracy.value.value, accuracy.drop.value) == (
        "top1",
        "validation",
        1.0,
        0.0,
    )
    assert agreed.metric != "top1"


def test_a_file_that_a_metric_reads_when_it_is_called_counts_though_the_outputs_are_kept(
    tmp_path: Path, artifact: Artifact
) -> None:
    (tmp_path / "own.py").write_text(
        "from pathlib import Path\n"
        "import numpy as np\n"
        "def score(outputs, labels):\n"
        "    worth = float(Path(__file__).with_name('worth.txt').read_text())\n"
        "    return worth * (outputs['out'].argmax(1) == labels)\n"
    )
    samples, values = split_files(tmp_path), []
    with opened_cache(tmp_path / "store") as cache:
        for worth in ("1", "3"):
            (tmp_path / "worth.txt").write_text(worth)
            evaluator = Evaluator(cache, bench(tmp_path / f"board{worth}"), f"{tmp_path / 'own.py'}:score")
            values.append(evaluator.accuracy(artifact, artifact, samples).value.value)
        assert count_entries(cache) == 1
    assert values == [1.0, 3.0]


def test_an_artifact_that_fails_is_a_stage_error_and_not_kept(tmp_path: Path, artifact: Artifact) -> None:
    with opened_cache(tmp_path / "store") as cache:
        failing = bench(tmp_path / "board", failing=(artifact.candidate,))
        with pytest.raises(StageError, match="said to fail"):
            Evaluator(cache, failing, "top1").outputs(artifact, split_files(tmp_path))
        assert count_entries(cache) == 0


class BusyFakeBoard(FakeBoardDevice):
    """Others measure on it first, which it says more than once."""

    def run(self, job: Any, *, timeout_s: float, progress: Any = None) -> Any:
        for who in ("", "", "ann (edgekit 1)"):
            progress("wait", who, 0, 1)
        return super().run(job, timeout_s=timeout_s)


def test_that_others_measure_is_told_once_each(tmp_path: Path, artifact: Artifact) -> None:
    told: list[str] = []
    busy = replace(bench(tmp_path / "board"), device=BusyFakeBoard(tmp_path / "busy"))
    with opened_cache(tmp_path / "store") as cache:
        Evaluator(cache, busy, "top1", say=told.append).outputs(artifact, split_files(tmp_path))
    waiting = "waiting for another measurement on fake-board"
    assert told == [waiting, f"{waiting}: ann (edgekit 1)"]


def test_everything_that_a_measurement_depends_on_is_in_its_key(tmp_path: Path, artifact: Artifact) -> None:
    here, samples, options = bench(tmp_path / "board"), split_files(tmp_path), MeasureOptions()

    class OtherDevice(type(here.device)):  # type: ignore[misc]
        name = "another-board"

    benches = [
        here,
        replace(here, device=OtherDevice(tmp_path / "other")),
        *(replace(here, facts={**here.facts, name: "another"}) for name in measuring.CONDITIONS),
        *(replace(here, facts={**here.facts, "versions": {name: "another"}}) for name in measuring.RUNNING),
        replace(here, origin="host"),
    ]
    runs = [
        replace(options, threads=2),
        replace(options, cpus=(3,)),
        replace(options, seconds=1.0),
        replace(options, rounds=3),
        replace(options, warmup_s=0.1),
        replace(options, seed=1),
        replace(options, timeout_s=1.0),
    ]
    artifacts = [
        replace(artifact, backend="openvino"),
        replace(artifact, entry="other.onnx"),
        replace(artifact, options={"a": "b"}),
        replace(artifact, files=(replace(artifact.files[0], sha256="another"),)),
        replace(artifact, files=(replace(artifact.files[0], path="other.onnx"),)),
    ]
    parts = [
        *(other.key_parts([artifact], samples, options) for other in benches),
        *(here.key_parts([artifact], samples, run) for run in runs),
        *(here.key_parts([other], samples, options) for other in artifacts),
        here.key_parts([artifact, artifacts[0]], samples, options),
        here.key_parts([artifact], replace(samples, digest="of others"), options),
    ]
    with Store.open(tmp_path / "store") as store:
        keys = [store.key("outputs", part) for part in parts]
    assert len(set(keys)) == len(parts)


def test_a_package_that_measures_nothing_is_not_in_the_key(tmp_path: Path, artifact: Artifact) -> None:
    here, samples, options = bench(tmp_path / "board"), split_files(tmp_path), MeasureOptions()
    newer = replace(
        here, facts={**here.facts, "versions": {**here.facts["versions"], "torch": "9"}, "load_1m": 3}
    )
    assert newer.key_parts([artifact], samples, options) == here.key_parts([artifact], samples, options)


def test_where_an_artifact_lies_is_not_in_the_key(tmp_path: Path, artifact: Artifact) -> None:
    here, samples, options = bench(tmp_path / "board"), split_files(tmp_path), MeasureOptions()
    moved = replace(artifact, folder="/elsewhere", candidate="other")
    assert here.key_parts([moved], samples, options) == here.key_parts([artifact], samples, options)


def test_without_the_board_a_tensorrt_graph_runs_in_a_runtime_of_this_machine(
    tmp_path: Path, artifact: Artifact
) -> None:
    here: Bench = bench(tmp_path / "board")
    graph = replace(artifact, backend="tensorrt")
    assert here.runnable(graph).backend == "tensorrt"
    assert replace(here, origin="host").runnable(graph).backend == "onnxruntime"
