"""A made-up runtime that numpy is: one dense layer, in float or with int8 weights. And its row of the table."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit.backends.artifact import installed_versions, written_artifact
from edgekit.errors import StageError
from edgekit.runtimes import Installation, RuntimeRow
from edgekit.testing.fake_board import FakeBoardDevice
from edgekit.types import (
    Artifact,
    Audit,
    BackendName,
    Examination,
    Issue,
    LayerAudit,
    LayerPart,
    LayerRow,
    LayerTime,
    Variant,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgekit.backends.base import ExportRequest
    from edgekit.hardware import Target

    Arrays = Mapping[str, NDArray[Any]]

__all__ = ["FAKE_RUNTIME", "FakeRuntimeBackend", "FakeRuntimeSession", "make_board"]

NAME: BackendName = "fake-runtime"
ENTRY = "model.npz"

FAKE_RUNTIME = RuntimeRow(
    name=NAME,
    short="fake",
    title="Fake Runtime",
    package="numpy",
    backend=("edgekit.testing.fake_runtime", "FakeRuntimeBackend"),
    installations=(
        Installation("fake-runtime", "fake-runtime", (("numpy", "numpy"),), 'print("multiplies matrices")'),
    ),
    int8_recipe="fake-int8",
    colour="#CC79A7",
)


class FakeRuntimeSession:
    """`model.npz`, loaded: input [N, ...] → flat, times `weight` [features, classes], times `scale`, plus `bias`."""

    def __init__(self, path: Path) -> None:
        """Raises StageError for a file that is no artifact."""
        try:
            with np.load(path, allow_pickle=False) as stored:
                self._stored = dict(stored)
        except (OSError, ValueError) as problem:
            raise StageError("open", f"Fake Runtime refuses {path.name}: {problem}") from problem

    def __enter__(self) -> FakeRuntimeSession:
        return self

    def __exit__(self, *exc: object) -> None:
        self._stored = {}

    @property
    def signature(self) -> Mapping[str, Any]:
        features, classes = self._stored["weight"].shape
        ports = {"inputs": ("input", features), "outputs": ("output", classes)}
        return {
            side: [{"name": str(self._stored[key]), "dtype": "float32", "shape": [1, size]}]
            for side, (key, size) in ports.items()
        }

    def run(self, feeds: Arrays) -> dict[str, NDArray[np.generic]]:
        stored = self._stored
        flat = feeds[str(stored["input"])].reshape(1, -1)
        scores = flat @ stored["weight"].astype(np.float32) * stored["scale"] + stored["bias"]
        return {str(stored["output"]): scores.astype(np.float32)}


class FakeRuntimeBackend:
    """See `edgekit.backends.base.Backend`. Takes networks of Flatten and one Gemm with its weights as [out, in]."""

    @property
    def name(self) -> BackendName:
        return NAME

    @property
    def extra(self) -> str:
        return FAKE_RUNTIME.extra

    def versions(self) -> dict[str, str]:
        return installed_versions(self.extra, ("numpy",))

    def lint(self, variant: Variant, target: Target) -> Examination:
        import onnx

        issues = [
            Issue("error", node.name, f"Fake Runtime has no {node.op_type}")
            for node in onnx.load(variant.onnx_path).graph.node
            if node.op_type not in ("Flatten", "Gemm")
        ]
        return Examination(tuple(issues), "rules")

    def export(self, request: ExportRequest) -> Artifact:
        """Write model.npz. Raises StageError for a precision other than fp32 and int8, and for int8 without samples."""
        import onnx
        from onnx import numpy_helper

        started = time.perf_counter()
        precision = request.candidate.precision
        if precision not in ("fp32", "int8"):
            raise StageError("export", f"Fake Runtime has no {precision}", "it has fp32, int8")
        if precision == "int8" and (request.recipe is None or request.calibration is None):
            raise StageError("export", "int8 needs a recipe and calibration samples")
        graph = onnx.load(request.variant.onnx_path).graph
        arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
        gemm = next(node for node in graph.node if node.op_type == "Gemm")
        weight, scale = arrays[gemm.input[1]].T, np.ones(1, np.float32)
        if precision == "int8":
            scale = np.maximum(np.abs(weight).max(axis=0), 1e-12).astype(np.float32) / 127
            weight = np.rint(weight / scale).astype(np.int8)
        np.savez(
            request.folder / ENTRY,
            weight=weight,
            scale=scale,
            bias=arrays[gemm.input[2]],
            input=graph.input[0].name,
            output=graph.output[0].name,
        )
        audit = Audit(precision, (LayerAudit(gemm.name, "Gemm", precision),))
        built = written_artifact(request, NAME, (ENTRY,), versions=self.versions(), started=started)
        return Artifact(**{**vars(built), "audit": audit})

    def open(self, artifact: Artifact, threads: int = 1) -> FakeRuntimeSession:
        return FakeRuntimeSession(Path(artifact.folder) / artifact.entry)

    def on_host(self, artifact: Artifact) -> Artifact:
        return artifact

    def audit(self, artifact: Artifact, threads: int = 1) -> Audit:
        return artifact.audit

    def layer_parts(self, artifact: Artifact, feeds: Arrays, folder: Path) -> tuple[LayerPart, ...]:
        return ()

    def read_layers(self, artifact: Artifact, rows: Sequence[LayerRow]) -> tuple[LayerTime, ...]:
        return tuple(LayerTime(row.name, row.op, "", row.mean_ms) for row in rows)


def make_board(work: Path) -> FakeBoardDevice:
    """A board that has this runtime alone and runs its artifacts."""
    return FakeBoardDevice(
        work, runtimes=(NAME,), answer=lambda path, feeds: FakeRuntimeSession(path).run(feeds)
    )
