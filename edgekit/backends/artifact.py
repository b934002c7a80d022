"""What every backend says of an artifact that it wrote: by which packages, which files, how large, in what time."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.errors import MissingExtraError
from edgekit.files import sha256_file
from edgekit.types import Artifact, BackendName, FileHash

if TYPE_CHECKING:
    from edgekit.backends.base import ExportRequest
    from edgekit.quantize import QuantPlan

__all__ = ["described_files", "installed_versions", "written_artifact"]


def installed_versions(extra: str, needed: Sequence[str], optional: Sequence[str] = ()) -> dict[str, str]:
    """Package → version, from package metadata. Raises MissingExtraError when a needed one is absent."""
    versions = {}
    for package in (*needed, *optional):
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError as error:
            if package in needed:
                raise MissingExtraError(package, extra) from error
    return versions


def described_files(folder: Path, names: Sequence[str]) -> tuple[FileHash, ...]:
    """Hash and size of files, whose names are relative to the folder."""
    return tuple(FileHash(name, sha256_file(folder / name), (folder / name).stat().st_size) for name in names)


def written_artifact(
    request: ExportRequest,
    backend: BackendName,
    files: Sequence[str],
    *,
    versions: Mapping[str, str],
    started: float,
    options: Mapping[str, str] | None = None,
    plan: QuantPlan | None = None,
) -> Artifact:
    """The artifact made of `files` in the request's folder, not audited yet; the first file is what a runtime opens.

    `started` is the value of `time.perf_counter` when the export began, `plan` what an INT8 artifact was written from.
    """
    described = described_files(request.folder, files)
    return Artifact(
        candidate=request.candidate.id,
        backend=backend,
        folder=str(request.folder.resolve()),
        entry=files[0],
        files=described,
        size_bytes=sum(file.size_bytes for file in described),
        build_s=time.perf_counter() - started,
        versions=dict(versions),
        options=dict(options or {}),
        quantization=None if plan is None else plan.summary(),
    )
