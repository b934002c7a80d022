"""One model for all boards: the very same artifact, measured on each, against each board's own best."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from edgekit.report.checks import checks_of
from edgekit.report.verdict import best_candidate
from edgekit.report.wording import latency_at
from edgekit.result import CandidateResult, Result
from edgekit.types import Budget

__all__ = ["CommonCost", "CommonModel", "common_model"]


@dataclass(frozen=True)
class CommonCost:
    """What a board pays: its own best beside the common one.

    Latencies are those at the budget's percentile, `value` is the metric's on validation.
    `meets`: whether the common one keeps the board's budget, by the page's own checks.
    """

    board: str
    best: str
    best_latency_ms: float
    latency_ms: float
    best_value: float
    value: float
    meets: bool


@dataclass(frozen=True)
class CommonModel:
    """`digest`: of the artifact's files, the same on every board; `candidate`: what the first board calls it."""

    candidate: str
    digest: str
    costs: tuple[CommonCost, ...]

    @property
    def meets_all(self) -> bool:
        """Whether it keeps every board's budget."""
        return all(cost.meets for cost in self.costs)


def common_model(results: Mapping[str, Result]) -> CommonModel | None:
    """Of the artifacts that were measured on every board, the one that costs least; None where there is none.

    First those that keep the most budgets, then the most accurate on the board where it is least so against that
    board's own best, then the fastest in the same sense. Only what a board itself has measured counts.
    """
    if len(results) < 2:
        return None
    rows = {board: _by_digest(result) for board, result in results.items()}
    best = {board: best_candidate(result) for board, result in results.items()}
    if any(row is None or row.digest not in rows[board] for board, row in best.items()):
        return None  # a board that measured nothing itself has no best of its own
    models = [
        CommonModel(
            next(iter(rows.values()))[digest].id,
            digest,
            tuple(
                _cost(board, result.budget, rows[board][own.digest], rows[board][digest])
                for (board, result), own in zip(results.items(), best.values(), strict=True)
                if own is not None
            ),
        )
        for digest in sorted(set.intersection(*(set(table) for table in rows.values())))
    ]
    return max(models, key=_rank, default=None)


def _by_digest(result: Result) -> dict[str, CandidateResult]:
    return {
        candidate.digest: candidate
        for candidate in result.candidates
        if candidate.digest and candidate.origin == "device" and candidate.latency_ms and candidate.accuracy
    }


def _cost(board: str, budget: Budget, best: CandidateResult, candidate: CandidateResult) -> CommonCost:
    assert best.latency_ms is not None
    assert best.accuracy is not None
    assert candidate.latency_ms is not None
    assert candidate.accuracy is not None
    return CommonCost(
        board=board,
        best=best.id,
        best_latency_ms=latency_at(best.latency_ms),
        latency_ms=latency_at(candidate.latency_ms),
        best_value=best.accuracy.value,
        value=candidate.accuracy.value,
        meets=all(check.state in ("met", "") for check in checks_of(candidate, budget)),
    )


def _rank(model: CommonModel) -> tuple[int, float, float, str]:
    return (
        sum(cost.meets for cost in model.costs),
        min(cost.value - cost.best_value for cost in model.costs),
        -max(cost.latency_ms / cost.best_latency_ms for cost in model.costs),
        model.digest,
    )
