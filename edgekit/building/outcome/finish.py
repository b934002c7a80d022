"""After the choice: what no choice has seen decides whether it stands."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from edgekit.building.board import Board
from edgekit.building.candidates.estimates import provisional
from edgekit.building.candidates.timing import Timer, time_alone
from edgekit.building.measuring import Evaluator
from edgekit.building.outcome.claim import Claim, Looks, settle_claim
from edgekit.building.samples import SplitFiles
from edgekit.building.values import Attempt, Outcome
from edgekit.errors import OutputError
from edgekit.progress import Reporter
from edgekit.types import Accuracy, Budget, Choice, Signature

__all__ = ["claimed", "make_folder"]


def claimed(
    outcome: Outcome,
    board: Board,
    budget: Budget,
    bundle: Path,
    evaluator: Evaluator,
    timer: Timer,
    samples: SplitFiles,
    test_for: Callable[[Signature], SplitFiles],
    choose_without: Callable[[Mapping[str, str]], Choice],
    reporter: Reporter,
) -> Claim:
    """The choice as the claim leaves it. `samples`: the validation split, whose first one is timed.

    For a board that is not here, or only emulated, the one that is expected to do best is
    measured on the test split, and nothing is settled. Raises StageError when a candidate does not run.
    """

    def test(attempt: Attempt, confidence: float | None) -> Accuracy:
        with reporter.step("Measuring the winner's claim on the test split"):
            split = test_for(outcome.original.signature)
            return evaluator.accuracy(attempt.artifact, outcome.reference, split, confidence)

    if board.is_real:
        return settle_claim(outcome, budget, Looks(choose_without, partial(time_alone, timer, samples), test))
    ran = [attempt for attempt in outcome.attempts if attempt.candidate.id in outcome.measurements]
    choice = provisional(board, outcome.choice, ran, bundle)
    lead = outcome.attempt(choice.winner or choice.nearest)
    return Claim(choice, None if lead is None else test(lead, None))


def make_folder(folder: Path) -> None:
    """Raises OutputError when it cannot be made."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"--out {folder} cannot be made: {error.strerror}") from error
