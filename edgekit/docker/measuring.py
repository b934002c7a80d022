"""The benchmark in an image: the bundle that it holds, by the runtime that it holds."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from edgekit.bundle import read_manifest
from edgekit.docker.device import ContainerDevice
from edgekit.docker.engines import Engine
from edgekit.errors import StageError
from edgekit.types import Artifact

if TYPE_CHECKING:
    from edgekit.devices.base import JobProgress
    from edgekit.devices.measuring import Measured

__all__ = ["bench_image"]


def bench_image(
    engine: Engine,
    tag: str,
    platform: str,
    *,
    seconds: float = 5.0,
    options: Sequence[str] = (),
    progress: JobProgress | None = None,
) -> Measured:
    """Latency, load time and memory of the image's bundle with random inputs, with the threads it was measured with.

    The origin is `host` on this machine's platform, else `emulated`. Raises UserError where the platform does not run
    here, BundleError for an image without a whole bundle, StageError when something in the container fails.
    """
    from edgekit.devices.measuring import Measured, MeasureOptions, measure

    with tempfile.TemporaryDirectory(prefix="edgekit-image-", ignore_cleanup_errors=True) as scratch:
        device = ContainerDevice(engine, tag, platform, Path(scratch) / "work", options)
        bundle = device.copy_bundle()
        manifest = read_manifest(bundle)
        beside = PurePosixPath(manifest.entry).parent
        files = tuple(file for file in manifest.files if beside in PurePosixPath(file.path).parents)
        artifact = Artifact(
            candidate=manifest.candidate.id,
            backend=manifest.candidate.backend,
            folder=str(bundle),
            entry=manifest.entry,
            files=files,
            size_bytes=sum(file.size_bytes for file in files),
            build_s=0.0,
            options=manifest.options,
        )
        result = measure(
            device,
            [artifact],
            folder=Path(scratch) / "outputs",
            options=MeasureOptions(threads=manifest.threads, seconds=seconds),
            progress=progress,
        )[artifact.candidate]
    if not isinstance(result, Measured):
        raise StageError(result.stage, result.cause, result.remedy)
    return result
