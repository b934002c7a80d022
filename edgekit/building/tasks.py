"""The tasks of a build: an export, and a runtime's lint of a network. See executor.Task."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec

from edgekit.building.code import code_digest
from edgekit.hardware import Target
from edgekit.quantize import PrecisionTimes, Recipe
from edgekit.quantize.placement import Placement
from edgekit.types import Artifact, BackendName, Candidate, Examination, Variant

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from edgekit.backends.base import ExportRequest

__all__ = ["ExportTask", "LintTask", "MixedWholeTask", "PlacementTask", "stream_samples"]

CALIBRATION_BATCH = 32

WRITTEN = 2
"""Raised where the same request gives another file than before. 2: LiteRT has sums of transformers in float, and tables
are int8 by rows."""


@dataclass(frozen=True)
class ExportTask:
    """One export: candidate → artifact.

    `recipe` and `samples` (.npy files [N, ...], one per network input, with their digest) are there where the
    candidate is calibrated. `features`: of the board's CPU, sorted. `versions`: of the packages that export. `store`:
    the folder of the store that keeps what a quantization plan takes long to measure; "": nothing is kept. `times`: of
    the network's layers on the board, for a recipe that chooses by them.
    """

    variant: Variant
    candidate: Candidate
    target: Target
    features: tuple[str, ...]
    recipe: Recipe | None
    samples: tuple[str, ...]
    samples_digest: str
    threads: int
    versions: Mapping[str, str]
    store: str = ""
    times: PrecisionTimes | None = None

    stage: ClassVar[str] = "export"
    answer_type: ClassVar[Any] = Artifact
    timeout_s: ClassVar[float | None] = None

    def key_parts(self) -> dict[str, Any]:
        """What the artifact's files depend on; the names of variant and candidate are not written into them.

        `store` is where intermediate results lie, not what they are.
        """
        return {
            "network": self.variant.digest,
            "written": WRITTEN,
            "backend": self.candidate.backend,
            "precision": self.candidate.precision,
            "device": self.candidate.device,
            "recipe": msgspec.to_builtins(self.recipe),
            "calibration": self.samples_digest,
            "target": msgspec.to_builtins(self.target),
            "features": self.features,
            "threads": self.threads,
            "versions": dict(self.versions),
            "times": msgspec.to_builtins(self.times),
        }

    def perform(self, folder: Path) -> Artifact:
        """See executor.Task."""
        from edgekit.backends import get_backend

        return get_backend(self.candidate.backend).export(self.request(folder))

    def request(self, folder: Path) -> ExportRequest:
        """As the backend takes it; its files go into `folder`."""
        import numpy as np

        from edgekit.backends.base import ExportRequest
        from edgekit.building.memo import store_memo
        from edgekit.graph import CalibrationData

        calibration = None
        if self.samples:
            count = int(np.load(self.samples[0], mmap_mode="r", allow_pickle=False).shape[0])
            calibration = CalibrationData(stream_samples(self.samples), count, self.samples_digest)
        return ExportRequest(
            variant=self.variant,
            candidate=self.candidate,
            target=self.target,
            features=frozenset(self.features),
            folder=folder,
            recipe=self.recipe,
            calibration=calibration,
            threads=self.threads,
            memo=store_memo(Path(self.store)) if self.store else None,
            times=self.times,
        )


@dataclass(frozen=True)
class PlacementTask:
    """Where an INT8 artifact, which `export` gave, has integers."""

    export: ExportTask
    artifact: Artifact

    stage: ClassVar[str] = "placement"
    answer_type: ClassVar[Any] = Placement
    timeout_s: ClassVar[float | None] = None

    def key_parts(self) -> dict[str, Any]:
        """What the answer depends on."""
        return {"export": self.export.key_parts(), "files": msgspec.to_builtins(self.artifact.files)}

    def perform(self, folder: Path) -> Placement:
        """See executor.Task; no file is made."""
        from edgekit.backends import get_backend
        from edgekit.backends.placement import read_placement

        plan = get_backend(self.artifact.backend).plan(self.export.request(folder))
        return read_placement(self.artifact, plan, Path(self.export.variant.onnx_path))


@dataclass(frozen=True)
class MixedWholeTask:
    """A float network in int8 on made-up samples, to be timed: with layers in float by `times` for a share of the time.

    `digest`: of the file at `onnx_path`. `features`: of the board's CPU, sorted.
    """

    onnx_path: str
    digest: str
    backend: BackendName
    target: Target
    features: tuple[str, ...]
    versions: Mapping[str, str]
    times: PrecisionTimes
    float_time: float

    stage: ClassVar[str] = "mixed-whole"
    answer_type: ClassVar[Any] = Artifact
    timeout_s: ClassVar[float | None] = None

    def key_parts(self) -> dict[str, Any]:
        """What the artifact depends on."""
        return {
            "network": self.digest,
            "backend": self.backend,
            "target": msgspec.to_builtins(self.target),
            "features": self.features,
            "versions": dict(self.versions),
            "times": msgspec.to_builtins(self.times),
            "share": self.float_time,
            "latency": code_digest(("latency",)),
        }

    def perform(self, folder: Path) -> Artifact:
        """See executor.Task."""
        from edgekit.latency.wholes import build_whole

        return build_whole(
            Path(self.onnx_path),
            self.backend,
            "int8",
            self.target,
            frozenset(self.features),
            folder,
            times=self.times,
            float_time=self.float_time,
        )


@dataclass(frozen=True)
class LintTask:
    """One runtime's lint of one network. `versions`: of the packages that look at it."""

    variant: Variant
    backend: BackendName
    target: Target
    versions: Mapping[str, str]

    stage: ClassVar[str] = "lint"
    answer_type: ClassVar[Any] = Examination
    timeout_s: ClassVar[float | None] = None

    def key_parts(self) -> dict[str, Any]:
        """What the issues depend on."""
        return {
            "network": self.variant.digest,
            "backend": self.backend,
            "target": msgspec.to_builtins(self.target),
            "versions": dict(self.versions),
        }

    def perform(self, folder: Path) -> Examination:
        """See executor.Task; no file is made."""
        from edgekit.backends import get_backend

        return get_backend(self.backend).lint(self.variant, self.target)


def stream_samples(paths: tuple[str, ...]) -> Callable[[], Iterator[tuple[NDArray[np.generic], ...]]]:
    """Batches out of .npy files by plain reads: mapped pages would count as this process's memory."""

    def batches() -> Iterator[tuple[NDArray[np.generic], ...]]:
        import numpy as np

        heads = [np.load(path, mmap_mode="r", allow_pickle=False) for path in paths]
        shapes = [head.shape for head in heads]
        dtypes = [head.dtype for head in heads]
        offsets = [head.offset for head in heads]
        del heads
        for start in range(0, shapes[0][0], CALIBRATION_BATCH):
            count = min(CALIBRATION_BATCH, shapes[0][0] - start)
            batch = []
            for path, shape, dtype, offset in zip(paths, shapes, dtypes, offsets, strict=True):
                size = int(np.prod(shape[1:], dtype=np.int64))
                values = np.fromfile(path, dtype, count * size, offset=offset + start * size * dtype.itemsize)
                batch.append(values.reshape(count, *shape[1:]))
            yield tuple(batch)

    return batches
