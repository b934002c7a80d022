"""One candidate climbs the ladder of recipes until its accuracy holds with room to spare, or the ladder ends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from edgekit.building.context import Workshop
from edgekit.errors import StageError
from edgekit.plan import candidate_id
from edgekit.quantize import find_recipe
from edgekit.types import Accuracy, Artifact, Candidate, Failure, Variant

__all__ = ["Attempt", "climb", "try_all"]


@dataclass(frozen=True)
class Attempt:
    """A candidate that could be exported and run, with its accuracy on the validation split."""

    candidate: Candidate
    artifact: Artifact
    accuracy: Accuracy


def try_all(
    shop: Workshop, variant: Variant, candidates: Sequence[Candidate], reference: Artifact
) -> tuple[list[Attempt], list[Failure]]:
    """Every candidate of one variant, each up its own ladder."""
    attempts: list[Attempt] = []
    failures: list[Failure] = []
    with shop.reporter.step(f"Exporting and checking {variant.id}") as step:
        for done, candidate in enumerate(candidates):
            step.advance(done / len(candidates), candidate.id)
            made, failed = climb(shop, variant, candidate, reference)
            attempts += made
            failures += failed
    return attempts, failures


def climb(
    shop: Workshop, variant: Variant, candidate: Candidate, reference: Artifact
) -> tuple[list[Attempt], list[Failure]]:
    """Attempts in the order of the ladder, which ends with its last recipe at the latest.

    Within half of the accuracy limit it ends at once. Closer to the limit the other observers are tried too, since
    one of them may lose less; layers are kept in float only when the limit is missed.
    """
    limit = shop.setting.request.budget.max_drop
    attempts: list[Attempt] = []
    failures: list[Failure] = []
    while True:
        try:
            artifact = shop.export(variant, candidate)
            samples = shop.samples(shop.setting.splits.validation, variant.signature)
            accuracy = shop.accuracy(artifact, reference, samples)
        except StageError as error:
            failures.append(Failure(candidate.id, error.stage, error.cause, error.remedy))
        else:
            attempts.append(Attempt(candidate, artifact, accuracy))
            if limit is None or accuracy.drop.value <= limit / 2:
                return attempts, failures
        following = next_candidate(shop, candidate)
        if following is None or (keeps_float(shop, following) and holds(attempts, limit)):
            return attempts, failures
        candidate = following


def holds(attempts: Sequence[Attempt], limit: float | None) -> bool:
    """Whether some attempt is within the limit."""
    return any(limit is None or attempt.accuracy.drop.value <= limit for attempt in attempts)


def keeps_float(shop: Workshop, candidate: Candidate) -> bool:
    """Whether the candidate's recipe leaves layers in float, which costs latency."""
    return find_recipe(candidate.recipe, shop.setting.project).keep_float > 0


def next_candidate(shop: Workshop, candidate: Candidate) -> Candidate | None:
    """The same candidate with the next recipe of its ladder that its backend has; None at the top."""
    name = candidate.recipe
    while name:
        name = find_recipe(name, shop.setting.project).next
        if name and candidate.backend in find_recipe(name, shop.setting.project).backends:
            label = name.removeprefix(f"{candidate.precision}-")
            identity = candidate_id(
                candidate.variant, candidate.backend, candidate.precision, label, candidate.device
            )
            return replace(candidate, id=identity, recipe=name)
    return None
