"""The winner (or, where none meets the budget, the nearest) as a bundle."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit._version import __version__
from edgekit.building.candidates.estimates import best_per_precision
from edgekit.building.measuring import Evaluator
from edgekit.building.outcome.claim import Claim
from edgekit.building.samples import SplitFiles
from edgekit.building.values import Attempt, Outcome
from edgekit.bundle import BoardIdentity, CandidateFacts, Golden, Offer, write_bundle, write_candidates
from edgekit.graph.tokens import vocabularies
from edgekit.hardware import Target
from edgekit.types import Accuracy, Artifact, Budget, Measurement, Preprocess, Variant

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Bundler", "hand_over"]

GOLDEN_SAMPLES = 8


@dataclass(frozen=True)
class Bundler:
    """Writes bundles into `folder`. `validation`: the split whose first samples are the golden inputs.

    `floats`: variant → its artifact in float32, where there is one.
    """

    folder: Path
    target: Target
    threads: int
    preprocess: Preprocess
    classes: tuple[str, ...]
    evaluator: Evaluator
    validation: SplitFiles
    floats: Mapping[str, Artifact] = field(default_factory=dict)

    def write(
        self, variant: Variant, attempt: Attempt, measurement: Measurement, claim: Accuracy | None
    ) -> None:
        """One candidate. Raises OutputError when the folder cannot be written."""
        write_bundle(self.folder, **self._parts(variant, attempt, measurement, claim))

    def write_several(
        self,
        networks: Mapping[str, Variant],
        attempts: Sequence[Attempt],
        measurements: Mapping[str, Measurement],
        claim: Accuracy | None,
        budget: Budget,
    ) -> None:
        """Several candidates for a board that is not here. `claim` is the first one's. Raises OutputError."""
        offers = []
        for place, attempt in enumerate(attempts):
            candidate, measurement = attempt.candidate, measurements[attempt.candidate.id]
            claimed = claim if place == 0 else None
            bundle = self._parts(networks[candidate.variant], attempt, measurement, claimed)
            offers.append(Offer(facts_of(attempt, measurement), bundle))
        if offers:
            write_candidates(
                self.folder,
                offers,
                target=self.target.name,
                identity=board_identity(self.target),
                budget=budget,
                threads=self.threads,
                edgekit_version=__version__,
            )

    def _parts(
        self, variant: Variant, attempt: Attempt, measurement: Measurement, claim: Accuracy | None
    ) -> dict[str, Any]:
        """What a bundle of one candidate is made of."""
        return dict(  # noqa: C408
            artifact=attempt.artifact,
            variant=variant,
            candidate=attempt.candidate,
            measurement=measurement,
            target=self.target.name,
            threads=self.threads,
            preprocess=self.preprocess,
            classes=self.classes,
            golden=self._golden(attempt),
            vocabularies=vocabularies(variant.onnx_path),
            edgekit_version=__version__,
            claim=claim,
        )

    def _golden(self, attempt: Attempt) -> Golden:
        """Answers that are in the store: every artifact answered the validation split before it was judged."""
        made = self.floats.get(attempt.candidate.variant)
        floats = None if made is None else self.evaluator.outputs(made, self.validation)
        return golden_of(self.validation, self.evaluator.outputs(attempt.artifact, self.validation), floats)


def hand_over(bundler: Bundler, outcome: Outcome, claim: Claim, budget: Budget, *, settled: bool) -> None:
    """The winner or the nearest, as it was last timed; where nothing is settled, the best few of each precision."""
    choice, measurements = outcome.choice, outcome.measurements
    bundler = replace(bundler, floats=in_float(outcome))
    if not settled:
        chosen = best_per_precision(outcome.attempts, measurements, choice, budget.max_drop)
        bundler.write_several(outcome.networks, chosen, measurements, claim.accuracy, budget)
        return
    attempt = outcome.attempt(choice.winner or choice.nearest)
    if attempt is not None:
        network = outcome.networks[attempt.candidate.variant]
        last = claim.confirmed or measurements[attempt.candidate.id]
        bundler.write(network, attempt, replace(last, accuracy=attempt.accuracy), claim.accuracy)


def in_float(outcome: Outcome) -> dict[str, Artifact]:
    """Variant → its artifact in float32, of those that have one."""
    made = {
        attempt.candidate.variant: attempt.artifact
        for attempt in outcome.attempts
        if attempt.candidate.precision == "fp32"
    }
    return {outcome.original.id: outcome.reference, **made}


def golden_of(
    samples: SplitFiles,
    outputs: Mapping[str, NDArray[np.generic]],
    floats: Mapping[str, NDArray[np.generic]] | None = None,
) -> Golden:
    """The first few samples and what the artifact answered to them; [GOLDEN_SAMPLES, ...] each, in memory.

    `floats`: what its network answers in float32.
    """
    return Golden(
        first(np.load(path, mmap_mode="r") for path in samples.paths),
        first(outputs.values()),
        None if floats is None else first(floats.values()),
    )


def first(arrays: Iterable[NDArray[np.generic]]) -> tuple[NDArray[np.generic], ...]:
    """The first few samples of each array, in memory."""
    return tuple(np.array(array[:GOLDEN_SAMPLES]) for array in arrays)


def facts_of(attempt: Attempt, measurement: Measurement) -> CandidateFacts:
    """What a bundle of several says of one candidate."""
    candidate = attempt.candidate
    return CandidateFacts(
        id=candidate.id,
        folder=f"candidates/{candidate.id}",
        variant=candidate.variant,
        backend=candidate.backend,
        precision=candidate.precision,
        device=candidate.device,
        estimated_ms=measurement.latency.p50 if measurement.latency else None,
        metric=attempt.accuracy.metric,
        value=attempt.accuracy.value.value,
        drop=attempt.accuracy.drop.value,
        size_bytes=attempt.artifact.size_bytes,
        drop_low=attempt.accuracy.drop.low,
        drop_high=attempt.accuracy.drop.high,
        drop_bound=attempt.accuracy.drop_bound,
    )


def board_identity(target: Target) -> BoardIdentity:
    """How settling recognises the board."""
    identity = target.identity
    return BoardIdentity(
        target.architecture,
        identity.models,
        identity.cpus,
        identity.all_of,
        identity.any_of,
        identity.none_of,
        identity.accelerator,
    )
