"""Figures as text: three significant digits, intervals as `low to high`, true minus signs."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from edgekit.precisions import PRECISIONS
from edgekit.result import AccuracyResult, LatencyResult, WaterfallStep
from edgekit.runtimes import RUNTIMES
from edgekit.types import Budget, Environment, Origin, Rejection

__all__ = [
    "accuracy_sentence",
    "amount_text",
    "budget_text",
    "bytes_text",
    "change_amount",
    "change_interval_text",
    "change_name",
    "change_text",
    "clock_text",
    "count_text",
    "drop_interval_text",
    "drop_text",
    "duration_text",
    "interval_text",
    "is_share",
    "latency_at",
    "latency_sentence",
    "level_text",
    "limit_text",
    "metric_text",
    "ms_text",
    "plural",
    "ratio_text",
    "rejection_lines",
    "rejection_text",
    "shorten",
    "steady_words",
    "temperature_text",
    "value_interval_text",
    "value_text",
]

MINUS = "\u2212"
NOT_SHARES = ("r2", "cosine", "neg_", "sqnr", "psnr")
NOT_READ = "not read"
NOT_TOLD = "not told by this machine"
NOUNS = frozenset({"a", *PRECISIONS, *RUNTIMES})
LISTED_CLOCKS = 4  # of more CPUs the range is told


def ms_text(ms: float) -> str:
    """Milliseconds to three significant digits, without the unit."""
    size = abs(ms)
    if size >= 100:
        return f"{ms:,.0f}"
    digits = 1 if size >= 10 else 2 if size >= 1 else 3 if size >= 0.1 else 4
    return f"{ms:.{digits}f}"


def latency_at(latency: LatencyResult) -> float:
    """The budget's percentile, in ms: what `low` and `high` bound."""
    return {"p50": latency.p50, "p90": latency.p90, "p99": latency.p99}[latency.percentile]


def interval_text(latency: LatencyResult) -> str:
    """The 95 % interval of the budget's percentile, in ms."""
    return f"{ms_text(latency.low)} to {ms_text(latency.high)}"


def range_text(latency: LatencyResult) -> str:
    """An estimate: `3.45 to 24.8 ms (likely 6.95)`."""
    return f"{interval_text(latency)} ms (likely {ms_text(latency_at(latency))})"


def latency_sentence(latency: LatencyResult, origin: Origin) -> str:
    """The budget's percentile with its interval; of an estimate the range, which is no interval."""
    if origin == "estimated":
        return f"estimated {range_text(latency)}"
    at = f"{latency.percentile} {ms_text(latency_at(latency))} ms"
    return f"{at} (95 %: {interval_text(latency)}){steady_words(latency)}"


def steady_words(latency: LatencyResult) -> str:
    """What a latency is followed by that is not clean: `, throttled`, `, steadiness unknown`, `, did not settle`."""
    state = latency.steadiness.state if latency.steadiness else "clean"
    words = {"clean": "", "throttled": ", throttled", "unknown": ", steadiness unknown"}[state]
    return words + ("" if latency.steady else ", did not settle")


def accuracy_sentence(accuracy: AccuracyResult) -> str:
    """The value and the paired drop (or gain), each with its interval."""
    value = f"{value_text(accuracy)} (95 %: {value_interval_text(accuracy)})"
    amount, interval = change_amount(accuracy)
    return f"{metric_text(accuracy.metric)} {value}, {change_name(accuracy)} {amount} (95 %: {interval})"


def metric_text(metric: str) -> str:
    """A metric's name for people: of a function of the user's own without the folders that its file lies in."""
    return re.sub(r"[^:]*/(?=[^/:]+\.py:)", "", metric)


def is_share(metric: str) -> bool:
    """Whether values of the metric are fractions of 1, told in percent, with drops in percentage points."""
    return not metric.lower().startswith(NOT_SHARES)


def value_text(accuracy: AccuracyResult) -> str:
    """The value with its unit, e.g. `91.02 %`."""
    return _number(accuracy.value, accuracy.metric) + (" %" if is_share(accuracy.metric) else "")


def value_interval_text(accuracy: AccuracyResult) -> str:
    """The value's 95 % interval without unit."""
    return f"{_number(accuracy.low, accuracy.metric)} to {_number(accuracy.high, accuracy.metric)}"


def drop_text(accuracy: AccuracyResult) -> str:
    """The paired drop from the original without unit: percentage points for a share. Positive is worse."""
    return _number(accuracy.drop, accuracy.metric)


def drop_interval_text(accuracy: AccuracyResult) -> str:
    """The paired drop's 95 % interval without unit."""
    return f"{_number(accuracy.drop_low, accuracy.metric)} to {_number(accuracy.drop_high, accuracy.metric)}"


def amount_text(drop: float, metric: str) -> str:
    """A drop with its unit, whatever its sign: `1.00 points`."""
    return _number(drop, metric) + (" points" if is_share(metric) else "")


def limit_text(drop: float, metric: str, confidence: float | None = None) -> str:
    """A limit on the drop: `drop ≤ 1.00 points`; a negative one asks for more than the original has.

    With a `confidence`: `drop ≤ 1.00 points at 95 % confidence`.
    """
    sure = "" if confidence is None else f" at {100 * confidence:.4g} % confidence"
    if drop < 0:
        return f"gain ≥ {amount_text(-drop, metric)}{sure}"
    return f"drop ≤ {amount_text(drop, metric)}{sure}"


def budget_text(budget: Budget, metric: str) -> str:
    """The budget in one line; `metric` tells whether a drop is in points or in the labels' unit."""
    parts = []
    if budget.max_latency_ms is not None:
        parts.append(f"{budget.percentile} latency ≤ {budget.max_latency_ms:g} ms")
    elif budget.fastest:
        parts.append(f"the fastest at {budget.percentile}")
    if budget.max_drop is not None:
        parts.append(limit_text(budget.max_drop, metric, budget.confidence))
    if budget.max_size_bytes is not None:
        parts.append(f"size ≤ {bytes_text(budget.max_size_bytes)}")
    if budget.max_memory_bytes is not None:
        parts.append(f"peak memory ≤ {bytes_text(budget.max_memory_bytes)}")
    if budget.max_energy_mj is not None:
        parts.append(f"energy ≤ {budget.max_energy_mj:g} mJ")
    return ", ".join(parts) or "none"


def change_name(accuracy: AccuracyResult) -> str:
    """`drop`, or `gain` where the candidate scored better than the original."""
    return "gain" if drop_text(accuracy).startswith(MINUS) else "drop"


def change_amount(accuracy: AccuracyResult) -> tuple[str, str]:
    """The drop or gain with its unit, and its interval without; both positive where `change_name` is right."""
    metric, drop, low, high = accuracy.metric, accuracy.drop, accuracy.drop_low, accuracy.drop_high
    if change_name(accuracy) == "gain":
        drop, low, high = -drop, -high, -low
    return amount_text(drop, metric), f"{_number(low, metric)} to {_number(high, metric)}"


def level_text(value: float, metric: str) -> str:
    """A value of the metric with its unit, e.g. `91.02 %`."""
    return _number(value, metric) + (" %" if is_share(metric) else "")


def change_text(change: float, metric: str) -> str:
    """A change with its sign, without unit: percentage points for a share. Negative is worse."""
    text = _number(change, metric)
    return f"+{text}" if change > 0 and text.strip("0.") else text


def change_interval_text(step: WaterfallStep, metric: str) -> str:
    """The change's 95 % interval without unit; empty where it was not paired."""
    if step.low is None or step.high is None:
        return ""
    return f"{change_text(step.low, metric)} to {change_text(step.high, metric)}"


def _number(value: float, metric: str) -> str:
    text = f"{100 * value:.2f}" if is_share(metric) else f"{value:.4f}"
    if not text.strip("-0."):
        return text.lstrip("-")
    return text.replace("-", MINUS)


def bytes_text(size: int) -> str:
    """Decimal units, as budgets are given: 1 kB is 1000 bytes."""
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= scale:
            amount = size / scale
            return f"{amount:.0f} {unit}" if amount >= 100 else f"{amount:.3g} {unit}"
    return f"{size} B"


def count_text(count: int) -> str:
    """MACs or parameters: `40.8 M`."""
    for unit, scale in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if count >= scale:
            return f"{count / scale:.3g} {unit}"
    return str(count)


def duration_text(seconds: float) -> str:
    """`48 s`, `21 min 5 s`, `2 h 3 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def ratio_text(before: float, after: float, better: str, worse: str) -> str:
    """`3.1 times faster` or `1.2 times slower`, from two positive amounts of which less is better."""
    if before <= 0 or after <= 0:
        return ""
    ratio, word = (before / after, better) if before >= after else (after / before, worse)
    if ratio < 1.005:
        return f"no {better}"
    return f"{ratio:.{1 if ratio >= 10 else 2}f} times {word}"


def rejection_text(reason: str, instead: str) -> str:
    """Why something is not tried, with what is (`…; instead: int8`), or what the reader may do about it."""
    if not instead:
        return reason
    first = re.match("[a-z0-9]*", instead.lower())
    is_noun = first is not None and first[0] in NOUNS
    return f"{reason}; instead: {instead}" if is_noun else f"{reason}; {instead}"


def rejection_lines(rejected: Sequence[Rejection]) -> list[str]:
    """One line for all that were rejected for one reason."""
    alike: dict[tuple[str, str], list[str]] = {}
    for rejection in rejected:
        alike.setdefault((rejection.reason, rejection.instead), []).append(rejection.what)
    return [f"{', '.join(names)}: {rejection_text(*why)}" for why, names in alike.items()]


def plural(count: int, noun: str) -> str:
    """`1 core`, `2 cores`."""
    return f"{count:,} {noun}" + ("" if count == 1 else "s")


def shorten(text: str, width: int) -> str:
    """At most `width` characters; the middle gives way, as ids differ at both ends."""
    if len(text) <= width:
        return text
    tail = (width - 1) * 3 // 5
    return f"{text[: width - 1 - tail]}…{text[len(text) - tail :]}"


def temperature_text(environment: Environment) -> str:
    """Each thermal zone before and after the measurements: `cpu 41.0 → 63.5 °C`."""
    before, after = environment.sensors_before, environment.sensors_after
    if before is None or after is None:
        return NOT_READ
    return _zones(before.temperature_c, after.temperature_c) or NOT_TOLD


def _zones(before: Mapping[str, float], after: Mapping[str, float]) -> str:
    return ", ".join(f"{zone} {before[zone]:.1f} → {after[zone]:.1f} °C" for zone in before if zone in after)


def clock_text(environment: Environment) -> str:
    """Clocks of the CPUs that were measured on, before and after: `CPU 1 2000 → 1400 MHz`."""
    before, after = environment.sensors_before, environment.sensors_after
    if before is None or after is None:
        return NOT_READ
    pinned = [str(cpu) for cpu in environment.pinned_cpus]
    cpus = [cpu for cpu in pinned or before.clock_mhz if cpu in before.clock_mhz and cpu in after.clock_mhz]
    if not cpus:
        return NOT_TOLD
    if len(cpus) <= LISTED_CLOCKS:
        return ", ".join(
            f"CPU {cpu} {before.clock_mhz[cpu]:.0f} → {after.clock_mhz[cpu]:.0f} MHz" for cpu in cpus
        )
    return (
        " → ".join(_range([reading.clock_mhz[cpu] for cpu in cpus]) for reading in (before, after)) + " MHz"
    )


def _range(values: list[float]) -> str:
    return f"{min(values):.0f} to {max(values):.0f}"
