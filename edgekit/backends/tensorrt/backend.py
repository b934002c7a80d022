"""TensorRT, on Jetsons and RTX GPUs: `tensorrt` and `tensorrt_rtx` behind one seam.

What is made here is an ONNX network and the recipe of its engine; the engine is built where it runs
(board/tensorrt/). Without a GPU the same graph runs in ONNX Runtime (`on_host`), which gives its accuracy.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.backends.artifact import described_files, installed_versions, written_artifact
from edgekit.backends.repaired import on_repaired
from edgekit.errors import StageError
from edgekit.types import (
    Artifact,
    Audit,
    BackendName,
    Examination,
    LayerAudit,
    LayerPart,
    LayerRow,
    LayerTime,
    Variant,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgekit.backends.base import ExportRequest, Session
    from edgekit.hardware import Target
    from edgekit.quantize import QuantPlan, Scheme

__all__ = ["TensorRtBackend"]

AS_WRITTEN = {
    # Q/DQ pairs are computed one by one, in float32: fused integer kernels saturate on CPUs without VNNI, and
    # TensorRT's do not. (onnxruntime_session_options_config_keys.h)
    "session.disable_quant_qdq": "1",
    # Else float layers behind DequantizeLinear are quantized, which TensorRT does not do.
    "optimization.disable_specified_optimizers": "WeightBiasQuantization",
}
"""Session options under which ONNX Runtime computes what the graph says."""

NEEDED = ("onnx", "onnxruntime")
OPTIONAL = ("tensorrt", "tensorrt_rtx_cu13", "tensorrt_rtx")


def _integers(request: ExportRequest) -> Scheme:
    """Those that an INT8 request is quantized to."""
    from edgekit.backends.tensorrt.plan import integers_of

    assert request.recipe is not None
    return integers_of(request.recipe)


class TensorRtBackend:
    """See `edgekit.backends.base.Backend`."""

    @property
    def name(self) -> BackendName:
        return "tensorrt"

    @property
    def extra(self) -> str:
        return "tensorrt"

    def versions(self) -> dict[str, str]:
        return installed_versions(self.extra, NEEDED, OPTIONAL)

    def lint(self, variant: Variant, target: Target) -> Examination:
        from edgekit.backends.tensorrt.lint import examine

        return examine(Path(variant.onnx_path), target)

    @on_repaired(_integers)
    def plan(self, request: ExportRequest) -> QuantPlan:
        from edgekit.backends.tensorrt.build_recipe import toolkit
        from edgekit.backends.tensorrt.export import refuse
        from edgekit.backends.tensorrt.plan import TensorRtPlanner
        from edgekit.quantize import make_plan

        refuse(request)
        network = Path(request.variant.onnx_path)
        return make_plan(
            TensorRtPlanner(network, toolkit(request.target)),
            network,
            request.recipe,
            request.calibration,
            memo=request.memo,
            threads=request.threads,
            times=request.times,
        )

    @on_repaired(_integers)
    def export(self, request: ExportRequest) -> Artifact:
        from edgekit.backends.tensorrt.export import ENTRY, write_files

        versions = self.versions()
        started = time.perf_counter()
        plan = self.plan(request) if request.candidate.precision == "int8" else None
        written = write_files(request, plan)
        built = written_artifact(
            request, self.name, written.files, versions=versions, started=started, plan=plan
        )
        audit = self.audit(built, request.threads)
        checked = _check(request, request.folder / ENTRY)
        return replace(
            built,
            build_s=time.perf_counter() - started,
            audit=replace(audit, notes=(*written.notes, *checked, *audit.notes)),
        )

    def open(self, artifact: Artifact, threads: int = 1) -> Session:
        """Build the engine if none fits, and load it. Raises StageError where there is no NVIDIA GPU."""
        from edgekit.board.sessions.opening import open_session
        from edgekit.board.tensorrt.cuda import gpu

        if gpu() is None:
            raise StageError(
                "open",
                "there is no NVIDIA GPU here, so no TensorRT engine can run",
                "measure on the board; accuracy can be had here from the same graph in ONNX Runtime",
            )
        path = str(Path(artifact.folder) / artifact.entry)
        try:
            session: Session = open_session("tensorrt", path, dict(artifact.options), threads)
        except ImportError as error:
            raise StageError("open", str(error)) from error
        except RuntimeError as error:
            raise StageError("open", f"TensorRT: {error}") from error
        return session

    def on_host(self, artifact: Artifact) -> Artifact:
        """The artifact itself on a machine that it is for, else its graph in ONNX Runtime, as written: Q/DQ in
        float32, float16 rounded as stored."""
        from edgekit.backends.tensorrt.export import HOST

        if _fits_here(Path(artifact.folder) / artifact.entry):
            return artifact

        folder = Path(artifact.folder)
        entry = Path(artifact.entry).with_name(HOST).as_posix()
        if not (folder / entry).is_file():
            entry = artifact.entry
        files = described_files(folder, (entry,)) if (folder / entry).is_file() else ()
        return replace(artifact, backend="onnxruntime", entry=entry, files=files, options=dict(AS_WRITTEN))

    def audit(self, artifact: Artifact, threads: int = 1) -> Audit:
        """By the graph: what TensorRT makes of it is known on the board only."""
        import onnx

        from edgekit.backends.tensorrt.export import HOST, RECIPE
        from edgekit.board.tensorrt.record import read_recipe
        from edgekit.graph.layers import WEIGHTED
        from edgekit.graph.wiring import coverage

        place = (Path(artifact.folder) / artifact.entry).parent
        precision = read_recipe(str(place / RECIPE))["precision"]
        path = (
            place / HOST
            if precision == "int8" and (place / HOST).is_file()
            else place / Path(artifact.entry).name
        )
        model = onnx.load(str(path))
        counted = coverage(model)
        rest = "fp32" if precision == "int8" else precision
        layers = tuple(
            LayerAudit(node.name, node.op_type, "int8" if node.name in counted.quantized else rest)
            for node in model.graph.node
            if node.op_type in WEIGHTED
        )
        in_int8 = sum(layer.precision == "int8" for layer in layers)
        ran_as = "int8" if 2 * in_int8 > len(layers) else rest
        return Audit(
            ran_as, layers, ("Precision is as written in the graph; the engine is built on the board.",)
        )

    def layer_parts(
        self, artifact: Artifact, feeds: Mapping[str, NDArray[Any]], folder: Path
    ) -> tuple[LayerPart, ...]:
        """None: TensorRT has a profiler."""
        return ()

    def read_layers(self, artifact: Artifact, rows: Sequence[LayerRow]) -> tuple[LayerTime, ...]:
        """The layers of the engine, as TensorRT names them."""
        return tuple(LayerTime(row.name, row.op, "", row.mean_ms) for row in rows)


def _fits_here(entry: Path) -> bool:
    """Whether this machine has the GPU and the TensorRT that the artifact's recipe asks for."""
    from edgekit.board.tensorrt.cuda import gpu
    from edgekit.board.tensorrt.library import EngineError, load_tensorrt
    from edgekit.board.tensorrt.record import RECIPE, check_fit, read_recipe

    device = gpu()
    if device is None:
        return False
    try:
        recipe = read_recipe(str(entry.with_name(RECIPE)))
        check_fit(load_tensorrt(recipe["library"]), recipe, device["sm"])
    except (EngineError, ImportError):
        return False
    return True


def _check(request: ExportRequest, path: Path) -> tuple[str, ...]:
    """What TensorRT-RTX says of the finished network, where it is installed. Raises StageError when it is the
    target's own library and refuses."""
    import onnx

    from edgekit.backends.tensorrt.build_recipe import toolkit
    from edgekit.backends.tensorrt.compile_check import compile_check
    from edgekit.board.tensorrt.record import RECIPE, read_recipe

    kit = toolkit(request.target)
    flags = read_recipe(str(path.with_name(RECIPE)))["flags"]
    check = compile_check(onnx.load(str(path)), kit, flags)
    if check.problems and check.binding:
        raise StageError("compile", f"TensorRT-RTX refuses the network: {'; '.join(check.problems)[:400]}")
    if check.problems:
        return (
            f"TensorRT-RTX, which is not the board's TensorRT, refuses the network: {check.problems[0][:300]}.",
        )
    return () if check.kind == "none" else (f"The network was {check.done}.",)
