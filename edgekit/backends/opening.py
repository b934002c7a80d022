"""Which runtime opens a file, and the file as its artifact."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from edgekit.backends.table import get_backend
from edgekit.errors import MissingExtraError, ModelError, StageError, UserError
from edgekit.files import sha256_file
from edgekit.runtimes import ONNX, RUNTIMES, ModelFile, RuntimeRow
from edgekit.types import Artifact, BackendName, FileHash, Signature

__all__ = ["artifact_signature", "known_suffixes", "read_artifact", "runtimes_that_open"]


def known_suffixes() -> tuple[str, ...]:
    """Of all files that some runtime opens."""
    return tuple(dict.fromkeys(kind.suffix for row in RUNTIMES.values() for kind in row.opens))


def runtimes_that_open(suffix: str) -> tuple[BackendName, ...]:
    """Names of the runtimes that take files with this suffix, the one that opens them unasked first."""
    return tuple(name for name, row in RUNTIMES.items() if _kind(row, suffix) is not None)


def read_artifact(
    path: Path,
    backend: BackendName | None = None,
    *,
    options: Mapping[str, str] | None = None,
    or_else: str = "",
) -> Artifact:
    """The file, and the weights that lie beside it, as an artifact of `backend`, else of the runtime that opens it.

    `or_else`: what the caller takes beside files, for the message. Raises ModelError for a file that no runtime opens
    or that is not there, UserError where `backend` does not open it, MissingExtraError.
    """
    takers = runtimes_that_open(path.suffix)
    if not takers:
        raise ModelError(f"{path} has the suffix {path.suffix!r}", allowed=_openable(or_else))
    if not path.is_file():
        raise ModelError(f"{path} does not exist" if not path.exists() else f"{path} is no file")
    name = backend or takers[0]
    if name not in takers:
        titles = " or ".join(RUNTIMES[taker].title for taker in takers)
        raise UserError(f"{RUNTIMES[name].title} cannot load {path.name}", allowed=titles)
    _require(RUNTIMES[name])
    files = tuple(
        FileHash(file.name, sha256_file(file), file.stat().st_size) for file in (path, *_beside(path))
    )
    return Artifact(
        candidate=path.stem,
        backend=name,
        folder=str(path.resolve().parent),
        entry=path.name,
        files=files,
        size_bytes=sum(file.size_bytes for file in files),
        build_s=0.0,
        options=dict(options or {}),
    )


def artifact_signature(artifact: Artifact) -> Signature:
    """What a file's network takes and gives: an ONNX file says it itself, others are opened in their runtime.

    Raises ModelError when it cannot be read, MissingExtraError.
    """
    from edgekit.devices.measuring import read_raw_signature
    from edgekit.graph import read_signature

    path = Path(artifact.folder) / artifact.entry
    if path.suffix == ONNX.suffix:
        return read_signature(path)
    backend = get_backend(artifact.backend)
    backend.versions()
    try:
        with backend.open(artifact) as session:
            return read_raw_signature(session.signature)
    except StageError as problem:
        title = RUNTIMES[artifact.backend].title
        raise ModelError(f"{title} cannot load {path}: {problem.cause}") from problem


def _kind(row: RuntimeRow, suffix: str) -> ModelFile | None:
    return next((kind for kind in row.opens if kind.suffix == suffix), None)


def _openable(or_else: str) -> str:
    """Every kind of file that a runtime opens, in words."""
    kinds = list(dict.fromkeys(kind.called for row in RUNTIMES.values() for kind in row.opens))
    *first, last = [*kinds, or_else] if or_else else kinds
    return f"{', '.join(first)}, or {last}" if first else last


def _require(row: RuntimeRow) -> None:
    """Raises MissingExtraError where the runtime's package is not here."""
    from importlib.util import find_spec

    module = dict(row.installations[0].packages)[row.package]
    if find_spec(module) is None:
        raise MissingExtraError(row.package, row.extra)


def _beside(path: Path) -> tuple[Path, ...]:
    """Files with weights beside the graph."""
    kind = next(kind for row in RUNTIMES.values() if (kind := _kind(row, path.suffix)) is not None)
    names = (name.format(name=path.name, stem=path.stem) for name in kind.beside)
    return tuple(place for name in names if (place := path.with_name(name)).is_file())
