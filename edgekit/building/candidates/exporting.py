"""Candidates → artifacts, and what a runtime says of a network: tasks, cached by their keys."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from edgekit.building.cache import Cache
from edgekit.building.executor import Executor
from edgekit.building.layer_times import LayerTimes
from edgekit.building.samples import SampleStore
from edgekit.building.side_by_side import side_by_side
from edgekit.building.tasks import ExportTask, LintTask, PlacementTask
from edgekit.data import Split
from edgekit.hardware import Target
from edgekit.quantize import find_recipe
from edgekit.quantize.placement import Placement
from edgekit.types import Artifact, BackendName, Candidate, Issue, Variant

__all__ = ["Export", "Exporter"]

Export = Callable[[Variant, Candidate], Artifact]
"""Candidate → artifact. Raises StageError when it cannot be made, TimeLimitReached."""


@dataclass(frozen=True)
class Exporter:
    """Exports and lints for one target. `features`: of the board's CPU. `project`: where the user's recipes lie.

    `layer_times`: what layers in float are chosen by, where the request asks for it.
    """

    cache: Cache
    executor: Executor
    samples: SampleStore
    calibration: Split
    target: Target
    features: frozenset[str]
    threads: int
    versions: Mapping[str, str]
    project: Path
    layer_times: LayerTimes | None = None

    def export(self, variant: Variant, candidate: Candidate) -> Artifact:
        """Raises StageError when the artifact cannot be made."""
        artifact, folder = self.cache.answer(self.executor, self._task(variant, candidate))
        return replace(artifact, folder=str(folder), candidate=candidate.id)

    def placement(self, variant: Variant, candidate: Candidate, artifact: Artifact) -> Placement:
        """Where the INT8 artifact of a candidate has integers. Raises StageError where that cannot be simulated."""
        placed, _ = self.cache.answer(self.executor, PlacementTask(self._task(variant, candidate), artifact))
        return placed

    def exported_ahead(self, wanted: Sequence[tuple[Variant, Candidate]]) -> Export:
        """`export`, for which those that are not in the store were made side by side where the executor has room.

        Nothing is measured meanwhile: what runs on this machine would disturb it.
        """
        missing = {
            (variant.id, candidate.id): (variant, candidate)
            for variant, candidate in wanted
            if not self.cache.holds(self._task(variant, candidate))
        }
        # Asked last: to say how many slots there are a cluster has to start, which a rerun needs not.
        if len(missing) < 2 or self.executor.slots < 2:
            return self.export
        made = side_by_side(
            self.executor, {key: partial(self.export, *pair) for key, pair in missing.items()}
        )

        def export(variant: Variant, candidate: Candidate) -> Artifact:
            ready = made.get((variant.id, candidate.id))
            if ready is None:
                return self.export(variant, candidate)
            if isinstance(ready, Artifact):
                return ready
            raise ready

        return export

    def _task(self, variant: Variant, candidate: Candidate) -> ExportTask:
        """The export of a candidate."""
        recipe = find_recipe(candidate.recipe, self.project) if candidate.recipe else None
        calibration = self.samples.files(self.calibration, variant.signature) if recipe else None
        times = None
        if recipe is not None and recipe.float_time and self.layer_times is not None:
            times = self.layer_times.precision_times(variant, candidate.backend)
        return ExportTask(
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
            times=times,
        )

    def lint(self, variant: Variant, backend: BackendName) -> tuple[Issue, ...]:
        """What the runtime says of the network. Raises StageError when it cannot read it or dies of it."""
        task = LintTask(variant, backend, self.target, self.versions)
        examination, _ = self.cache.answer(self.executor, task)
        return examination.issues
