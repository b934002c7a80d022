"""Writing a bundle: all of it or nothing."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.bundle.about import readme, requirements
from edgekit.bundle.manifest import (
    BUNDLE_SCHEMA,
    MANIFEST,
    GoldenFacts,
    Manifest,
    MeasuredFacts,
    encode_manifest,
    hash_file,
)
from edgekit.bundle.placing import replacing
from edgekit.bundle.tolerance import golden_tolerance
from edgekit.errors import BundleError
from edgekit.files import is_safe
from edgekit.runtimes import RUNTIMES
from edgekit.types import (
    Accuracy,
    Artifact,
    Candidate,
    FileHash,
    Measurement,
    Preprocess,
    Variant,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["TEMPLATES", "Golden", "copy_board", "hashed_files", "now", "write_bundle"]

TEMPLATES = Path(__file__).with_name("templates")
BOARD = Path(__file__).parent.with_name("board")


@dataclass(frozen=True)
class Golden:
    """Network inputs and the artifact's own outputs on them, [samples, ...] each, in the signature's order.

    `floats`: what the same network answers to them in float32, by which the tolerance is set; None where not known.
    """

    inputs: tuple[NDArray[np.generic], ...]
    outputs: tuple[NDArray[np.generic], ...]
    floats: tuple[NDArray[np.generic], ...] | None = None


def write_bundle(
    folder: Path,
    *,
    artifact: Artifact,
    variant: Variant,
    candidate: Candidate,
    measurement: Measurement,
    target: str,
    threads: int,
    preprocess: Preprocess,
    classes: Sequence[str],
    golden: Golden,
    vocabularies: Mapping[str, int],
    edgekit_version: str,
    claim: Accuracy | None = None,
) -> Manifest:
    """Write the bundle to `folder`, in place of an older bundle if there is one, and give its manifest.

    `golden.outputs` come from this very artifact; `vocabularies`: see Manifest; `claim` is the accuracy on the test
    split. Raises OutputError when the folder cannot be written or holds something that is no bundle, BundleError when
    the artifact's files are not what its hashes say or its runtime cannot be bundled.
    """
    if candidate.backend not in RUNTIMES:
        raise BundleError(f"no bundle can be made for {candidate.backend}", allowed=", ".join(RUNTIMES))
    _check_golden(variant, golden)
    with replacing(folder) as partial:
        _write_files(partial, artifact, preprocess, classes, golden)
        manifest = Manifest(
            schema=BUNDLE_SCHEMA,
            edgekit=edgekit_version,
            created=now(),
            target=target,
            candidate=candidate,
            ran_as=artifact.audit.ran_as,
            network=variant.digest,
            description=variant.description,
            entry=f"model/{artifact.entry}",
            options=dict(artifact.options),
            threads=threads,
            versions=dict(artifact.versions),
            signature=variant.signature,
            preprocess=preprocess,
            labels=_labels(classes),
            golden=GoldenFacts(
                len(golden.inputs[0]), golden_tolerance(candidate.precision, golden.outputs, golden.floats)
            ),
            measured=_measured(measurement, claim),
            files=(),
            vocabularies=dict(vocabularies),
        )
        versions = {**artifact.versions, **measurement.environment.versions}
        needed = requirements([candidate.backend], versions, images=preprocess.input_layout != "as-is")
        (partial / "requirements.txt").write_text(needed, encoding="utf-8")
        (partial / "README.md").write_text(readme(manifest), encoding="utf-8")
        manifest = replace(manifest, files=hashed_files(partial))
        (partial / MANIFEST).write_bytes(encode_manifest(manifest))
    return manifest


def now() -> str:
    """The time, as manifests have it."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def copy_board(folder: Path) -> None:
    """Put the folder board/, all that runs on a board, into a bundle's folder."""
    for source in sorted(BOARD.rglob("*.py")):
        target = folder / "board" / source.relative_to(BOARD)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)


def hashed_files(folder: Path) -> tuple[FileHash, ...]:
    """All files of a folder, by names relative to it."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return tuple(hash_file(path, path.relative_to(folder).as_posix()) for path in paths)


def _check_golden(variant: Variant, golden: Golden) -> None:
    """Raises ValueError: golden arrays that do not belong to the network are a mistake of the caller."""
    for kind, specs, arrays in (
        ("inputs", variant.signature.inputs, golden.inputs),
        ("outputs", variant.signature.outputs, golden.outputs),
    ):
        lengths = {len(array) for array in arrays}
        if len(specs) != len(arrays) or len(lengths) != 1 or 0 in lengths:
            raise ValueError(
                f"golden {kind} (={[array.shape for array in arrays]}) do not fit {len(specs)} {kind}"
            )
    if len(golden.inputs[0]) != len(golden.outputs[0]):
        raise ValueError(
            f"{len(golden.inputs[0])} golden inputs, but {len(golden.outputs[0])} golden outputs"
        )
    if golden.floats is not None and len(golden.floats) != len(golden.outputs):
        raise ValueError(f"{len(golden.floats)} float outputs, but {len(golden.outputs)} golden outputs")


def _write_files(
    folder: Path,
    artifact: Artifact,
    preprocess: Preprocess,
    classes: Sequence[str],
    golden: Golden,
) -> None:
    """Everything that a program reads, but the manifest."""
    import numpy as np

    for file in artifact.files:
        if not is_safe(file.path):
            raise BundleError(f"the artifact names {file.path!r}, which leads out of its folder")
        copy = folder / "model" / file.path
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(Path(artifact.folder) / file.path, copy)
        if hash_file(copy, file.path) != file:
            raise BundleError(f"{artifact.folder}/{file.path} is not what was measured: its hash differs")
    if not (folder / "model" / artifact.entry).is_file():
        raise BundleError(f"the artifact has no file {artifact.entry}")
    arrays = {f"in{index}": array for index, array in enumerate(golden.inputs)}
    arrays.update({f"out{index}": array for index, array in enumerate(golden.outputs)})
    with (folder / "golden.npz").open("xb") as stream:
        np.savez_compressed(stream, allow_pickle=False, **arrays)
    (folder / "preprocess.json").write_text(json.dumps(asdict(preprocess), indent=1) + "\n", encoding="utf-8")
    (folder / "labels.txt").write_text("".join(f"{label}\n" for label in _labels(classes)), encoding="utf-8")
    shutil.copyfile(TEMPLATES / "infer.txt", folder / "infer.py")
    copy_board(folder)


def _labels(classes: Sequence[str]) -> tuple[str, ...]:
    """One line each: labels.txt is read by lines."""
    return tuple(" ".join(name.split()) for name in classes)


def _measured(measurement: Measurement, claim: Accuracy | None) -> MeasuredFacts:
    latency = measurement.latency
    return MeasuredFacts(
        origin=measurement.origin,
        machine=measurement.environment.machine,
        cpu=measurement.environment.cpu,
        p50_ms=latency.p50 if latency else None,
        p90_ms=latency.p90 if latency else None,
        p99_ms=latency.p99 if latency else None,
        load_ms=measurement.load_ms,
        peak_memory_bytes=measurement.peak_memory_bytes,
        validation=measurement.accuracy,
        test=claim,
    )
