"""Who meets a budget, and who of them wins: one rule for a build and for what settles on a board.

Plain values, no numpy, no runtime. Units stand in names; accuracy drops are fractions.
"""

import math
from typing import List, NamedTuple, Optional, Sequence, Tuple

FLOATS = ("fp32", "bf16", "fp16")
ORIGINAL = "original"  # the variant that is the user's own network
WHOLE_DROP = (
    0.01  # an accuracy limit counts as at least one percentage point when an excess is relative to it
)

UNSEEN_DROP = (
    1e-4  # a difference in accuracy of a hundredth of a percentage point, the last digit told, is none
)


class Limits(NamedTuple):
    """What a budget asks for; None where it sets no limit. With `fastest` a latency has to be measured.

    `confidence`: of the drop's interval whose high end must lie under `max_drop`; None: its value must.
    """

    max_latency_ms: Optional[float]
    fastest: bool
    max_drop: Optional[float]
    max_size_bytes: Optional[int]
    max_memory_bytes: Optional[int]
    confidence: Optional[float] = None
    max_energy_mj: Optional[float] = None


class Figures(NamedTuple):
    """What was measured of one candidate: latency at the budget's percentile, each with its 95 % interval.

    `drop_bound`: the high end of the drop's interval at the budget's confidence, where it asks for one. None, not a
    number, infinite, and 0 bytes of memory: not measured. An interval that was not measured has no width.
    `energy_high_mj`: the high end of the energy of one inference. `available_bytes`: what the board had free; None
    where it does not tell.
    """

    id: str
    variant: str
    precision: str
    size_bytes: int
    latency_ms: Optional[float]
    latency_high_ms: Optional[float]
    drop: Optional[float]
    peak_memory_bytes: Optional[int]
    latency_low_ms: Optional[float] = None
    drop_low: Optional[float] = None
    drop_bound: Optional[float] = None
    energy_high_mj: Optional[float] = None
    available_bytes: Optional[int] = None


class Check(NamedTuple):
    """One limit ("accuracy", "latency", "size", "memory", "free memory" or "energy") against one candidate.

    `excess` is relative to the limit: 0 when it is met, 0.5 for half over it, infinite for what was not measured
    (`value` is None then). `allowed` is None where a latency has to be there, whatever it is.
    """

    limit: str
    value: Optional[float]
    allowed: Optional[float]
    excess: float


class Decision(NamedTuple):
    """MEETS with the winner's id, MISSES with the nearest one's, or INFEASIBLE; ids of all that meet, by `rank`."""

    verdict: str
    winner: Optional[str]
    nearest: Optional[str]
    meeting: Tuple[str, ...]


def measured(*numbers: Optional[float]) -> bool:
    """Whether all of them are there and finite."""
    return all(number is not None and math.isfinite(number) for number in numbers)


def checks(figures: Figures, limits: Limits) -> List[Check]:
    """One for each limit that the budget sets, in the order accuracy, latency, size, memory, free memory, energy.

    Met is what lies at or under its limit: the drop's value (with a confidence, its bound), the high end of the
    latency's interval, the bytes, the high end of the energy's interval. Where memory is limited, what the board
    has free is a limit too, as far as it tells it.
    """
    made = []
    if limits.max_drop is not None:
        relative_to = max(abs(limits.max_drop), WHOLE_DROP)
        drop = figures.drop if limits.confidence is None or is_unchanged(figures) else figures.drop_bound
        made.append(_check("accuracy", drop, limits.max_drop, relative_to))
    if limits.max_latency_ms is not None or limits.fastest:
        high = figures.latency_high_ms if measured(figures.latency_ms) else None
        made.append(_check("latency", high, limits.max_latency_ms))
    if limits.max_size_bytes is not None:
        made.append(_check("size", figures.size_bytes, limits.max_size_bytes))
    if limits.max_memory_bytes is not None:
        peak_bytes = figures.peak_memory_bytes or 0
        made.append(_check("memory", peak_bytes if peak_bytes > 0 else None, limits.max_memory_bytes))
        if peak_bytes > 0 and figures.available_bytes:
            made.append(_check("free memory", peak_bytes, figures.available_bytes))
    if limits.max_energy_mj is not None:
        high_mj = figures.energy_high_mj
        made.append(
            _check("energy", high_mj if high_mj is not None and high_mj > 0 else None, limits.max_energy_mj)
        )
    return made


def _check(
    limit: str, value: Optional[float], allowed: Optional[float], relative_to: Optional[float] = None
) -> Check:
    if value is None or not math.isfinite(value):
        return Check(limit, None, allowed, float("inf"))
    if allowed is None or value <= allowed:
        return Check(limit, value, allowed, 0.0)
    return Check(limit, value, allowed, (value - allowed) / (relative_to or allowed))


def excess(figures: Figures, limits: Limits) -> float:
    """The sum over all limits; infinite when one cannot be judged."""
    return math.fsum(check.excess for check in checks(figures, limits))


def rank(figures: Figures, fastest: bool) -> Tuple[float, float, int, str]:
    """The order of the values alone; total, since ids are unique. The unmeasured come last.

    The most accurate first (smallest drop), then the fastest, then the smallest file, then the id. With `fastest`
    latency comes before accuracy.
    """
    drop, latency_ms = _or_infinite(figures.drop), _or_infinite(figures.latency_ms)
    first, second = (latency_ms, drop) if fastest else (drop, latency_ms)
    return first, second, figures.size_bytes, figures.id


def _or_infinite(value: Optional[float]) -> float:
    return value if value is not None and math.isfinite(value) else float("inf")


def faster_float(figures: Figures, rivals: Sequence[Figures]) -> Optional[Figures]:
    """The fastest float build of the same variant that is faster than this quantized one, if there is any.

    Such a candidate is never chosen: quantizing it bought nothing, and where it looks more accurate than its own
    float build, that is noise of the samples.
    """
    if figures.precision in FLOATS:
        return None
    faster = [
        rival
        for rival in rivals
        if rival.variant == figures.variant
        and rival.precision in FLOATS
        and _or_infinite(rival.latency_ms) < _or_infinite(figures.latency_ms)
    ]
    return min(faster, key=lambda rival: (_or_infinite(rival.latency_ms), rival.id)) if faster else None


def is_unchanged(figures: Figures) -> bool:
    """Whether it is the original network in float32: it is what drops are counted from."""
    return figures.variant == ORIGINAL and figures.precision == "fp32"


def preferred(candidates: Sequence[Figures], fastest: bool) -> List[Figures]:
    """Those that cannot be told from the best one: see `decide`."""
    near = list(candidates)
    if fastest:
        leader = min(near, key=lambda figures: rank(figures, True))
        edge = _or_infinite(leader.latency_high_ms)
        near = [figures for figures in near if _low(figures.latency_low_ms, figures.latency_ms) <= edge]
    least = _or_infinite(min(near, key=lambda figures: rank(figures, False)).drop)
    return [figures for figures in near if _low(figures.drop_low, figures.drop) <= least + UNSEEN_DROP]


def _low(low: Optional[float], value: Optional[float]) -> float:
    """The low end of an interval; the value where there is none."""
    return _or_infinite(value) if low is None else min(_or_infinite(low), _or_infinite(value))


def decide(candidates: Sequence[Figures], limits: Limits, refuted: Sequence[str] = ()) -> Decision:
    """The verdict on candidates that ran; their order does not matter.

    Of those that meet all limits, the most accurate leads. Tied with it are those whose drop's interval holds its drop,
    or misses it by no more than UNSEEN_DROP: of these the fastest wins, then the smallest, then by id. With `fastest`
    only those are looked at whose latency's interval reaches into that of the fastest. Both sets are taken against one
    leader, so the rule is no chain of comparisons. Where others that meet are as fast, as accurate and as small as that
    one by the values, the most accurate of them wins. A quantized build slower than a float build of its own variant
    that meets too never does.

    `refuted` met the limits by the figures given, but did not when looked at again: they neither win nor lead.
    MISSES: some candidate was measured in all that the budget limits; the nearest is the first that was refuted, else
    the one with the smallest `excess`. INFEASIBLE: there is no such candidate.
    """
    ranked = sorted(candidates, key=lambda figures: rank(figures, limits.fastest))
    meeting = [figures for figures in ranked if excess(figures, limits) <= 0]
    names = tuple(figures.id for figures in meeting)
    standing = [figures for figures in meeting if figures.id not in refuted]
    choosable = [figures for figures in standing if faster_float(figures, meeting) is None]
    if choosable:
        return Decision("MEETS", _winner(standing, choosable, limits.fastest).id, None, names)
    judged = [figures for figures in ranked if math.isfinite(excess(figures, limits))]
    if not judged:
        return Decision("INFEASIBLE", None, None, names)
    nearest = refuted[0] if refuted else min(judged, key=lambda figures: excess(figures, limits)).id
    return Decision("MISSES", None, nearest, names)


def _winner(standing: Sequence[Figures], choosable: Sequence[Figures], fastest: bool) -> Figures:
    """Of those that may be chosen; all that stand say what cannot be told apart."""
    tied = {figures.id for figures in preferred(standing, fastest)}
    among = [figures for figures in choosable if figures.id in tied]
    first = min(among, key=_quickest) if among else choosable[0]
    at_least = [
        figures
        for figures in choosable
        if _or_infinite(figures.drop) <= _or_infinite(first.drop)
        and _or_infinite(figures.latency_ms) <= _or_infinite(first.latency_ms)
        and figures.size_bytes <= first.size_bytes
    ]
    return min(at_least, key=lambda figures: rank(figures, False))


def _quickest(figures: Figures) -> Tuple[float, int, str]:
    return _or_infinite(figures.latency_ms), figures.size_bytes, figures.id
