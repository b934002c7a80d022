"""Choosing on the board: by all candidates' rounds, and then by a run of the winner on its own."""

from types import MappingProxyType
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Tuple

from .intervals import percentiles
from .verdict import Check, Decision, Figures, Limits, checks, decide, is_unchanged

NAMES = ("p50", "p90", "p99")
LIMITS = {
    "accuracy": "accuracy drop", "size": "size", "memory": "peak memory", "free memory": "peak memory of what is free",
    "energy": "mJ an inference",
}  # fmt: skip
NOT_MEASURED = {"accuracy": "accuracy", "latency": "latency", "memory": "peak memory", "energy": "energy"}
TRIES = 4  # candidates that are timed again; the unchanged network comes on top
NONE_REFUTED = MappingProxyType({})  # type: Mapping[str, str]

Rows = List[Dict[str, Any]]


def limits_of(facts: Mapping[str, Any]) -> Limits:
    """The budget's. Bundles of before lack a confidence."""
    return Limits(**{name: facts["budget"].get(name) for name in Limits._fields})


def latency_ms(rounds_ms: List[List[float]], percentile: str) -> Dict[str, float]:
    """Percentiles in ms; `at`, `low` and `high` are the budget's one with its 95 % interval."""
    intervals = dict(zip(NAMES, percentiles(rounds_ms)))
    row = {name: interval.value for name, interval in intervals.items()}
    at = intervals[percentile]
    row.update(low=at.low, high=at.high, at=at.value)
    return row


def judge(
    facts: Mapping[str, Any],
    entries: Mapping[str, Any],
    deviations: Mapping[str, Tuple[float, float]],
    refuted: Mapping[str, str] = NONE_REFUTED,
) -> Tuple[List[Dict[str, Any]], Decision]:
    """One row a candidate (what was measured, and what speaks against it), and who wins.

    `facts`: the manifest. `entries`: the job's, by candidate. `deviations`: how far its golden outputs are off, and
    what is allowed, of each that ran. A candidate that failed or that is off is none: the others are ranked.
    `refuted`: what a later look said against candidates, in the order of looking.
    """
    budget, limits = facts["budget"], limits_of(facts)
    rows, ranked = [], []
    for candidate in facts["candidates"]:
        entry = entries[candidate["id"]]
        row = dict(candidate, against="", latency_ms=None)
        rows.append(row)
        if entry["status"] != "ok":
            row["against"] = "failed at %s: %s" % (entry["stage"], entry["cause"])
            continue
        row["notes"] = entry["notes"]
        if entry.get("rounds_ms"):
            row["latency_ms"] = latency_ms(entry["rounds_ms"], budget["percentile"])
        row["peak_memory_bytes"], row["load_ms"] = entry["peak_memory_bytes"], entry["load_ms"]
        row["available_bytes"], row["energy"] = entry.get("available_bytes"), entry.get("energy")
        row["steadiness"] = entry.get("steadiness")
        figures = figures_of(row)
        against = [
            in_words(check, budget["percentile"]) for check in checks(figures, limits) if check.excess > 0
        ]
        off, allowed = deviations[candidate["id"]]
        if off <= allowed:
            ranked.append(figures)
        else:
            against.insert(0, "golden outputs do not match: off by %.3g, allowed %g" % (off, allowed))
        row["against"] = refuted.get(row["id"]) or "; ".join(against)
    return rows, decide(ranked, limits, tuple(refuted))


def figures_of(row: Mapping[str, Any]) -> Figures:
    """What the rule of choice looks at."""
    times = row["latency_ms"] or {"at": None, "low": None, "high": None}
    return Figures(
        id=row["id"],
        variant=row["variant"],
        precision=row["precision"],
        size_bytes=row["size_bytes"],
        latency_ms=times["at"],
        latency_high_ms=times["high"],
        drop=row["drop"],
        peak_memory_bytes=row["peak_memory_bytes"],
        latency_low_ms=times["low"],
        drop_low=row.get("drop_low"),
        drop_bound=row.get("drop_bound"),
        energy_high_mj=(row.get("energy") or {}).get("high_mj"),
        available_bytes=row.get("available_bytes"),
    )


def in_words(check: Check, percentile: str) -> str:
    """A limit that is not met."""
    if check.value is None or check.allowed is None:
        return "its %s was not measured" % NOT_MEASURED[check.limit]
    name = LIMITS.get(check.limit, "%s ms" % percentile)
    return "%s %.4g > %.4g" % (name, check.value, check.allowed)


class Looked(NamedTuple):
    """The rows with `confirmed_ms`, the decision, what was refuted in the order of looking, and the runs alone."""

    rows: Rows
    decision: Decision
    refuted: Dict[str, str]
    alone: Dict[str, Mapping[str, Any]]


def settle_choice(
    facts: Mapping[str, Any],
    entries: Mapping[str, Any],
    deviations: Mapping[str, Tuple[float, float]],
    time_alone: Callable[[str], Mapping[str, Any]],
) -> Tuple[Rows, Decision]:
    """The rows and the decision of `look_again`."""
    looked = look_again(facts, entries, deviations, time_alone)
    return looked.rows, looked.decision


def look_again(
    facts: Mapping[str, Any],
    entries: Mapping[str, Any],
    deviations: Mapping[str, Tuple[float, float]],
    time_alone: Callable[[str], Mapping[str, Any]],
) -> Looked:
    """`judge`, after the winner was timed once more on its own (by `time_alone`: id -> the job's entry of it).

    Of several candidates one may seem fast enough by chance; a fresh run does not share that chance. One that does not
    hold gives way to the next. The rows get `confirmed_ms`. Nothing is timed where no latency is limited.
    """
    refuted = {}  # type: Dict[str, str]
    fresh = {}  # type: Dict[str, Dict[str, float]]
    alone = {}  # type: Dict[str, Mapping[str, Any]]
    limits, percentile = limits_of(facts), facts["budget"]["percentile"]
    rows, decision = judge(facts, entries, deviations)
    while decision.winner is not None and limits.max_latency_ms is not None:
        row = next(row for row in rows if row["id"] == decision.winner)
        if len(refuted) >= TRIES and not is_unchanged(figures_of(row)):
            reason = "not tried, since %d before it did not hold" % TRIES
            untried = [
                other for other in rows if other["id"] in decision.meeting and other["id"] not in refuted
            ]
            refuted.update({other["id"]: reason for other in untried if not is_unchanged(figures_of(other))})
        else:
            entry = alone[row["id"]] = time_alone(row["id"])
            against = "failed: %s" % entry.get("cause")
            if entry["status"] == "ok":
                fresh[row["id"]] = latency_ms(entry["rounds_ms"], percentile)
                again = dict(row, latency_ms=fresh[row["id"]], peak_memory_bytes=entry["peak_memory_bytes"],
                             available_bytes=entry.get("available_bytes"))  # fmt: skip
                missed = [check for check in checks(figures_of(again), limits) if check.excess > 0]
                against = "; ".join(in_words(check, percentile) for check in missed)
            if not against:
                break
            refuted[row["id"]] = "timed once more, on its own: %s" % against
        rows, decision = judge(facts, entries, deviations, refuted)
    rows = [dict(row, confirmed_ms=fresh.get(row["id"])) for row in rows]
    return Looked(rows, decision, refuted, alone)


def is_established(facts: Mapping[str, Any], row: Mapping[str, Any]) -> bool:
    """Whether the whole interval of the drop on the test split lies under the limit, or there can be no drop."""
    limits, figures = limits_of(facts), figures_of(row)
    high = row.get("drop_high") if limits.confidence is None else figures.drop_bound
    if limits.max_drop is None or is_unchanged(figures):
        return True
    return row.get("split") == "test" and high is not None and high <= limits.max_drop
