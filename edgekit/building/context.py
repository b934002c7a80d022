"""The tools that every stage of a build shares. Each product is cached by the content of what it depends on."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from edgekit.backends import get_backend
from edgekit.building.setup import Setting
from edgekit.building.worker import ExportTask, Worker
from edgekit.data import Split
from edgekit.devices import MeasureOptions, SampleFiles, measure, write_samples
from edgekit.devices.local import LocalDevice
from edgekit.errors import StageError
from edgekit.measure import evaluate
from edgekit.progress import Reporter
from edgekit.quantize import find_recipe
from edgekit.store import Run, StoreEntry
from edgekit.types import Accuracy, Artifact, Candidate, Failure, Signature, Variant

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Samples", "Workshop"]

READ_BATCH = 64


@dataclass(frozen=True)
class Samples:
    """One split as files: what the runner and the export worker read."""

    split: str
    digest: str
    files: SampleFiles


@dataclass
class Workshop:
    """What a running build has at hand."""

    setting: Setting
    reporter: Reporter
    run: Run
    device: LocalDevice
    worker: Worker
    stop_when_late: bool = True  # until there is something to hand over
    _samples: dict[str, Samples] = field(default_factory=dict)

    def cached(self, stage: str, parts: Mapping[str, Any], make: Any) -> StoreEntry:
        """A product from the store, or made now; either way it stands in the run's record."""
        if self.stop_when_late:
            self.setting.check_time()
        started = time.monotonic()
        entry = self.setting.store.entry(stage, parts, make)
        self.run.event(stage, entry.key, reused=entry.reused, seconds=time.monotonic() - started)
        return entry

    def samples(self, split: Split, signature: Signature) -> Samples:
        """The preprocessed samples of a split, as .npy files written once."""
        if split.name in self._samples:
            return self._samples[split.name]

        def make(folder: Path) -> Mapping[str, Any]:
            files = write_samples(split.batches(READ_BATCH), signature.inputs, folder, count=len(split))
            if files.labels is not None:
                np.save(folder / "labels.npy", files.labels)
            return {"inputs": {name: path.name for name, path in files.inputs.items()}}

        parts = {"split": split.digest, "inputs": msgspec.to_builtins(signature.inputs)}
        entry = self.cached("samples", parts, make)
        inputs = {name: entry.path / file for name, file in entry.meta["inputs"].items()}
        labels = entry.path / "labels.npy"
        first = {name: np.array(np.load(path, mmap_mode="r")[:1]) for name, path in inputs.items()}
        files = SampleFiles(inputs, first, np.load(labels) if labels.exists() else None, len(split))
        self._samples[split.name] = Samples(split.name, split.digest, files)
        return self._samples[split.name]

    def calibration(self, variant: Variant) -> Samples:
        """The calibration split."""
        return self.samples(self.setting.splits.calibration, variant.signature)

    def export(self, variant: Variant, candidate: Candidate) -> Artifact:
        """Candidate → artifact, in the export worker. Raises StageError when it cannot be made."""
        setting, calibrated = self.setting, bool(candidate.recipe)
        features = tuple(sorted(setting.features))
        samples = self.calibration(variant) if calibrated else None
        names = [spec.name for spec in variant.signature.inputs]

        def make(folder: Path) -> Mapping[str, Any]:
            task = ExportTask(
                variant=variant,
                candidate=candidate,
                target=setting.target.name,
                features=features,
                folder=str(folder),
                project=str(setting.project),
                samples=tuple(str(samples.files.inputs[name]) for name in names) if samples else (),
                samples_digest=samples.digest if samples else "",
                threads=setting.request.threads,
            )
            artifact: Mapping[str, Any] = msgspec.to_builtins(replace(self.worker.export(task), folder=""))
            return artifact

        parts = {
            "network": variant.digest,
            "backend": candidate.backend,
            "precision": candidate.precision,
            "device": candidate.device,
            "recipe": msgspec.to_builtins(find_recipe(candidate.recipe, setting.project))
            if calibrated
            else None,
            "calibration": samples.digest if samples else None,
            "target": msgspec.to_builtins(setting.target),
            "features": features,
            "threads": setting.request.threads,
            "versions": dict(setting.versions),
        }
        entry = self.cached("artifact", parts, make)
        artifact = msgspec.convert(entry.meta, Artifact)
        return replace(artifact, folder=str(entry.path), candidate=candidate.id)

    def outputs(self, artifact: Artifact, samples: Samples) -> dict[str, NDArray[np.generic]]:
        """What the artifact answers to each sample; [N, ...] each. Raises StageError when its runtime fails."""
        entry = self.answers(artifact, samples)
        files: Mapping[str, str] = entry.meta["files"]
        return {
            name: np.load(entry.path / file, mmap_mode="r", allow_pickle=False)
            for name, file in files.items()
        }

    def answers(self, artifact: Artifact, samples: Samples) -> StoreEntry:
        """The artifact run over the samples in a fresh process: files of its outputs, its peak memory.

        Without the board, the same graph in a runtime of this machine. Raises StageError when that fails or dies.
        """
        if self.setting.absent:
            artifact = get_backend(artifact.backend).on_host(artifact)

        def make(folder: Path) -> Mapping[str, Any]:
            found = measure(
                self.device,
                [artifact],
                folder=folder / "answers",
                options=MeasureOptions(threads=self.setting.request.threads, seconds=0.0),
                samples=samples.files.inputs,
                origin="host" if self.setting.absent else "device",
            )[artifact.candidate]
            if isinstance(found, Failure):
                raise StageError(found.stage, found.cause, found.remedy)
            return {
                "files": {name: str(path.relative_to(folder)) for name, path in found.outputs.items()},
                "peak_memory_bytes": found.measurement.peak_memory_bytes,
            }

        return self.cached("outputs", {**self.identity([artifact]), "samples": samples.digest}, make)

    def accuracy(self, artifact: Artifact, reference: Artifact, samples: Samples) -> Accuracy:
        """Accuracy on a split, and the paired drop from `reference`, the original in float."""
        labelled = samples.files.labels is not None
        return evaluate(
            self.outputs(artifact, samples),
            self.outputs(reference, samples),
            samples.files.labels,
            metric=self.setting.request.metric if labelled else None,
            split=samples.split,
        )

    def identity(self, artifacts: list[Artifact]) -> dict[str, Any]:
        """All that a measurement of these artifacts depends on, but for the clock."""
        machine = self.setting.machine
        return {
            "artifacts": [
                {
                    "backend": artifact.backend,
                    "entry": artifact.entry,
                    "options": dict(artifact.options),
                    "files": [file.sha256 for file in artifact.files],
                }
                for artifact in artifacts
            ],
            "cpu": machine.cpu,
            "features": sorted(machine.features),
            "threads": self.setting.request.threads,
            "versions": dict(self.setting.versions),
        }
