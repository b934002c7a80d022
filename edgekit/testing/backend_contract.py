"""The suite that every backend passes. A plug-in's tests subclass `BackendContract`; pytest finds its tests there."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgekit.errors import StageError
from edgekit.files import sha256_file
from edgekit.hardware import find_target
from edgekit.testing.float_contract import FloatContract
from edgekit.testing.layer_times import layer_times
from edgekit.testing.onnx_networks import INPUT, OUTPUT, residual_network, samples
from edgekit.testing.plan_contract import PlanContract
from edgekit.types import Artifact

__all__ = ["BackendContract"]


class BackendContract(PlanContract, FloatContract):
    """Subclass it and say which backend and which recipe it has, and a target that has both.

    A backend whose runtime is not on this machine is run through `on_host`.
    """

    def test_it_names_the_versions_of_what_it_needs(self) -> None:
        versions = self.make_backend().versions()
        assert versions
        assert all(version[0].isdigit() for version in versions.values())

    def test_a_plain_network_has_no_forbidding_issue(self, tmp_path: Path) -> None:
        examination = self.make_backend().lint(self._variant(tmp_path), find_target(self.target))
        assert [issue for issue in examination.issues if issue.severity == "error"] == []
        assert examination.done

    def test_float_gives_what_onnx_gives(self, tmp_path: Path) -> None:
        artifact = self._export(tmp_path, "fp32")
        assert np.allclose(self._outputs(artifact), _reference(tmp_path), rtol=1e-3, atol=1e-4)

    def test_int8_stays_near_float(self, tmp_path: Path) -> None:
        right = _reference(tmp_path)
        wrong = self._outputs(self._export(tmp_path, "int8"))
        assert np.square(right - wrong).sum() < 0.01 * np.square(right).sum()

    def test_int8_runs_as_int8_and_float_as_float(self, tmp_path: Path) -> None:
        assert self._export(tmp_path, "fp32").audit.ran_as == "fp32"
        assert self._export(tmp_path, "int8").audit.ran_as == "int8"

    def test_the_artifact_lists_every_file_with_its_hash(self, tmp_path: Path) -> None:
        artifact = self._export(tmp_path, "int8")
        folder = Path(artifact.folder)
        assert folder.is_absolute()
        assert {file.path for file in artifact.files} == {path.name for path in folder.iterdir()}
        assert all(sha256_file(folder / file.path) == file.sha256 for file in artifact.files)
        assert artifact.size_bytes == sum(file.size_bytes for file in artifact.files)
        assert artifact.entry in {file.path for file in artifact.files}

    def test_the_artifact_is_plain_data(self, tmp_path: Path) -> None:
        import msgspec

        artifact = self._export(tmp_path, "int8")
        assert msgspec.json.decode(msgspec.json.encode(artifact), type=Artifact) == artifact
        assert asdict(artifact)["backend"] == self.make_backend().name

    def test_the_same_export_gives_the_same_bytes(self, tmp_path: Path) -> None:
        first, second = (self._export(tmp_path, "int8") for _ in range(2))
        assert first.files == second.files

    def test_an_int8_export_without_calibration_is_a_stage_error(self, tmp_path: Path) -> None:
        request = replace(self._request(tmp_path, "int8"), calibration=None)
        with pytest.raises(StageError):
            self.make_backend().export(request)

    def test_an_unknown_precision_is_a_stage_error(self, tmp_path: Path) -> None:
        with pytest.raises(StageError):
            self.make_backend().export(self._request(tmp_path, "fp4"))

    def test_opening_a_broken_file_is_a_stage_error(self, tmp_path: Path) -> None:
        artifact = self._export(tmp_path, "fp32")
        (Path(artifact.folder) / artifact.entry).write_bytes(b"not a model")
        with pytest.raises(StageError):
            self._open(artifact)

    def test_a_runtime_that_is_not_here_says_so(self, tmp_path: Path) -> None:
        backend, artifact = self.make_backend(), self._export(tmp_path, "fp32")
        if backend.on_host(artifact) == artifact:
            with backend.open(artifact) as session:
                assert session.run({INPUT: samples(1)}).keys() == {OUTPUT}
        else:
            with pytest.raises(StageError):
                backend.open(artifact)

    def test_a_profile_names_layers_with_times(self, tmp_path: Path) -> None:
        backend, artifact = self.make_backend(), self._export(tmp_path, "fp32")
        if backend.on_host(artifact) != artifact:
            with pytest.raises(StageError):
                layer_times(backend, artifact, {INPUT: samples(1)}, runs=3)
            return
        times = layer_times(backend, artifact, {INPUT: samples(1)}, runs=3)
        assert times
        assert all(layer.time_ms >= 0 and layer.name and layer.op for layer in times)


def _reference(tmp_path: Path) -> NDArray[Any]:
    """What ONNX's own reference evaluator computes."""
    from onnx.reference import ReferenceEvaluator

    path = tmp_path / "residual.onnx"
    evaluator = ReferenceEvaluator(str(path if path.exists() else residual_network(path)))
    return np.concatenate([evaluator.run(None, {INPUT: sample[None]})[0] for sample in samples(16, 5)])
