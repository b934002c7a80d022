"""Artifacts run over samples, in a fresh process of the device each: outputs, memory, accuracy."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from edgekit.backends import get_backend
from edgekit.board.runtimes import RUNTIMES
from edgekit.building.cache import Cache
from edgekit.building.samples import SplitFiles
from edgekit.devices import Device, JobProgress, MeasureOptions, measure
from edgekit.errors import StageError
from edgekit.measure import evaluate
from edgekit.types import Accuracy, Artifact, Failure, Origin

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgekit.store import StoreEntry

__all__ = ["CONDITIONS", "RUNNING", "Bench", "Evaluator", "artifact_digest", "artifact_identity"]


CONDITIONS = (
    *("machine", "unit", "arch", "cpu", "features", "cpus", "cpu_quota", "memory_bytes"),
    *("os", "python", "governor", "power_modes"),
)
"""Of what `describe` says: under what the same artifact takes another time. `unit` is the one board of its kind."""

RUNNING = ("numpy", *(package for row in RUNTIMES.values() for package in row.packages))
"""Packages that have a part in what is measured, as the device has them."""


@dataclass(frozen=True)
class Bench:
    """Where artifacts are run. `facts`: the device's own (`describe`); `origin`: "host" while the board is absent."""

    device: Device
    facts: Mapping[str, Any]
    threads: int
    origin: Origin

    def key_parts(
        self, artifacts: Sequence[Artifact], samples: SplitFiles, options: MeasureOptions
    ) -> dict[str, Any]:
        """All that a measurement of these artifacts with these samples depends on, but for the clock."""
        return {
            "artifacts": [artifact_identity(artifact) for artifact in artifacts],
            "samples": samples.digest,
            "options": msgspec.to_builtins(options),
            "device": self.device.name,
            "machine": {name: self.facts.get(name) for name in CONDITIONS},
            "versions": {name: self.facts["versions"].get(name) for name in RUNNING},
            "origin": self.origin,
        }

    def runnable(self, artifact: Artifact) -> Artifact:
        """The artifact itself on the board; else the same graph in a runtime of this machine."""
        return get_backend(artifact.backend).on_host(artifact) if self.origin == "host" else artifact


def artifact_identity(artifact: Artifact) -> dict[str, Any]:
    """What an artifact is, wherever it lies and whatever it is called."""
    return {
        "backend": artifact.backend,
        "entry": artifact.entry,
        "options": dict(artifact.options),
        "files": msgspec.to_builtins(artifact.files),
    }


def artifact_digest(artifact: Artifact) -> str:
    """SHA-256 of what an artifact is: the same for the same files with the same options, whoever made them."""
    return hashlib.sha256(msgspec.json.encode(artifact_identity(artifact), order="sorted")).hexdigest()


@dataclass(frozen=True)
class Evaluator:
    """Artifacts → what they answer to samples. `metric`: None: what the labels ask for. `confidence`: the budget's.

    `say` hears that others measure on the device: until they are done nothing else happens here.
    """

    cache: Cache
    bench: Bench
    metric: str | None
    confidence: float | None = None
    say: Callable[[str], None] | None = None

    def outputs(self, artifact: Artifact, samples: SplitFiles) -> dict[str, NDArray[np.generic]]:
        """What the artifact answers to each sample; [N, ...] each. Raises StageError when its runtime fails."""
        entry = self._run(artifact, samples)
        files: Mapping[str, str] = entry.meta["files"]
        return {
            name: np.load(entry.path / file, mmap_mode="r", allow_pickle=False)
            for name, file in files.items()
        }

    def peak_memory_bytes(self, artifact: Artifact, samples: SplitFiles) -> int:
        """Of the process that ran it over the samples. Raises StageError when its runtime fails."""
        return int(self._run(artifact, samples).meta["peak_memory_bytes"])

    def accuracy(
        self,
        artifact: Artifact,
        reference: Artifact,
        samples: SplitFiles,
        confidence: float | None = None,
    ) -> Accuracy:
        """Accuracy on a split, and the paired drop from `reference`, the original in float.

        `confidence`: of the drop's bound; the budget's unless given.
        """
        return evaluate(
            self.outputs(artifact, samples),
            self.outputs(reference, samples),
            samples.files.labels,
            metric=self.metric,
            split=samples.split,
            confidence=confidence or self.confidence,
        )

    def _run(self, artifact: Artifact, samples: SplitFiles) -> StoreEntry:
        """Files of its outputs, and its peak memory. Raises StageError when that fails or dies."""
        artifact = self.bench.runnable(artifact)
        options = MeasureOptions(threads=self.bench.threads, seconds=0.0)

        def make(folder: Path) -> Mapping[str, Any]:
            result = measure(
                self.bench.device,
                [artifact],
                folder=folder / "answers",
                options=options,
                samples=samples.files.inputs,
                origin=self.bench.origin,
                progress=self._waiting(),
                within_s=self.cache.left_s(),
            )[artifact.candidate]
            if isinstance(result, Failure):
                raise StageError(result.stage, result.cause, result.remedy)
            return {
                "files": {name: str(path.relative_to(folder)) for name, path in result.outputs.items()},
                "peak_memory_bytes": result.measurement.peak_memory_bytes,
            }

        return self.cache.entry("outputs", self.bench.key_parts([artifact], samples, options), make)

    def _waiting(self) -> JobProgress:
        """Tells once what one waits for."""
        told = set()

        def progress(stage: str, who: str, done: int, total: int) -> None:
            if stage == "wait" and self.say is not None and who not in told:
                told.add(who)
                self.say(
                    f"waiting for another measurement on {self.bench.device.name}"
                    + (f": {who}" if who else "")
                )

        return progress
