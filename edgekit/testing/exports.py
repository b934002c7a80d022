"""Exports of a small network through a backend, for the suites that every backend passes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgekit.backends import get_backend
from edgekit.backends.base import Backend, ExportRequest, Session
from edgekit.graph import CalibrationData
from edgekit.hardware import find_target
from edgekit.quantize import Recipe, find_recipe
from edgekit.testing.onnx_networks import INPUT, OUTPUT, as_variant, residual_network, samples
from edgekit.types import Artifact, Candidate, Precision, Variant

__all__ = ["Exports"]

FEATURES = frozenset({"avx2", "fma"})


class Exports:
    """`recipe` is an INT8 recipe that the backend has, `target` a board that has both."""

    recipe = ""
    target = "generic-cpu"

    def make_backend(self) -> Backend:
        raise NotImplementedError

    def _variant(self, tmp_path: Path) -> Variant:
        path = tmp_path / "residual.onnx"
        return as_variant(path if path.exists() else residual_network(path))

    def _request(
        self, tmp_path: Path, precision: Precision = "int8", recipe: Recipe | None = None
    ) -> ExportRequest:
        folder = tmp_path / f"{precision}-{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        backend = self.make_backend()
        calibrated = precision == "int8"
        recipe = (recipe or find_recipe(self.recipe)) if calibrated else None
        candidate = Candidate("x", "original", backend.name, precision, self.recipe if calibrated else "")
        data = CalibrationData(lambda: iter([(samples(40),), (samples(24, 4),)]), 64, "digest")
        return ExportRequest(
            self._variant(tmp_path), candidate, find_target(self.target), FEATURES, folder, recipe, data
        )

    def _export(
        self, tmp_path: Path, precision: Precision = "int8", recipe: Recipe | None = None
    ) -> Artifact:
        return self.make_backend().export(self._request(tmp_path, precision, recipe))

    def _open(self, artifact: Artifact) -> Session:
        host = self.make_backend().on_host(artifact)
        return get_backend(host.backend).open(host)

    def _outputs(self, artifact: Artifact) -> NDArray[np.generic]:
        with self._open(artifact) as session:
            return np.concatenate([session.run({INPUT: sample[None]})[OUTPUT] for sample in samples(16, 5)])
