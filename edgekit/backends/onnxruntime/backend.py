"""ONNX Runtime on CPUs: float as is, static INT8 in Q/DQ form, and linear layers with smaller weights."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.backends.artifact import installed_versions, written_artifact
from edgekit.backends.repaired import on_repaired
from edgekit.errors import MissingExtraError, StageError, in_one_line
from edgekit.precisions import PRECISIONS
from edgekit.types import Artifact, Audit, BackendName, Examination, LayerPart, LayerRow, LayerTime, Variant

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgekit.backends.base import ExportRequest, Session
    from edgekit.hardware import Target
    from edgekit.quantize import QuantPlan, Scheme

__all__ = ["OnnxRuntimeBackend"]

ENTRY = "model.onnx"
REFUSED = {
    "fp16": ("its CPU kernels compute float16 by way of float32", "keep fp32, or use int8"),
    "bf16": ("it has no bfloat16 kernels for CPUs", "use OpenVINO on CPUs with AVX512-BF16 or AMX"),
}
"""Precision → why this backend does not make it, and what to do instead."""

AS_ON: Mapping[str, Mapping[str, str]] = {
    "aarch64": {"session.qdqisint8allowed": "1"},
    "x86_64": {"session.qdqisint8allowed": "0"},
}
"""A target's architecture → options with which a session fuses Q/DQ as it does there by default: convolutions of int8
activations become integer ones on Arm alone (QDQIsInt8Allowed in core/optimizer/qdq_transformer; seen in 1.31)."""


def _integers(request: ExportRequest) -> Scheme:
    """Those that an INT8 request is quantized to."""
    from edgekit.backends.onnxruntime.plan import integers_of

    assert request.recipe is not None
    return integers_of(request.target.int8_rule(request.features), request.recipe)


class OnnxRuntimeBackend:
    """See `edgekit.backends.base.Backend`."""

    @property
    def name(self) -> BackendName:
        return "onnxruntime"

    @property
    def extra(self) -> str:
        return "onnxruntime"

    def versions(self) -> dict[str, str]:
        return installed_versions(self.extra, ("onnxruntime", "onnx"))

    def lint(self, variant: Variant, target: Target) -> Examination:
        from edgekit.backends.onnxruntime.lint import lint

        return Examination(lint(Path(variant.onnx_path), target), "rules")

    @on_repaired(_integers)
    def plan(self, request: ExportRequest) -> QuantPlan:
        from edgekit.backends.onnxruntime.plan import OnnxRuntimePlanner
        from edgekit.quantize import make_plan

        network, rule = Path(request.variant.onnx_path), request.target.int8_rule(request.features)
        return make_plan(
            OnnxRuntimePlanner(network, rule, self.versions()),
            network,
            request.recipe,
            request.calibration,
            memo=request.memo,
            threads=request.threads,
            times=request.times,
        )

    @on_repaired(_integers)
    def export(self, request: ExportRequest) -> Artifact:
        from edgekit.backends.onnxruntime.export import Exported, export_float, export_int8
        from edgekit.backends.onnxruntime.weights import export_dynamic, export_weight_only

        versions = self.versions()
        started = time.perf_counter()
        precision = request.candidate.precision
        network, path = Path(request.variant.onnx_path), request.folder / ENTRY
        for issue in self.lint(request.variant, request.target).issues:
            if issue.severity == "error":
                raise StageError(
                    "export",
                    f"{issue.reason} (node {issue.node})" if issue.node else issue.reason,
                    issue.remedy,
                )
        plan = None
        if precision == "fp32":
            made = export_float(network, path)
        elif precision == "int8":
            plan = self.plan(request)
            made = export_int8(plan, network, path, request.target.int8_rule(request.features).why)
        elif PRECISIONS[precision].is_weight_only:
            made = Exported(notes=export_weight_only(network, path, PRECISIONS[precision].weight_bits))
        elif precision == "int8-dynamic":
            made = Exported(notes=export_dynamic(network, path, request.target.int8_rule(request.features)))
        else:
            cause, remedy = REFUSED.get(precision, ("it does not know this precision", "use fp32 or int8"))
            raise StageError("export", f"ONNX Runtime makes no {precision} candidate: {cause}", remedy)
        built = written_artifact(
            request, self.name, (ENTRY,), versions=versions, started=started, options=made.options, plan=plan
        )
        audit = _audit(built, request.threads, AS_ON[request.target.architecture])
        return replace(built, audit=replace(audit, notes=(*made.notes, *audit.notes)))

    def open(self, artifact: Artifact, threads: int = 1) -> Session:
        session: Session = _open(artifact, artifact.options, threads)
        return session

    def on_host(self, artifact: Artifact) -> Artifact:
        return artifact

    def audit(self, artifact: Artifact, threads: int = 1) -> Audit:
        return _audit(artifact, threads, {})

    def layer_parts(
        self, artifact: Artifact, feeds: Mapping[str, NDArray[Any]], folder: Path
    ) -> tuple[LayerPart, ...]:
        return ()

    def read_layers(self, artifact: Artifact, rows: Sequence[LayerRow]) -> tuple[LayerTime, ...]:
        from edgekit.backends.onnxruntime.audit import read_layers

        return read_layers(Path(artifact.folder) / artifact.entry, rows)


def _audit(artifact: Artifact, threads: int, as_on: Mapping[str, str]) -> Audit:
    from edgekit.backends.onnxruntime.audit import audit

    path = Path(artifact.folder) / artifact.entry
    return audit(lambda options: _open(artifact, {**artifact.options, **as_on, **options}, threads), path)


def _open(artifact: Artifact, options: Mapping[str, str], threads: int) -> Any:
    """The runner's own session. Raises StageError when ONNX Runtime refuses the file."""
    try:
        import onnxruntime as ort
    except ImportError as error:
        raise MissingExtraError("onnxruntime", "onnxruntime") from error
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    from edgekit.board.sessions.opening import open_session

    ort.set_default_logger_severity(4)  # its warnings go to stderr past Python's
    refusals = (state.Fail, state.InvalidArgument, state.InvalidGraph, state.InvalidProtobuf, state.NoSuchFile,
                state.NotImplemented, state.RuntimeException)  # fmt: skip
    path = str(Path(artifact.folder) / artifact.entry)
    try:
        return open_session("onnxruntime", path, dict(options), threads)
    except refusals as error:
        raise StageError("open", f"ONNX Runtime refuses {artifact.entry}: {in_one_line(error)}") from error
