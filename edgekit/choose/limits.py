"""What a budget asks of one candidate, and by how much it is missed."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from edgekit.choose.entry import Entry
from edgekit.choose.wording import ms, ms_interval, points, size
from edgekit.errors import BudgetError
from edgekit.types import Budget

__all__ = ["Finding", "check_budget", "findings", "unestablished"]

WHOLE_DROP = 0.01
"""An accuracy limit counts as at least one percentage point when an excess is made relative to it."""


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
    }
    for name, limit in positive.items():
        if limit is not None and not (math.isfinite(limit) and limit > 0):
            raise BudgetError(f"the {name} budget is {limit}", allowed="a finite quantity above zero")
    if budget.max_drop is not None and not math.isfinite(budget.max_drop):
        raise BudgetError(f"the accuracy drop allowed is {budget.max_drop}", allowed="a finite fraction")


def findings(entry: Entry, budget: Budget) -> tuple[Finding, ...]:
    """One finding for each limit that the budget sets, in the order accuracy, latency, size, memory."""
    found = []
    if budget.max_drop is not None:
        found.append(_accuracy(entry, budget.max_drop))
    if budget.max_latency_ms is not None or budget.fastest:
        found.append(_latency(entry, budget))
    if budget.max_size_bytes is not None:
        found.append(_bytes("size", entry.size_bytes, budget.max_size_bytes, "larger than the budget", size))
    if budget.max_memory_bytes is not None:
        peak = entry.measurement.peak_memory_bytes
        if peak <= 0:
            found.append(Finding("memory", math.inf, "its peak memory was not measured"))
        else:
            found.append(
                _bytes("memory", peak, budget.max_memory_bytes, "needs more memory than the budget", size)
            )
    return tuple(found)


def unestablished(entry: Entry, budget: Budget) -> str:
    """The reservation about a drop that meets the limit by its value but not by its whole interval."""
    drop, limit = entry.drop, budget.max_drop
    if drop is None or limit is None or not drop.value <= limit < drop.high:
        return ""
    return f"not established: the 95 % interval reaches {points(drop.high, apart_from=limit)}"


def _accuracy(entry: Entry, limit: float) -> Finding:
    drop = entry.drop
    if drop is None:
        return Finding("accuracy", math.inf, "its accuracy was not measured")
    drop_text = points(drop.value, apart_from=limit)
    limit_text = points(limit, apart_from=drop.value)
    if drop.value <= limit:
        return Finding("accuracy", 0.0, f"accuracy drop {drop_text} <= {limit_text}")
    return Finding(
        "accuracy",
        (drop.value - limit) / max(abs(limit), WHOLE_DROP),
        f"less accurate than the budget: drop {drop_text} > {limit_text}",
        f"{points(drop.value - limit, apart_from=0)} less accuracy drop, "
        f"or an accuracy limit of {points(drop.value, up=True)}",
    )


def _latency(entry: Entry, budget: Budget) -> Finding:
    latency, limit = entry.latency(budget.percentile), budget.max_latency_ms
    if latency is None:
        return Finding("latency", math.inf, "its latency was not measured")
    if limit is None:
        return Finding("latency", 0.0, f"{budget.percentile} {ms_interval(latency)}")
    interval = ms_interval(latency, apart_from=limit)
    limit_text = ms(limit, apart_from=latency.high)
    if latency.high <= limit:
        return Finding("latency", 0.0, f"{budget.percentile} {interval} <= {limit_text}")
    return Finding(
        "latency",
        (latency.high - limit) / limit,
        f"slower than the budget: {budget.percentile} {interval} > {limit_text}",
        f"{_times(latency.high / limit)} faster, or a latency budget of {ms(latency.high, up=True)}",
    )


def _bytes(name: str, value: int, limit: int, blame: str, show: Callable[..., str]) -> Finding:
    value_text, limit_text = show(value, apart_from=limit), show(limit, apart_from=value)
    if value <= limit:
        return Finding(name, 0.0, f"{name} {value_text} <= {limit_text}")
    return Finding(
        name,
        (value - limit) / limit,
        f"{blame}: {value_text} > {limit_text}",
        f"{_times(value / limit)} less {name}, or a {name} budget of {show(value, up=True)}",
    )


def _times(ratio: float) -> str:
    """A ratio above 1, rounded up: reaching what is printed must be enough."""
    return f"{math.ceil(ratio * 100 - 1e-9) / 100:.2f} times"
