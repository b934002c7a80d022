"""A board that is not here: latency is estimated, accuracy measured on this machine, and nothing is settled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from edgekit.building.candidates.ladder import Attempt
from edgekit.building.context import Workshop
from edgekit.choose import Entry
from edgekit.measure import read_environment
from edgekit.plan import Roofline, Structure, roofline
from edgekit.types import Candidate, Choice, Estimate, Failure, Latency, Measurement, Variant

__all__ = [
    "best_of_each",
    "estimate_attempts",
    "estimate_structures",
    "estimated",
    "provisional",
    "settle_line",
    "too_large",
    "without_doubt",
]

OF_EACH = 2
"""Candidates of each precision that the bundle takes to the board."""


def estimated(shop: Workshop, variant: Variant, candidate: Candidate) -> Roofline:
    """The candidate's latency on the target as its peak rates and bandwidth have it."""
    target = shop.setting.target
    runtime = target.runtime(candidate.backend)
    runs_as = runtime.runs_as.get(candidate.precision) if runtime else None
    return roofline(
        target,
        variant.cost,
        candidate.precision,
        runs_as=runs_as,
        threads=shop.setting.request.threads,
        device=candidate.device,
    )


def estimate_attempts(
    shop: Workshop, networks: Mapping[str, Variant], attempts: Sequence[Attempt]
) -> dict[str, Measurement]:
    """Candidate → accuracy and peak memory as measured on this machine, latency as estimated for the board."""
    facts = shop.device.describe()
    found = {}
    for attempt in attempts:
        candidate, variant = attempt.candidate, networks[attempt.candidate.variant]
        told = estimated(shop, variant, candidate)
        validation = shop.samples(shop.setting.splits.validation, variant.signature)
        found[candidate.id] = Measurement(
            candidate=candidate.id,
            origin="estimated",
            environment=read_environment(
                facts, threads=shop.setting.request.threads, notes=(*shop.setting.absent, *told.sentences)
            ),
            load_ms=0.0,
            peak_memory_bytes=shop.answers(attempt.artifact, validation).meta["peak_memory_bytes"],
            latency=None if told.latency_ms is None else flat(told.latency_ms),
            accuracy=attempt.accuracy,
        )
    return found


def flat(estimate: Estimate) -> Latency:
    """An estimate knows no percentiles: the same at each, with no samples behind it."""
    return Latency(estimate, estimate, estimate, rounds_ms=(), warmup_runs=0, steady=True)


def without_doubt(entry: Entry) -> Entry:
    """The entry with its likely latency alone: a range of assumptions is no interval to hold against a budget."""
    latency = entry.measurement.latency
    if entry.measurement.origin != "estimated" or latency is None:
        return entry
    likely = latency.p50.value
    sharp = flat(Estimate(likely, likely, likely))
    return replace(entry, measurement=replace(entry.measurement, latency=sharp))


def estimate_structures(
    shop: Workshop, variants: Sequence[Variant], original: Variant, lead: Candidate
) -> list[Structure]:
    """What narrower networks would take on the board; sizes and memory in proportion to the weights."""
    structures = []
    for variant in variants:
        told = estimated(shop, variant, lead).latency_ms
        if told is not None:
            structures.append(
                Structure(
                    fraction=variant.cost.macs / original.cost.macs,
                    latency_ms=told.value,
                    size_bytes=variant.cost.weight_bytes,
                    peak_memory_bytes=variant.cost.weight_bytes + variant.cost.activation_bytes,
                )
            )
    return structures


def too_large(shop: Workshop, measurements: Mapping[str, Measurement]) -> list[Failure]:
    """Candidates whose process took more memory than one model may use on the board."""
    target = shop.setting.target
    if target.model_bytes is None:
        return []
    return [
        Failure(
            name,
            "memory",
            f"it took {one.peak_memory_bytes / 2**20:.0f} MiB, of which one model may use "
            f"{target.model_bytes / 2**20:.0f} MiB on {target.name}",
            "a smaller or more pruned network, or int8",
        )
        for name, one in measurements.items()
        if one.peak_memory_bytes > target.model_bytes
    ]


def best_of_each(
    attempts: Sequence[Attempt], measurements: Mapping[str, Measurement], choice: Choice, limit: float | None
) -> tuple[Attempt, ...]:
    """The few that go to the board: of each precision and device the best, the leading one first.

    Best: within the accuracy limit, then the fastest as estimated, then the most accurate.
    """

    def rank(one: Attempt) -> tuple[bool, bool, float, float, str]:
        latency = measurements[one.candidate.id].latency
        return (
            one.candidate.id != choice.nearest,
            limit is not None and one.accuracy.drop.value > limit,
            latency.p50.value if latency else float("inf"),
            one.accuracy.drop.value,
            one.candidate.id,
        )

    kept: list[Attempt] = []
    counts: dict[tuple[str, str], int] = {}
    for attempt in sorted((one for one in attempts if one.candidate.id in measurements), key=rank):
        kind = attempt.candidate.precision, attempt.candidate.device
        counts[kind] = counts.get(kind, 0) + 1
        if counts[kind] <= OF_EACH:
            kept.append(attempt)
    return tuple(kept)


def provisional(shop: Workshop, choice: Choice, attempts: Sequence[Attempt]) -> Choice:
    """The choice among estimates as what it is: an expectation, with the command that settles it."""
    if not attempts:
        return choice  # nothing to take to the board
    lead = choice.winner or choice.nearest
    if lead is None:
        lead = min(attempts, key=lambda one: (one.accuracy.drop.value, one.candidate.id)).candidate.id
    target = shop.setting.target
    expectation = (
        f"By the estimates: {choice.explanation.removesuffix('; estimated, not measured, not on the board.')}"
    )
    expectation = expectation.rstrip(".") + "."
    text = (
        f"{target.name} is not here ({'; '.join(shop.setting.absent)}): accuracy was measured on this machine, "
        f"latency is an estimate, and nothing is settled. {expectation} {settle_line(shop)}"
    )
    return replace(choice, verdict="PROVISIONAL", winner=None, nearest=lead, explanation=text)


def settle_line(shop: Workshop) -> str:
    """The one command that settles it."""
    bundle = shop.setting.request.out / "bundle"
    return f"To settle it, copy {bundle} to the board and run there: python3 bundle/settle.py"
