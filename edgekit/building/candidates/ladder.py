"""One candidate climbs the ladder of recipes until its accuracy holds with room to spare, or the ladder ends."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from edgekit.building.values import Attempt
from edgekit.errors import StageError
from edgekit.plan import candidate_id
from edgekit.progress import Reporter
from edgekit.quantize import Recipe
from edgekit.types import Candidate, Failure, Variant

__all__ = ["try_all"]

Check = Callable[[Variant, Candidate], Attempt]
"""Exports a candidate and runs it on the validation split. Raises StageError."""

FindRecipe = Callable[[str], Recipe]


def try_all(
    check: Check,
    recipes: FindRecipe,
    reporter: Reporter,
    variant: Variant,
    candidates: Sequence[Candidate],
    limit: float | None,
) -> tuple[list[Attempt], list[Failure]]:
    """Every candidate of one variant, each up its own ladder; `limit`: the largest accuracy drop, a fraction."""
    attempts: list[Attempt] = []
    failures: list[Failure] = []
    with reporter.step(f"Exporting and checking {variant.id}") as step:
        for done, candidate in enumerate(candidates):
            step.advance(done / len(candidates), candidate.id)
            made, failed = climb(check, recipes, variant, candidate, limit)
            for attempt in made:
                worst = attempt.accuracy.worst_part
                if worst is not None and worst.lost:
                    reporter.say(f"{attempt.candidate.id} loses a part of the outputs: {worst.text}")
            attempts += made
            failures += failed
    return attempts, failures


def climb(
    check: Check, recipes: FindRecipe, variant: Variant, candidate: Candidate, limit: float | None
) -> tuple[list[Attempt], list[Failure]]:
    """Attempts in the order of the ladder, which ends with its last recipe at the latest.

    Within half of the accuracy limit it ends at once. Closer to the limit the other observers are tried too, since
    another may lose less; layers are kept in float only when the limit is missed.
    """
    attempts: list[Attempt] = []
    failures: list[Failure] = []
    while True:
        try:
            attempt = check(variant, candidate)
        except StageError as error:
            failures.append(Failure(candidate.id, error.stage, error.cause, error.remedy))
        else:
            attempts.append(attempt)
            if limit is None or attempt.accuracy.drop.value <= limit / 2:
                return attempts, failures
        following = next_candidate(recipes, candidate)
        if following is None:
            return attempts, failures
        costs_latency = recipes(following.recipe).keep_float > 0
        if costs_latency and any_within(attempts, limit):
            return attempts, failures
        candidate = following


def any_within(attempts: Sequence[Attempt], limit: float | None) -> bool:
    """Whether some attempt keeps the limit."""
    return any(limit is None or attempt.accuracy.drop.value <= limit for attempt in attempts)


def next_candidate(recipes: FindRecipe, candidate: Candidate) -> Candidate | None:
    """The same candidate with the next recipe of its ladder that its backend has; None at the top."""
    name = candidate.recipe
    while name:
        name = recipes(name).next
        if name and candidate.backend in recipes(name).backends:
            label = name.removeprefix(f"{candidate.precision}-")
            identity = candidate_id(
                candidate.variant, candidate.backend, candidate.precision, label, candidate.device
            )
            return replace(candidate, id=identity, recipe=name)
    return None
