"""Which layers a step costs most at: two artifacts compared layer by layer, as a task."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from edgekit.building.cache import Cache
from edgekit.building.executor import Executor
from edgekit.building.measuring import artifact_identity
from edgekit.building.samples import SplitFiles
from edgekit.errors import StageError
from edgekit.hardware import Machine
from edgekit.progress import Reporter
from edgekit.result import LayerLoss
from edgekit.types import Artifact

if TYPE_CHECKING:
    from edgekit.compare import Comparison

__all__ = ["layer_losses"]

OWN_DB = 1.0  # what a layer has to lose against its inputs to be named itself


@dataclass(frozen=True)
class LayerLossTask:
    """The layers where `after` loses most against `before`, the worst first.

    `inputs`: .npy files of samples [N, ...] in the order of `before`'s inputs, with their digest; the first `samples`
    are used (SQNR settles within a few). `cpu`, `features`, `versions`: whose arithmetic the two are compared in.
    """

    before: Artifact
    after: Artifact
    inputs: tuple[str, ...]
    inputs_digest: str
    threads: int
    cpu: str
    features: tuple[str, ...]
    versions: Mapping[str, str]
    samples: int = 64
    layers: int = 3

    stage: ClassVar[str] = "layers"
    answer_type: ClassVar[Any] = tuple[LayerLoss, ...]
    timeout_s: ClassVar[float | None] = 300.0

    def key_parts(self) -> dict[str, Any]:
        """What the answer depends on."""
        return {
            "before": artifact_identity(self.before),
            "after": artifact_identity(self.after),
            "inputs": self.inputs_digest,
            "threads": self.threads,
            "cpu": self.cpu,
            "features": self.features,
            "versions": dict(self.versions),
            "samples": self.samples,
            "layers": self.layers,
            "own_db": OWN_DB,
        }

    def perform(self, folder: Path) -> tuple[LayerLoss, ...]:
        """See executor.Task; no file is made. Raises ModelError, DataError, StageError."""
        import numpy as np

        from edgekit.compare import CompareSamples, compare_artifacts

        arrays = tuple(
            np.load(path, mmap_mode="r", allow_pickle=False)[: self.samples] for path in self.inputs
        )
        stream = CompareSamples(lambda: iter([(arrays, None)]), len(arrays[0]), "validation samples")
        return own_losses(
            compare_artifacts(self.before, self.after, stream, threads=self.threads), self.layers
        )


def layer_losses(
    cache: Cache,
    executor: Executor,
    reporter: Reporter,
    machine: Machine,
    versions: Mapping[str, str],
    threads: int,
    samples: SplitFiles,
    before: Artifact,
    after: Artifact,
) -> tuple[LayerLoss, ...]:
    """The layers where `after` loses most against `before`; none where the two cannot be compared.

    They are compared on this machine, whichever is the board: `machine`, with the runtimes' `versions` here.
    """
    task = LayerLossTask(
        before=before,
        after=after,
        inputs=samples.paths,
        inputs_digest=samples.digest,
        threads=threads,
        cpu=machine.cpu,
        features=tuple(sorted(machine.features)),
        versions=versions,
    )
    try:
        layers, _ = cache.answer(executor, task, lambda: reporter.step("Looking for the layers to blame"))
    except StageError:
        return ()
    return layers


def own_losses(comparison: Comparison, most: int) -> tuple[LayerLoss, ...]:
    """The `most` lowest SQNRs that do not merely come with a layer's inputs."""
    own = [
        layer
        for layer in comparison.worst()
        if layer.op != "input"
        and (layer.inputs_db is None or layer.difference.sqnr_db < layer.inputs_db - OWN_DB)
    ]
    return tuple(
        LayerLoss(layer.name, layer.difference.sqnr_db, layer.inputs_db, next(iter(layer.hints), ""))
        for layer in own[:most]
    )
