"""Candidates → artifacts, and what a runtime says of a network: tasks, cached by their keys."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from edgekit.building.cache import Cache
from edgekit.building.executor import Executor
from edgekit.building.samples import SampleStore
from edgekit.building.tasks import ExportTask, LintTask
from edgekit.data import Split
from edgekit.hardware import Target
from edgekit.quantize import find_recipe
from edgekit.types import Artifact, BackendName, Candidate, Issue, Variant

__all__ = ["Exporter"]


@dataclass(frozen=True)
class Exporter:
    """Exports and lints for one target. `features`: of the board's CPU. `project`: where the user's recipes lie."""

    cache: Cache
    executor: Executor
    samples: SampleStore
    calibration: Split
    target: Target
    features: frozenset[str]
    threads: int
    versions: Mapping[str, str]
    project: Path

    def export(self, variant: Variant, candidate: Candidate) -> Artifact:
        """Raises StageError when the artifact cannot be made."""
        recipe = find_recipe(candidate.recipe, self.project) if candidate.recipe else None
        calibration = self.samples.files(self.calibration, variant.signature) if recipe else None
        task = ExportTask(
            variant=variant,
            candidate=candidate,
            target=self.target,
            features=tuple(sorted(self.features)),
            recipe=recipe,
            samples=calibration.paths if calibration else (),
            samples_digest=calibration.digest if calibration else "",
            threads=self.threads,
            versions=self.versions,
            store=str(self.cache.store.folder),
        )
        artifact, folder = self.cache.answer(self.executor, task)
        return replace(artifact, folder=str(folder), candidate=candidate.id)

    def lint(self, variant: Variant, backend: BackendName) -> tuple[Issue, ...]:
        """What the runtime says of the network. Raises StageError when it cannot read it or dies of it."""
        task = LintTask(variant, backend, self.target, self.versions)
        examination, _ = self.cache.answer(self.executor, task)
        return examination.issues
