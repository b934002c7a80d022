"""Tasks: values that travel, know their key, and do their work."""

from __future__ import annotations

import pickle
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from edgekit.building.executor import InProcessExecutor
from edgekit.building.outcome.layer_losses import LayerLossTask
from edgekit.building.tasks import ExportTask, LintTask, MixedWholeTask, stream_samples
from edgekit.building.worker import ProcessExecutor
from edgekit.errors import StageError
from edgekit.hardware import find_target
from edgekit.quantize import PrecisionTimes, SwitchableUnit, find_recipe
from edgekit.store import Store
from edgekit.testing.onnx_networks import as_variant, residual_network, samples
from edgekit.types import Candidate, FileHash
from tests.compare.artifacts import onnx_artifact


@pytest.fixture
def export(tmp_path: Path) -> ExportTask:
    np.save(tmp_path / "x.npy", samples(16))
    return ExportTask(
        variant=as_variant(residual_network(tmp_path / "net.onnx")),
        candidate=Candidate("original-ort-int8", "original", "onnxruntime", "int8", "int8-minmax"),
        target=find_target("generic-cpu"),
        features=("avx2",),
        recipe=find_recipe("int8-minmax"),
        samples=(str(tmp_path / "x.npy"),),
        samples_digest="of the samples",
        threads=1,
        versions={"onnxruntime": "1"},
    )


@pytest.fixture
def lint(export: ExportTask) -> LintTask:
    return LintTask(export.variant, "openvino", export.target, {"openvino": "1"})


@pytest.fixture
def losses(tmp_path: Path, export: ExportTask) -> LayerLossTask:
    artifact = onnx_artifact(Path(export.variant.onnx_path))
    other = replace(artifact, options={"session.disable_quant_qdq": "1"})
    return LayerLossTask(
        artifact, other, export.samples, "of the samples", 1, "a CPU", ("avx2",), {"numpy": "2"}
    )


def travelled(task: Any) -> Any:
    return msgspec.json.decode(msgspec.json.encode(task), type=type(task))


@pytest.mark.parametrize("name", ["export", "lint", "losses", "mixed"])
def test_a_task_comes_back_from_json_and_pickle_as_it_was(name: str, request: pytest.FixtureRequest) -> None:
    task = request.getfixturevalue(name)
    assert travelled(task) == task
    assert pickle.loads(pickle.dumps(task)) == task  # noqa: S301 made by this very line
    assert travelled(task).key_parts() == task.key_parts()


@pytest.fixture
def mixed(export: ExportTask) -> MixedWholeTask:
    times = PrecisionTimes((SwitchableUnit(("stem",), 0.25),), (), 1.0, True, "a board")
    return MixedWholeTask(
        export.variant.onnx_path,
        export.variant.digest,
        "onnxruntime",
        export.target,
        ("avx2",),
        {"onnxruntime": "1"},
        times,
        0.25,
    )


def perturbed(task: ExportTask | LintTask | LayerLossTask | MixedWholeTask) -> dict[str, Any]:
    """Field → the task with another value there; a place is followed by its digest and left out."""
    target = find_target("intel-cpu")
    others: dict[str, Any] = {
        "target": target,
        "versions": {"another": "2"},
        "threads": 2,
        "features": ("neon",),
    }
    if isinstance(task, ExportTask | LintTask):
        others["variant"] = replace(task.variant, digest="another network")
    if isinstance(task, LintTask):
        others["backend"] = "litert"
    if isinstance(task, ExportTask):
        others |= {
            "candidate.backend": replace(task.candidate, backend="litert"),
            "candidate.precision": replace(task.candidate, precision="fp32"),
            "candidate.device": replace(task.candidate, device="dla"),
            "recipe": find_recipe("int8-mse"),
            "samples_digest": "of others",
            "times": PrecisionTimes((SwitchableUnit(("stem",), 0.25),), (), 1.0, True, "a board"),
        }
    if isinstance(task, MixedWholeTask):
        others |= {
            "digest": "another network",
            "backend": "litert",
            "times": replace(task.times, int8_ms=2.0),
            "float_time": 0.5,
        }
    if isinstance(task, LayerLossTask):
        changed = replace(task.before, files=(FileHash("model.onnx", "another", 1),))
        others |= {
            "before": changed,
            "after": replace(task.after, options={}),
            "inputs_digest": "of others",
            "cpu": "another CPU",
            "samples": 32,
            "layers": 5,
        }
    names = {field.name for field in fields(task)}
    return {
        name: replace(task, **{name.partition(".")[0]: value})
        for name, value in others.items()
        if name.partition(".")[0] in names
    }


PLACES = {"samples", "inputs", "store", "onnx_path"}
"""Fields that say where something lies: a digest beside them says what; `store` keeps intermediate results."""


@pytest.mark.parametrize("name", ["export", "lint", "losses", "mixed"])
def test_every_field_of_a_task_is_in_its_key(
    name: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    task = request.getfixturevalue(name)
    changed = perturbed(task)
    assert {name.partition(".")[0] for name in changed} >= {field.name for field in fields(task)} - PLACES
    with Store.open(tmp_path / "store") as store:
        keys = [store.key(task.stage, other.key_parts()) for other in (task, *changed.values())]
    assert len(set(keys)) == len(keys), [*changed]


@pytest.mark.parametrize("name", ["export", "lint", "losses"])
def test_where_a_task_s_files_lie_and_what_they_are_called_is_not_in_its_key(
    name: str, request: pytest.FixtureRequest
) -> None:
    task = request.getfixturevalue(name)
    moved = task
    if isinstance(task, LayerLossTask):
        moved = replace(task, before=replace(task.before, folder="/elsewhere", candidate="other"))
    else:
        moved = replace(task, variant=replace(task.variant, onnx_path="/elsewhere/net.onnx", id="other"))
    assert moved.key_parts() == task.key_parts()


def test_an_export_is_the_same_in_a_process_and_here(export: ExportTask, tmp_path: Path) -> None:
    made = []
    for executor in (ProcessExecutor(tmp_path / "log"), InProcessExecutor()):
        folder = tmp_path / type(executor).__name__
        folder.mkdir()
        made.append(executor.run(export, folder))
        executor.close()
        assert Path(made[-1].folder, made[-1].entry).exists()
    assert made[0].files == made[1].files


def test_a_runtime_s_lint_says_what_was_asked(lint: LintTask, tmp_path: Path) -> None:
    examination = InProcessExecutor().run(lint, tmp_path)
    assert examination.issues == ()
    assert "OpenVINO" in examination.done


def test_a_network_that_is_gone_is_a_stage_error(export: ExportTask, tmp_path: Path) -> None:
    gone = replace(export, variant=replace(export.variant, onnx_path=str(tmp_path / "gone")))
    with pytest.raises(StageError, match="gone"):
        InProcessExecutor().run(gone, tmp_path)


def test_calibration_samples_stream_in_batches_and_can_be_read_again(tmp_path: Path) -> None:
    rows = np.arange(70 * 3, dtype=np.float32).reshape(70, 3)
    np.save(tmp_path / "x.npy", rows)
    batches = stream_samples((str(tmp_path / "x.npy"),))
    for _ in range(2):
        read = [batch[0] for batch in batches()]
        assert max(map(len, read)) <= 32
        np.testing.assert_array_equal(np.concatenate(read), rows)
