"""Checking a bundle: every file by its hash, then the golden inputs through the runtime."""

from __future__ import annotations

import re
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.board.settled import SETTLED
from edgekit.bundle.manifest import (
    MANIFEST,
    CandidatesManifest,
    Manifest,
    hash_file,
    read_any_manifest,
)
from edgekit.errors import BundleError, MissingExtraError, StageError
from edgekit.types import Artifact, TensorSpec

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from edgekit.backends.base import Session

__all__ = ["Verification", "verify_bundle"]

MADE_LATER = (MANIFEST, SETTLED)
"""Files that no manifest lists: itself, and what settling found."""
ON_THE_BOARD = re.compile(
    r"(candidates/[^/]+/)?(tuned\.json|model/engine(-level-[0-5])?/[^/]+|board/(.+/)?__pycache__/[^/]+\.pyc)"
)
"""And what came on the board: the engine that TensorRT built, and board/ as Python compiled it for an importer."""


@dataclass(frozen=True)
class Verification:
    """What the check found. `problems` has one line each, naming the file; none means the bundle is whole.

    `difference` is the largest deviation from the golden outputs, relative to each output's largest golden
    magnitude, to be held against `tolerance`; None when the outputs were not re-run.
    """

    folder: str
    files: int
    problems: tuple[str, ...]
    samples: int
    tolerance: float
    difference: float | None = None

    @property
    def ok(self) -> bool:
        return not self.problems


def verify_bundle(folder: Path, *, run: bool = True) -> Verification:
    """Check every file of a bundle and, with `run`, that its artifact answers as when it was made.

    The artifact is loaded only if all files are as written. Raises BundleError when the manifest itself cannot
    be trusted, MissingExtraError when the runtime is not installed.
    """
    manifest = read_any_manifest(folder)
    if isinstance(manifest, CandidatesManifest):
        return _verify_candidates(folder, manifest, run)
    problems = _changed_files(folder, manifest)
    difference = None
    if run and not problems:
        try:
            difference = _rerun(folder, manifest)
        except (BundleError, StageError) as error:
            problems = [str(error)]
        else:
            if not difference <= manifest.golden.tolerance:
                problems = [
                    f"{manifest.entry} does not give its golden outputs here: off by {difference:.3g} of the "
                    f"largest value, allowed {manifest.golden.tolerance:g}"
                ]
    return Verification(
        folder=str(folder),
        files=len(manifest.files) + 1,
        problems=tuple(problems),
        samples=manifest.golden.samples,
        tolerance=manifest.golden.tolerance,
        difference=difference,
    )


def _verify_candidates(folder: Path, manifest: CandidatesManifest, run: bool) -> Verification:
    """All files first, then each candidate's own bundle."""
    problems = _changed_files(folder, manifest)
    parts = []
    if not problems:
        parts = [
            (candidate.id, verify_bundle(folder / candidate.folder, run=run))
            for candidate in manifest.candidates
        ]
        problems = [f"{name}: {problem}" for name, part in parts for problem in part.problems]
    differences = [part.difference for _, part in parts if part.difference is not None]
    return Verification(
        folder=str(folder),
        files=len(manifest.files) + 1,
        problems=tuple(problems),
        samples=sum(part.samples for _, part in parts),
        tolerance=max((part.tolerance for _, part in parts), default=0.0),
        difference=max(differences, default=None),
    )


def _changed_files(folder: Path, manifest: Manifest | CandidatesManifest) -> list[str]:
    """One line for each file that is missing, changed, a link, or not in the manifest."""
    problems = []
    expected = {file.path: file for file in manifest.files}
    needed = (
        ("settle.py", *(f"{candidate.folder}/{MANIFEST}" for candidate in manifest.candidates))
        if isinstance(manifest, CandidatesManifest)
        else ("golden.npz", "infer.py", manifest.entry)
    )
    for name in needed:
        if name not in expected:
            problems.append(f"{MANIFEST} does not list {name}")
    for name, file in expected.items():
        path = folder / name
        if any(
            part.is_symlink()
            for part in (path, *path.parents)
            if part.is_relative_to(folder) and part != folder
        ):
            problems.append(f"{name} is a link")
        elif not path.is_file():
            problems.append(f"{name} is missing")
        elif path.stat().st_size != file.size_bytes or hash_file(path, name) != file:
            problems.append(f"{name} was changed")
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        made_later = name in MADE_LATER or ON_THE_BOARD.fullmatch(name)
        if name not in expected and not made_later and (path.is_symlink() or not path.is_dir()):
            problems.append(f"{name} does not belong to the bundle")
    return problems


def _rerun(folder: Path, manifest: Manifest) -> float:
    """The golden inputs through the artifact; the largest relative deviation."""
    from edgekit.board import golden

    inputs, outputs = _read_golden(folder / "golden.npz", manifest)
    names = [spec.name for spec in manifest.signature.inputs]
    try:
        with _opened(folder, manifest) as session:
            return golden.largest_deviation(
                lambda arrays: list(session.run(dict(zip(names, arrays, strict=True))).values()),
                inputs,
                outputs,
            )
    except (RuntimeError, ValueError) as error:
        raise BundleError(f"{manifest.entry} does not run here: {error}") from error


def _opened(folder: Path, manifest: Manifest) -> Session:
    from edgekit.backends import get_backend

    artifact = Artifact(
        candidate=manifest.candidate.id,
        backend=manifest.candidate.backend,
        folder=str(folder.absolute()),
        entry=manifest.entry,
        files=manifest.files,
        size_bytes=0,
        build_s=0.0,
        versions=manifest.versions,
        options=manifest.options,
    )
    backend = get_backend(manifest.candidate.backend)
    host = backend.on_host(artifact)  # itself where its runtime runs here
    try:
        return get_backend(host.backend).open(host, manifest.threads)
    except ImportError as error:
        raise MissingExtraError(manifest.candidate.backend, backend.extra) from error


def _read_golden(
    path: Path, manifest: Manifest
) -> tuple[list[NDArray[np.generic]], list[NDArray[np.generic]]]:
    from edgekit.board import golden

    signature, count = manifest.signature, manifest.golden.samples
    try:
        inputs, outputs = golden.read(str(path), len(signature.inputs), len(signature.outputs))
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise BundleError(f"golden.npz cannot be read: {error}") from error
    for array, spec in zip(inputs, signature.inputs, strict=True):
        if len(array) != count or not _fits(array, spec):
            raise BundleError(f"golden.npz does not fit the input {spec.name}: {list(array.shape)}")
    if any(len(array) != count for array in outputs):
        raise BundleError(f"golden.npz does not hold {count} outputs")
    return inputs, outputs


def _fits(array: NDArray[np.generic], spec: TensorSpec) -> bool:
    pairs = zip(array.shape[1:], spec.shape[1:], strict=False)
    return array.ndim == len(spec.shape) and all(wanted in (None, have) for have, wanted in pairs)
