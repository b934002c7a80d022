"""After the choice: the claim on the test split decides whether it stands."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from edgekit.building.candidates.estimates import provisional
from edgekit.building.measuring import Evaluator
from edgekit.building.samples import SplitFiles
from edgekit.building.setup import Board
from edgekit.building.values import Outcome
from edgekit.errors import OutputError
from edgekit.progress import Reporter
from edgekit.types import Accuracy, Choice, Signature

__all__ = ["claimed", "make_folder"]


def claimed(
    outcome: Outcome,
    board: Board,
    limit: float | None,
    bundle: Path,
    evaluator: Evaluator,
    test_for: Callable[[Signature], SplitFiles],
    reporter: Reporter,
) -> tuple[Outcome, Accuracy | None]:
    """The outcome as the test split leaves it, and the accuracy there of the winner (or of the expected one).

    No choice has seen that split. `limit`: the largest accuracy drop. Raises StageError when the winner does not run.
    """
    choice, claim = outcome.choice, None
    if board.absent:
        ran = [attempt for attempt in outcome.attempts if attempt.candidate.id in outcome.measurements]
        choice = provisional(board, choice, ran, bundle)
    claimant = outcome.attempt(choice.winner or (choice.nearest if board.absent else None))
    if claimant is not None:
        with reporter.step("Measuring the winner's claim on the test split"):
            test = test_for(outcome.original.signature)
            claim = evaluator.accuracy(claimant.artifact, outcome.reference, test)
        if choice.winner is not None:
            choice = with_claim(choice, claim, limit)
    return replace(outcome, choice=choice), claim


def with_claim(choice: Choice, claim: Accuracy, limit: float | None) -> Choice:
    """The verdict stands only if the claim holds on the test split too; nothing else is chosen by that split."""
    if limit is None or claim.drop.value <= limit:
        return choice
    text = (
        f"{choice.winner} met the budget on the validation split, but on the test split its accuracy drop is "
        f"{100 * claim.drop.value:.2f} points [{100 * claim.drop.low:.2f}, {100 * claim.drop.high:.2f}], over "
        f"the limit of {100 * limit:.2f}. More validation samples or a higher --max-drop would settle it."
    )
    reasons = {**choice.reasons, choice.winner or "": text}
    return replace(
        choice, verdict="MISSES", winner=None, nearest=choice.winner, explanation=text, reasons=reasons
    )


def make_folder(folder: Path) -> None:
    """Raises OutputError when it cannot be made."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"--out {folder} cannot be made: {error.strerror}") from error
