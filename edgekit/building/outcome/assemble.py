"""The typed `result.json` of what the stages gave."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path

from edgekit._version import __version__
from edgekit.building.measuring import artifact_digest
from edgekit.building.outcome.claim import Claim
from edgekit.building.setup import Setting
from edgekit.building.values import Attempt, Outcome
from edgekit.result import (
    NOTED_HERE,
    SCHEMA_VERSION,
    AccuracyResult,
    CandidateResult,
    LatencyResult,
    Result,
    RunInfo,
    TargetInfo,
    WaterfallStep,
)
from edgekit.types import (
    Accuracy,
    Agreement,
    Audit,
    Budget,
    Choice,
    Environment,
    Latency,
    Measurement,
    Percentile,
)

__all__ = ["accuracy_result", "assemble", "latency_result", "run_info"]


def assemble(
    outcome: Outcome,
    budget: Budget,
    target: TargetInfo,
    run: RunInfo,
    *,
    claim: Claim,
    waterfall: Sequence[WaterfallStep],
    warnings: Sequence[str],
    machine: Environment,
    agreement: Agreement | None = None,
) -> Result:
    """The result. `machine`: the device, told of where no candidate was measured."""
    choice = outcome.choice
    measured = tuple(outcome.measurements.values())
    return Result(
        schema=SCHEMA_VERSION,
        verdict=choice.verdict,
        explanation=choice.explanation,
        target=target,
        budget=budget,
        winner=choice.winner,
        nearest=choice.nearest,
        claim=None if claim.accuracy is None else accuracy_result(claim.accuracy),
        candidates=candidate_results(outcome, budget.percentile),
        variants=outcome.variants,
        rejected=outcome.rejections,
        failures=outcome.failures,
        warnings=tuple(warnings),
        environment=measured[-1].environment if measured else machine,
        run=run,
        waterfall=tuple(waterfall),
        established=claim.established,
        confirmed=confirmed_latency(claim.confirmed, budget.percentile),
        agreement=agreement,
        planning=outcome.planning,
    )


def confirmed_latency(confirmed: Measurement | None, percentile: Percentile) -> LatencyResult | None:
    """Of the run that a verdict rests on, if there was one."""
    if confirmed is None or confirmed.latency is None:
        return None
    return latency_result(confirmed.latency, percentile)


def run_info(setting: Setting, run: str) -> RunInfo:
    """How this run came about; it ends now."""
    request = setting.request
    duration_s = time.monotonic() - setting.started
    started = datetime.now(timezone.utc) - timedelta(seconds=duration_s)
    return RunInfo(
        id=run,
        edgekit=__version__,
        command=request.command or f"edgekit.build(target={request.target!r}, …)",
        started=started.isoformat(timespec="seconds"),
        duration_s=round(duration_s, 2),
        seed=request.seed,
        model=setting.model.name,
        model_digest=setting.model.ref.digest,
        data=setting.source.name,
        data_digest=setting.source.digest,
        preprocess=setting.source.preprocess,
        split_sizes=setting.splits.sizes(),
        classes=setting.source.classes or (),
        out=str(request.out),
    )


def candidate_results(outcome: Outcome, percentile: Percentile) -> tuple[CandidateResult, ...]:
    """One row per candidate that ran, in the order in which they were tried."""
    return tuple(
        candidate_result(attempt, outcome.measurements.get(attempt.candidate.id), outcome.choice, percentile)
        for attempt in outcome.attempts
        if attempt.candidate.id in outcome.measurements
    )


def candidate_result(
    attempt: Attempt, measurement: Measurement | None, choice: Choice, percentile: Percentile
) -> CandidateResult:
    """One candidate with everything known of it."""
    candidate, artifact = attempt.candidate, attempt.artifact
    assert measurement is not None
    audit = artifact.audit
    if measurement.origin == "estimated":  # what ran here says little of what the board's kernels take
        audit = Audit("", notes=tuple(f"{NOTED_HERE}{note}" for note in audit.notes))
    return CandidateResult(
        id=candidate.id,
        digest=artifact_digest(artifact),
        backend=candidate.backend,
        precision=candidate.precision,
        variant=candidate.variant,
        recipe=candidate.recipe,
        ran_as=audit.ran_as,
        latency_ms=None if measurement.latency is None else latency_result(measurement.latency, percentile),
        accuracy=accuracy_result(attempt.accuracy),
        size_bytes=artifact.size_bytes,
        peak_memory_bytes=measurement.peak_memory_bytes,
        load_ms=measurement.load_ms,
        origin=measurement.origin,
        artifact=str(Path(artifact.folder) / artifact.entry),
        why=choice.reasons.get(candidate.id, ""),
        frontier=candidate.id in choice.frontier,
        notes=(*lost_parts(attempt.accuracy), *audit.notes),
        import_ms=measurement.import_ms,
        energy=measurement.energy,
        available_bytes=measurement.available_bytes,
        quantization=artifact.quantization,
    )


def lost_parts(accuracy: Accuracy) -> tuple[str, ...]:
    """A sentence on a channel or column of the outputs that the candidate does not keep."""
    worst = accuracy.worst_part
    return (f"Loses a part of the outputs: {worst.text}.",) if worst and worst.lost else ()


def latency_result(latency: Latency, percentile: Percentile) -> LatencyResult:
    """Milliseconds, with the interval of the budget's percentile."""
    bounds = latency.at(percentile)
    return LatencyResult(
        p50=latency.p50.value,
        p90=latency.p90.value,
        p99=latency.p99.value,
        low=bounds.low,
        high=bounds.high,
        percentile=percentile,
        steady=latency.steady,
        rounds_ms=tuple(tuple(round(sample, 5) for sample in samples) for samples in latency.rounds_ms),
        turns=latency.turns,
        preemptions=latency.preemptions,
        steadiness=latency.steadiness,
    )


def accuracy_result(accuracy: Accuracy) -> AccuracyResult:
    """Fractions, flat."""
    return AccuracyResult(
        metric=accuracy.metric,
        split=accuracy.split,
        samples=accuracy.samples,
        value=accuracy.value.value,
        low=accuracy.value.low,
        high=accuracy.value.high,
        drop=accuracy.drop.value,
        drop_low=accuracy.drop.low,
        drop_high=accuracy.drop.high,
        worst_part=accuracy.worst_part.text if accuracy.worst_part else "",
        drop_bound=accuracy.drop_bound,
    )
