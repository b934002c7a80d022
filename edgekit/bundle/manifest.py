"""`manifest.json`: what a bundle is, how it runs, what was measured of it, every other file's hash."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

from edgekit.board.manifest import MANIFEST, ManifestError, check_tolerance, manifest_digest
from edgekit.errors import BundleError
from edgekit.files import is_safe, sha256_file
from edgekit.runtimes import RUNTIMES
from edgekit.types import (
    Accuracy,
    BackendName,
    Budget,
    Candidate,
    Estimate,
    FileHash,
    Origin,
    Precision,
    Preprocess,
    Signature,
)

__all__ = [
    "BUNDLE_SCHEMA",
    "MANIFEST",
    "BoardIdentity",
    "CandidateFacts",
    "CandidatesManifest",
    "GoldenFacts",
    "Manifest",
    "MeasuredFacts",
    "encode_manifest",
    "hash_file",
    "read_any_manifest",
    "read_manifest",
]

BUNDLE_SCHEMA = 1


@dataclass(frozen=True)
class MeasuredFacts:
    """What was measured, where. Latency at batch 1; `validation` chose the artifact, `test` is the claim."""

    origin: Origin
    machine: str
    cpu: str
    p50_ms: Estimate | None
    p90_ms: Estimate | None
    p99_ms: Estimate | None
    load_ms: float
    peak_memory_bytes: int
    validation: Accuracy | None = None
    test: Accuracy | None = None


@dataclass(frozen=True)
class GoldenFacts:
    """`golden.npz` holds in0, in1, … (network inputs [samples, ...]) and out0, … in the signature's order.

    An output matches when no value is off by more than `tolerance` times the largest golden magnitude of it; how
    that is set: `bundle/tolerance.py`.
    """

    samples: int
    tolerance: float


@dataclass(frozen=True)
class Manifest:
    """`entry` and the paths of `files` are relative to the bundle. `files` lists all but manifest.json.

    `options` are the runtime's, `network` is the SHA-256 of the float ONNX file the artifact came from, `vocabularies`
    the rows of the table that an input picks from, by its name: empty in bundles of before.
    """

    schema: int
    edgekit: str
    created: str
    target: str
    candidate: Candidate
    ran_as: str
    network: str
    description: str
    entry: str
    options: Mapping[str, str]
    threads: int
    versions: Mapping[str, str]
    signature: Signature
    preprocess: Preprocess
    labels: tuple[str, ...]
    golden: GoldenFacts
    measured: MeasuredFacts
    files: tuple[FileHash, ...]
    vocabularies: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class BoardIdentity:
    """How the board is recognised, as in `[identity]` of its description."""

    architecture: str
    models: tuple[str, ...] = ()
    cpus: tuple[str, ...] = ()
    all_of: tuple[str, ...] = ()
    any_of: tuple[str, ...] = ()
    none_of: tuple[str, ...] = ()
    accelerator: str = ""


@dataclass(frozen=True)
class CandidateFacts:
    """One candidate of several. `folder` holds its own bundle.

    `estimated_ms` is no measurement; `value` and `drop` are the accuracy on the validation split, as measured
    where the bundle was made; `drop_low` and `drop_high` are the drop's 95 % interval, `drop_bound` the high end at
    the budget's confidence. None in bundles of before.
    """

    id: str
    folder: str
    variant: str
    backend: BackendName
    precision: Precision
    device: str
    estimated_ms: Estimate | None
    metric: str
    value: float
    drop: float
    size_bytes: int
    drop_low: float | None = None
    drop_high: float | None = None
    drop_bound: float | None = None


@dataclass(frozen=True)
class CandidatesManifest:
    """The best few candidates for a board that was not there: `settle.py` measures them on it and chooses."""

    schema: int
    kind: Literal["candidates"]
    edgekit: str
    created: str
    target: str
    identity: BoardIdentity
    budget: Budget
    threads: int
    candidates: tuple[CandidateFacts, ...]
    files: tuple[FileHash, ...]


def encode_manifest(manifest: Manifest | CandidatesManifest) -> bytes:
    """The manifest as indented JSON, with `digest`, the SHA-256 over all its other keys."""
    import msgspec

    # asdict: of a value that was decoded itself, msgspec leaves out the fields that have their defaults.
    content = json.loads(msgspec.json.encode(asdict(manifest)))
    return (
        json.dumps({**content, "digest": manifest_digest(content)}, indent=1, ensure_ascii=False).encode()
        + b"\n"
    )


def read_manifest(folder: Path) -> Manifest:
    """Read and check the manifest of a bundle of one artifact, without looking at the other files.

    Raises BundleError when it is missing, was changed, is of another schema, names a path outside of it, or is of a
    bundle of several candidates.
    """
    manifest = read_any_manifest(folder)
    if isinstance(manifest, CandidatesManifest):
        raise BundleError(
            f"{folder} holds {len(manifest.candidates)} candidates",
            remedy=f"give one of them, such as {folder / manifest.candidates[0].folder}",
        )
    return manifest


def read_any_manifest(folder: Path) -> Manifest | CandidatesManifest:
    """Like `read_manifest`, for a bundle of one artifact or of several candidates."""
    import msgspec

    path = folder / MANIFEST
    if path.is_symlink() or (path.exists() and not path.is_file()):
        raise BundleError(f"{path} is a link or a device", remedy="copy the bundle again")
    try:
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise BundleError(
            f"{folder} is not a bundle: {MANIFEST}: {error.strerror}",
            remedy="give OUT/bundle of a finished build",
        ) from error
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{path} was changed: it is not JSON") from error
    if not isinstance(content, dict) or "schema" not in content:
        raise BundleError(f"{path} is not a bundle's manifest", remedy="give OUT/bundle of a finished build")
    if content["schema"] != BUNDLE_SCHEMA:
        raise BundleError(
            f"{path} has schema {content['schema']}",
            allowed=f"schema {BUNDLE_SCHEMA}",
            remedy="update edgekit",
        )
    if content.pop("digest", None) != manifest_digest(content):
        raise BundleError(f"{path} was changed: its digest does not match", remedy="make the bundle anew")
    try:
        manifest: Manifest | CandidatesManifest
        if content.get("kind") == "candidates":
            manifest = msgspec.convert(content, CandidatesManifest)
        else:
            manifest = msgspec.convert(content, Manifest)
    except ValueError as error:  # msgspec's own, or a text that is no Unicode
        raise BundleError(f"{path}: {error}", remedy="make the bundle anew") from error
    backends = (
        [item.backend for item in manifest.candidates]
        if isinstance(manifest, CandidatesManifest)
        else [manifest.candidate.backend]
    )
    for backend in backends:
        if backend not in RUNTIMES:
            raise BundleError(
                f'{path} is for the runtime "{backend}"', allowed=", ".join(RUNTIMES), remedy="update edgekit"
            )
    if isinstance(manifest, Manifest):
        try:
            check_tolerance(manifest.golden.tolerance)
        except ManifestError as error:
            raise BundleError(f"{path}: {error}", remedy="make the bundle anew") from error
    named = (
        [name for candidate in manifest.candidates for name in (candidate.id, candidate.folder)]
        if isinstance(manifest, CandidatesManifest)
        else [manifest.entry]
    )
    for name in (*named, *(file.path for file in manifest.files)):
        if not is_safe(name):
            raise BundleError(f"{path} names {name!r}, which leads out of the bundle")
    return manifest


def hash_file(path: Path, name: str) -> FileHash:
    """Size and SHA-256 of a file, under the given name."""
    return FileHash(name, sha256_file(path), path.stat().st_size)
