"""What a budget asks of one candidate, and by how much it is missed."""

from __future__ import annotations

import math
from dataclasses import dataclass

from edgekit.board.verdict import Check, checks
from edgekit.choose.entry import Entry, limits_of
from edgekit.choose.wording import mj, mj_interval, ms, ms_interval, points, points_interval, size
from edgekit.errors import BudgetError
from edgekit.types import Budget, Estimate, Percentile

__all__ = ["Finding", "check_budget", "claim_sentence", "judge", "retry_confidence", "unestablished"]

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Finding:
    """One limit against one candidate.

    `excess` is relative to the limit: 0 when met, 0.5 for half over it, infinite when the quantity was not
    measured. `text` compares in numbers; `need` says what would mend a miss.
    """

    limit: str
    excess: float
    text: str
    need: str = ""

    @property
    def met(self) -> bool:
        return self.excess <= 0


def check_budget(budget: Budget) -> None:
    """Raises BudgetError for a limit that no measurement can be compared with."""
    positive = {
        "latency": budget.max_latency_ms,
        "size": budget.max_size_bytes,
        "memory": budget.max_memory_bytes,
        "energy": budget.max_energy_mj,
    }
    for name, limit in positive.items():
        if limit is not None and not (math.isfinite(limit) and limit > 0):
            raise BudgetError(f"the {name} budget is {limit}", allowed="a finite quantity above zero")
    if budget.max_drop is not None and not math.isfinite(budget.max_drop):
        raise BudgetError(f"the accuracy drop allowed is {budget.max_drop}", allowed="a finite fraction")
    if budget.confidence is not None and budget.max_drop is None:
        raise BudgetError("a confidence without a limit on the accuracy drop", allowed="both, as 95% and 1%")


def judge(entry: Entry, budget: Budget) -> tuple[Finding, ...]:
    """One finding for each limit that the budget sets, in the order of `board.verdict.checks`."""
    made = checks(entry.figures(budget.percentile), limits_of(budget))
    return tuple(_in_words(check, entry, budget) for check in made)


def unestablished(entry: Entry, budget: Budget) -> str:
    """The reservation about a drop that meets the limit by its value but not by its whole interval."""
    drop, limit = entry.drop, budget.max_drop
    if drop is None or limit is None or not drop.value <= limit < drop.high:
        return ""
    if entry.is_unchanged or entry.measurement.accuracy is None:
        return ""
    split = entry.measurement.accuracy.split
    return f"on the {split} split not established: the 95 % interval reaches {points(drop.high, apart_from=limit)}"


def retry_confidence(budget: Budget, retries: int) -> float:
    """Of the drop's interval in each of so many retries: together they err upward as often as one interval of the
    budget's confidence (95 % unless it asks for one) does at its high end. Bonferroni's correction.
    """
    return 1 - (1 - (budget.confidence or CONFIDENCE)) / retries


def claim_sentence(entry: Entry, budget: Budget) -> tuple[bool | None, str]:
    """Whether the drop that was claimed is established, and the sentence that says so; None without a limit.

    The accuracy of `entry` is the claim's, on samples that no choice has seen.
    """
    accuracy, limit = entry.measurement.accuracy, budget.max_drop
    if accuracy is None or limit is None:
        return None, ""
    if entry.is_unchanged:
        return True, "Established: it is the unchanged network in float, whose drop is zero by definition."
    bound = accuracy.drop.high if accuracy.drop_bound is None else accuracy.drop_bound
    confidence = CONFIDENCE if accuracy.drop_bound is None else budget.confidence or CONFIDENCE
    seen = f"on the {accuracy.split} split the drop is {points_interval(accuracy.drop)}"
    reaches = f"the high end of its {100 * confidence:.4g} % interval is {points(bound, apart_from=limit)}"
    said = f"{seen}, and {reaches}; the limit is {points(limit, apart_from=bound)}"
    return (True, f"Established: {said}.") if bound <= limit else (False, f"Not established: {said}.")


def _in_words(check: Check, entry: Entry, budget: Budget) -> Finding:
    percentile = budget.percentile
    latency = entry.latency(percentile)
    if check.value is None:
        name = "peak memory" if check.limit == "memory" else check.limit
        need = "a board that tells its power, or --meter" if check.limit == "energy" else ""
        return Finding(check.limit, check.excess, f"its {name} was not measured", need)
    if check.limit == "latency" and latency is not None:
        text, need = _latency(latency, percentile, check.allowed)
    elif check.limit == "accuracy" and check.allowed is not None:
        bounded = budget.confidence is not None and not entry.is_unchanged
        text, need = _accuracy(check.value, check.allowed, budget.confidence if bounded else None)
    elif check.limit == "energy" and entry.energy is not None and check.allowed is not None:
        text, need = _energy(entry.energy, check.allowed)
    else:
        text, need = _bytes(check.limit, int(check.value), int(check.allowed or 0))
    return Finding(check.limit, check.excess, text, need)


def _accuracy(drop: float, limit: float, confidence: float | None) -> tuple[str, str]:
    """With a confidence, `drop` is the high end of its interval."""
    drop_text, limit_text = points(drop, apart_from=limit), points(limit, apart_from=drop)
    if confidence is not None:
        drop_text = f"{drop_text} (high end of its {100 * confidence:.4g} % interval)"
    elif drop < 0 <= limit:
        return f"accuracy gain {points(-drop)}, a drop of {limit_text} is allowed", ""
    if drop <= limit:
        return f"accuracy drop {drop_text} <= {limit_text}", ""
    need = (
        f"{points(drop - limit, apart_from=0)} less accuracy drop, "
        f"or an accuracy limit of {points(drop, up=True)}"
    )
    more = ", or more samples" if confidence is not None else ""
    return f"less accurate than the budget: drop {drop_text} > {limit_text}", need + more


def _latency(latency: Estimate, percentile: Percentile, limit: float | None) -> tuple[str, str]:
    if limit is None:
        return f"{percentile} {ms_interval(latency)}", ""
    interval = ms_interval(latency, apart_from=limit)
    limit_text = ms(limit, apart_from=latency.high)
    if latency.high <= limit:
        return f"{percentile} {interval} <= {limit_text}", ""
    return (
        f"slower than the budget: {percentile} {interval} > {limit_text}",
        f"{_times(latency.high / limit)} faster, or a latency budget of {ms(latency.high, up=True)}",
    )


def _energy(energy: Estimate, limit: float) -> tuple[str, str]:
    interval, limit_text = mj_interval(energy, apart_from=limit), mj(limit, apart_from=energy.high)
    if energy.high <= limit:
        return f"energy {interval} <= {limit_text}", ""
    return (
        f"takes more energy than the budget: {interval} > {limit_text}",
        f"{_times(energy.high / limit)} less energy, or an energy budget of {mj(energy.high, up=True)}",
    )


def _bytes(name: str, value: int, limit: int) -> tuple[str, str]:
    value_text, limit_text = size(value, apart_from=limit), size(limit, apart_from=value)
    if value <= limit:
        return f"{name} {value_text} <= {limit_text}", ""
    too_much = {
        "size": "larger than the budget",
        "memory": "needs more memory than the budget",
        "free memory": "needs more memory than the board has free",
    }[name]
    if name == "free memory":
        return (
            f"{too_much}: {value_text} > {limit_text}",
            f"{_times(value / limit)} less memory, or more free memory",
        )
    return (
        f"{too_much}: {value_text} > {limit_text}",
        f"{_times(value / limit)} less {name}, or a {name} budget of {size(value, up=True)}",
    )


def _times(ratio: float) -> str:
    """A ratio above 1, rounded up: reaching what is printed must be enough."""
    return f"{math.ceil(ratio * 100 - 1e-9) / 100:.2f} times"
