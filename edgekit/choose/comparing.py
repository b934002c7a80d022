"""In what two candidates that meet the budget differ, and in what no difference was seen."""

from __future__ import annotations

from edgekit.board.verdict import UNSEEN_DROP
from edgekit.choose.entry import Entry
from edgekit.choose.wording import ms_interval, points, points_interval, size
from edgekit.types import Budget, Estimate

__all__ = ["against", "comparison", "tie_text"]


def comparison(entry: Entry, winner: Entry, budget: Budget) -> str:
    """In what a candidate that meets the budget is behind the winner, the deciding quantity first."""
    parts = [_accuracy(entry, winner), _latency(entry, winner, budget)]
    if budget.fastest:
        parts.reverse()
    if not any(parts) and entry.size_bytes > winner.size_bytes:
        larger = size(entry.size_bytes, apart_from=winner.size_bytes)
        smaller = size(winner.size_bytes, apart_from=entry.size_bytes)
        parts.append(f"as accurate and as fast as the winner, but larger: {larger} against {smaller}")
    return (
        ", and ".join(part for part in parts if part)
        or "equal to the winner in all that counts; the winner comes first by its name"
    )


def _accuracy(entry: Entry, winner: Entry) -> str:
    mine, its = entry.drop, winner.drop
    if mine is None:
        return "its accuracy was not measured" if its is not None else ""
    if its is None or mine.value == its.value:
        return ""
    if _alike(mine, its):
        return f"no difference in accuracy seen: drop {points_interval(mine)} against {points_interval(its)}"
    if mine.value < its.value:
        return f"more accurate than the winner by {points(its.value - mine.value, apart_from=0)}"
    return f"less accurate than the winner by {points(mine.value - its.value, apart_from=0)}"


def _alike(mine: Estimate, its: Estimate) -> bool:
    """As the rule of choice ties drops: the worse one's interval holds the better one's value."""
    return max(mine, its, key=lambda drop: drop.value).low <= min(mine.value, its.value) + UNSEEN_DROP


def _latency(entry: Entry, winner: Entry, budget: Budget) -> str:
    mine, its = entry.latency(budget.percentile), winner.latency(budget.percentile)
    if its is None or (mine is not None and mine.value == its.value):
        return ""
    if budget.fastest and mine is not None and mine.low <= its.high and its.low <= mine.high:
        return f"no difference in latency seen: {against(entry, winner, budget)}"
    slower = mine is None or mine.value > its.value
    return f"slower than the winner: {against(entry, winner, budget)}" if slower else ""


def tie_text(winner: Entry, leader: Entry, budget: Budget) -> str:
    """Why the winner comes before the one that leads by values; empty where it leads itself."""
    if winner.id == leader.id:
        return ""
    if budget.fastest:
        latencies = against(winner, leader, budget)
        return f"no difference in latency seen to {leader.id} ({latencies}), and it is more accurate"
    mine, its = winner.latency(budget.percentile), leader.latency(budget.percentile)
    faster = mine is not None and (its is None or mine.value < its.value)
    gain = "faster" if faster else "smaller"
    if winner.drop is None or leader.drop is None:
        return f"as accurate as {leader.id}, and it is {gain}"
    drops = f"drop {points_interval(winner.drop)} against {points_interval(leader.drop)}"
    return f"no difference in accuracy seen to {leader.id} ({drops}), and it is {gain}"


def against(entry: Entry, other: Entry, budget: Budget) -> str:
    """The latencies of the two."""
    mine, its = entry.latency(budget.percentile), other.latency(budget.percentile)
    if mine is None or its is None:
        return "latency not measured"
    return f"{budget.percentile} {ms_interval(mine)} against {ms_interval(its)}"
