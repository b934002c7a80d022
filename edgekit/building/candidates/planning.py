"""Which candidates a network has on the target, and which of them its runtimes take."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from edgekit.building.board import Board, Runtimes
from edgekit.errors import StageError, TimeLimitReached, UserError
from edgekit.plan import Plan, plan_candidates
from edgekit.quantize import Recipe
from edgekit.runtimes import RUNTIMES
from edgekit.types import BackendName, Candidate, Issue, Precision, Rejection, Variant

__all__ = ["lint", "plan_for", "refuse_too_large"]


def plan_for(
    variant: Variant,
    board: Board,
    runtimes: Runtimes,
    precisions: Sequence[Precision] | None,
    recipe: Recipe | None,
) -> Plan:
    """The candidates of one variant. `recipe` begins the ladder of the backends it is for; the others keep theirs."""
    recipes = {name: row.int8_recipe for name, row in RUNTIMES.items()}
    if recipe is not None:
        recipes.update(dict.fromkeys(recipe.backends, recipe.name))
    return plan_candidates(
        board.target,
        [variant],
        precisions=precisions,
        backends=runtimes.usable,
        unusable=runtimes.unusable,
        features=board.features,
        default_recipes=recipes,
    )


def refuse_too_large(plan: Plan) -> None:
    """A network of which no build fits into the board's memory is the user's to shrink. Raises UserError."""
    if not plan.candidates and plan.rejections:
        smallest = plan.rejections[0]
        raise UserError(
            f"the network is too large for the board: {smallest.what}: {smallest.reason}",
            remedy=f"give {smallest.instead}" if smallest.instead else "",
        )


def lint(
    issues_of: Callable[[BackendName], tuple[Issue, ...]],
    backends: Sequence[BackendName],
    candidates: Sequence[Candidate],
) -> tuple[tuple[Candidate, ...], tuple[Rejection, ...]]:
    """Candidates whose runtime takes the network; for the others a rejection, each with its node.

    `issues_of` asks a runtime; its StageError (the network cannot be read, the runtime died of it) is an issue too.
    Where the time limit keeps it from being asked, its candidates stay: those that an earlier build finished are taken.
    """
    kept = tuple(candidates)
    rejections: list[Rejection] = []
    for name in backends:
        try:
            issues = issues_of(name)
        except StageError as error:
            issues = (Issue("error", "", error.cause, error.remedy),)
        except TimeLimitReached:
            continue
        for issue in issues:
            if issue.severity == "error":
                kept = tuple(candidate for candidate in kept if candidate.backend != name)
                what = f"{name}: {issue.node}" if issue.node else name
                rejections.append(Rejection(what, issue.reason, issue.remedy))
    return kept, tuple(rejections)
