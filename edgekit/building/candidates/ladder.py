"""One candidate climbs the ladder of recipes until its accuracy holds with room to spare, or the ladder ends."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from edgekit.building.candidates.float_walk import MOST_BUILDS, following
from edgekit.building.time_limit import TimeLimit
from edgekit.building.values import Attempt
from edgekit.errors import StageError, TimeLimitReached
from edgekit.plan import candidate_id
from edgekit.progress import Reporter
from edgekit.quantize import Recipe, at_share
from edgekit.types import Candidate, Failure, Rejection, Variant

__all__ = ["Tried", "climb", "try_all"]

Check = Callable[[Variant, Candidate], Attempt]
"""Exports a candidate and runs it on the validation split. Raises StageError, TimeLimitReached."""

FindRecipe = Callable[[str], Recipe]


@dataclass(frozen=True)
class Tried:
    """What became of candidates. `rejections`: those that the time limit left no room for."""

    attempts: tuple[Attempt, ...] = ()
    failures: tuple[Failure, ...] = ()
    rejections: tuple[Rejection, ...] = ()

    def plus(self, other: Tried) -> Tried:
        """Both."""
        return Tried(
            self.attempts + other.attempts,
            self.failures + other.failures,
            self.rejections + other.rejections,
        )


def try_all(
    check: Check,
    recipes: FindRecipe,
    reporter: Reporter,
    variant: Variant,
    candidates: Sequence[Candidate],
    limit: float | None,
    time_limit: TimeLimit | None = None,
) -> Tried:
    """Every candidate of one variant, each up its own ladder; `limit`: the largest accuracy drop, a fraction.

    `time_limit`: the one that `check` keeps to. After it only what is stored is taken: each candidate is asked.
    """
    tried = Tried()
    with reporter.step(f"Exporting and checking {variant.id}") as step:
        for done, candidate in enumerate(candidates):
            tell = partial(step.advance, done / len(candidates))
            made = climb(check, recipes, variant, candidate, limit, time_limit, tell)
            for attempt in made.attempts:
                worst = attempt.accuracy.worst_part
                if worst is not None and worst.lost:
                    reporter.say(f"{attempt.candidate.id} loses a part of the outputs: {worst.text}")
            tried = tried.plus(made)
    return tried


def climb(
    check: Check,
    recipes: FindRecipe,
    variant: Variant,
    candidate: Candidate,
    limit: float | None,
    time_limit: TimeLimit | None = None,
    tell: Callable[[str], None] | None = None,
) -> Tried:
    """Attempts in the order of the ladder, which ends with its last recipe at the latest; `tell`: of each, by its id.

    Within half of the accuracy limit it ends at once. Closer to the limit the other observers are tried too, since
    another may lose less. Only when the limit is missed the network is repaired, which takes time here, and after that
    layers are kept in float, which takes time there: as little of it as keeps the limit, where the times of layers are
    known (`walk`).
    """
    tried = Tried()
    while True:
        became = once(check, variant, candidate, time_limit, tell)
        tried = tried.plus(became)
        if became.rejections:
            return tried
        for attempt in became.attempts:
            summary = attempt.artifact.quantization
            if limit is not None and summary is not None and summary.frontier:
                return tried.plus(walk(check, recipes, variant, attempt, limit, time_limit, tell))
            if limit is None or attempt.accuracy.drop.value <= limit / 2:
                return tried
        following = next_candidate(recipes, candidate)
        if following is None:
            return tried
        recipe = recipes(following.recipe)
        costly = recipe.repairs or recipe.keep_float > 0
        if costly and any_within(tried.attempts, limit):
            return tried
        candidate = following


def walk(
    check: Check,
    recipes: FindRecipe,
    variant: Variant,
    first: Attempt,
    limit: float,
    time_limit: TimeLimit | None = None,
    tell: Callable[[str], None] | None = None,
) -> Tried:
    """What comes behind `first`: sets of layers in float of its frontier, by bisection, MOST_BUILDS at most."""
    candidate, summary = first.candidate, first.artifact.quantization
    assert summary is not None
    recipe = recipes(candidate.recipe)
    percents = [point.percent for point in summary.frontier]
    # That of `first` is the slowest within its own share.
    own = max((percent for percent in percents if percent <= 100 * recipe.float_time + 1e-6), default=0)
    kept = {own: first.accuracy.drop.value <= limit}
    tried = Tried()
    while len(kept) <= MOST_BUILDS and (percent := following(percents, kept)) is not None:
        wanted = with_recipe(candidate, at_share(recipe, percent).name)
        became = once(check, variant, wanted, time_limit, tell)
        tried = tried.plus(became)
        if became.rejections:
            return tried
        kept[percent] = any_within(became.attempts, limit)
    return tried


def once(
    check: Check,
    variant: Variant,
    candidate: Candidate,
    time_limit: TimeLimit | None = None,
    tell: Callable[[str], None] | None = None,
) -> Tried:
    """What became of a single candidate."""
    if tell is not None:
        tell(candidate.id)
    try:
        return Tried(attempts=(check(variant, candidate),))
    except TimeLimitReached:
        assert time_limit is not None
        return Tried(rejections=(time_limit.not_tried(candidate.id),))
    except StageError as error:
        return Tried(failures=(Failure(candidate.id, error.stage, error.cause, error.remedy),))


def any_within(attempts: Sequence[Attempt], limit: float | None) -> bool:
    """Whether some attempt keeps the limit."""
    return any(limit is None or attempt.accuracy.drop.value <= limit for attempt in attempts)


def next_candidate(recipes: FindRecipe, candidate: Candidate) -> Candidate | None:
    """The same candidate with the next recipe of its ladder that its backend has; None at the top."""
    name = candidate.recipe
    while name:
        name = recipes(name).next
        if name and candidate.backend in recipes(name).backends:
            return with_recipe(candidate, name)
    return None


def with_recipe(candidate: Candidate, name: str) -> Candidate:
    """The same candidate with another recipe."""
    label = name.removeprefix(f"{candidate.precision}-")
    identity = candidate_id(
        candidate.variant, candidate.backend, candidate.precision, label, candidate.device
    )
    return replace(candidate, id=identity, recipe=name)
