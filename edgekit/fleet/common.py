"""One model for all boards: the very same artifact, measured on each, against each board's own best."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from edgekit.result import CandidateResult, Result
from edgekit.types import Budget

__all__ = ["CommonCost", "CommonModel", "common_model"]


@dataclass(frozen=True)
class CommonCost:
    """What a board pays: its own best beside the common one.

    Latencies are those at the budget's percentile, `value` is the metric's on validation.
    `meets`: whether the common one keeps the board's budget by its interval's end and its drop.
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
    shared = set.intersection(*(set(table) for table in rows.values()))
    models = [
        CommonModel(
            next(iter(rows.values()))[digest].id,
            digest,
            tuple(_cost(board, result, rows[board][digest]) for board, result in results.items()),
        )
        for digest in sorted(shared)
        if all(_best(result) is not None for result in results.values())
    ]
    return max(models, key=_rank, default=None)


def _by_digest(result: Result) -> dict[str, CandidateResult]:
    return {
        candidate.digest: candidate
        for candidate in result.candidates
        if candidate.digest and candidate.origin == "device" and candidate.latency_ms and candidate.accuracy
    }


def _best(result: Result) -> CandidateResult | None:
    name = result.winner or result.nearest
    return next(
        (row for row in _by_digest(result).values() if row.id == name),
        None,
    )


def _at(candidate: CandidateResult) -> float:
    latency = candidate.latency_ms
    assert latency is not None
    return float(getattr(latency, latency.percentile))


def _cost(board: str, result: Result, candidate: CandidateResult) -> CommonCost:
    best = _best(result)
    assert best is not None
    assert best.accuracy is not None
    assert candidate.accuracy is not None
    return CommonCost(
        board=board,
        best=best.id,
        best_latency_ms=_at(best),
        latency_ms=_at(candidate),
        best_value=best.accuracy.value,
        value=candidate.accuracy.value,
        meets=_meets(candidate, result.budget),
    )


def _meets(candidate: CandidateResult, budget: Budget) -> bool:
    latency, accuracy = candidate.latency_ms, candidate.accuracy
    assert latency is not None
    assert accuracy is not None
    limits = (
        (budget.max_latency_ms, latency.high),
        (budget.max_drop, accuracy.drop if accuracy.drop_bound is None else accuracy.drop_bound),
        (budget.max_size_bytes, candidate.size_bytes),
        (budget.max_memory_bytes, candidate.peak_memory_bytes),
    )
    return all(limit is None or value <= limit for limit, value in limits)


def _rank(model: CommonModel) -> tuple[int, float, float, str]:
    return (
        sum(cost.meets for cost in model.costs),
        min(cost.value - cost.best_value for cost in model.costs),
        -max(cost.latency_ms / cost.best_latency_ms for cost in model.costs),
        model.digest,
    )
