"""Estimates and comparisons in words: ranges where there are ranges, and "can't tell" where they overlap. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from edgekit.choose.entry import Entry
from edgekit.choose.limits import judge
from edgekit.choose.wording import ms
from edgekit.types import Budget, Choice, Estimate

__all__ = ["Outlook", "outlook", "retold", "speed"]

Outlook = Literal["within", "beyond", "open"]


def outlook(low_ms: float, high_ms: float, limit_ms: float) -> Outlook:
    """What a range says of a limit: all of it within, all of it beyond, or it can't be told."""
    if high_ms <= limit_ms:
        return "within"
    return "beyond" if low_ms > limit_ms else "open"


def range_text(latency: Estimate) -> str:
    """`3.45 ms to 24.8 ms (likely 6.95 ms)`."""
    return f"{ms(latency.low)} to {ms(latency.high)} (likely {ms(latency.value)})"


def speed(mine: Estimate, its: Estimate) -> str:
    """`2.35 times faster (2.21 to 2.52)`: the ratio, with what both intervals allow; "" where the intervals overlap.

    The ends divide the one interval's low by the other's high and the reverse: at least 95 % where each holds 95 %.
    """
    if min(mine.low, its.low) <= 0 or (mine.low <= its.high and its.low <= mine.high):
        return ""
    fast, slow, word = (mine, its, "faster") if mine.value <= its.value else (its, mine, "slower")
    return f"{slow.value / fast.value:.2f} times {word} ({slow.low / fast.high:.2f} to {slow.high / fast.low:.2f})"


def retold(choice: Choice, entries: Sequence[Entry], budget: Budget) -> Choice:
    """The choice among estimates, in ranges. `choice` was made by the likely values; `entries` have the ranges.

    Its order stays; its explanation and its reasons compared points, which no measurement stands behind.
    """
    ranges = {entry.id: latency for entry in entries if (latency := entry.latency(budget.percentile))}
    lead = next((entry for entry in entries if entry.id == (choice.winner or choice.nearest)), None)
    if lead is None or lead.id not in ranges:
        return choice
    reasons = {entry.id: _reason(entry, ranges.get(entry.id), budget) for entry in entries}
    mine = ranges[lead.id]
    alike = sum(
        1 for name, its in ranges.items() if name != lead.id and its.low <= mine.high and mine.low <= its.high
    )
    parts = [f"{lead.id} comes first, {reasons[lead.id]}"]
    if alike:
        others = "another candidate" if alike == 1 else f"{alike} other candidates"
        parts.append(f"its range and that of {others} overlap: which one is fastest can't be told")
    limit = budget.max_latency_ms
    if limit is not None and all(outlook(its.low, its.high, limit) == "beyond" for its in ranges.values()):
        least = min(its.low for its in ranges.values())
        parts.append(
            f"no range reaches down to {ms(limit)}: the lowest begins at {ms(least, apart_from=limit)}"
        )
    return replace(choice, explanation=f"{'; '.join(parts)}.", reasons={**choice.reasons, **reasons})


def _reason(entry: Entry, latency: Estimate | None, budget: Budget) -> str:
    """A candidate's range against the budget, and what else of the budget it misses."""
    missed = [
        finding.text for finding in judge(entry, budget) if not finding.met and finding.limit != "latency"
    ]
    if latency is None:
        return "; ".join(["its latency is not estimated", *missed])
    text, limit = f"estimated {range_text(latency)}", budget.max_latency_ms
    if limit is not None:
        asked = ms(limit)
        said = {
            "within": f"all within {asked}",
            "beyond": f"all above {asked}",
            "open": f"whether within {asked} can't be told",
        }
        text += f", {said[outlook(latency.low, latency.high, limit)]}"
    return "; ".join([text, *missed])
