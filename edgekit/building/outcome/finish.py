"""After the choice: the claim on the test split, the result, the bundle."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

from edgekit._version import __version__
from edgekit.building.candidates.estimates import best_of_each, provisional
from edgekit.building.candidates.ladder import Attempt
from edgekit.building.context import Workshop
from edgekit.building.outcome.bundling import hand_over, hand_over_candidates
from edgekit.building.outcome.waterfall import waterfall_of
from edgekit.errors import OutputError
from edgekit.result import (
    SCHEMA_VERSION,
    AccuracyResult,
    CandidateResult,
    LatencyResult,
    Result,
    RunInfo,
    TargetInfo,
    VariantResult,
    save_result,
)
from edgekit.types import (
    Accuracy,
    Artifact,
    Audit,
    Choice,
    Environment,
    Failure,
    Latency,
    Measurement,
    Percentile,
    Rejection,
    Variant,
)

__all__ = ["Outcome", "finish"]


@dataclass(frozen=True)
class Outcome:
    """All that the stages found."""

    original: Variant
    networks: Mapping[str, Variant]
    reference: Artifact
    attempts: tuple[Attempt, ...]
    measurements: dict[str, Measurement]
    choice: Choice
    failures: tuple[Failure, ...]
    rejections: tuple[Rejection, ...]
    variants: tuple[VariantResult, ...]


def finish(shop: Workshop, outcome: Outcome) -> Result:
    """Settle the claim, write `result.json` and the bundle."""
    request = shop.setting.request
    claim = None
    if shop.setting.absent:
        measured = [one for one in outcome.attempts if one.candidate.id in outcome.measurements]
        outcome = replace(outcome, choice=provisional(shop, outcome.choice, measured))
    claimant = outcome.choice.winner or (outcome.choice.nearest if shop.setting.absent else None)
    if claimant is not None:
        with shop.reporter.step("Measuring the winner's claim on the test split"):
            claim = claim_of(shop, outcome, claimant)
        if outcome.choice.winner is not None:
            outcome = replace(outcome, choice=with_claim(outcome.choice, claim, request.budget.max_drop))
    result = assemble(shop, outcome, claim)
    make_folder(request.out)
    hand_over_all(shop, outcome, claim)
    save_result(result, request.out / "result.json")
    return result


def hand_over_all(shop: Workshop, outcome: Outcome, claim: Accuracy | None) -> None:
    """The bundle: the winner or the nearest; for a board that is not here, the best few of each precision."""
    choice, measurements = outcome.choice, outcome.measurements
    if shop.setting.absent:
        chosen = best_of_each(outcome.attempts, measurements, choice, shop.setting.request.budget.max_drop)
        hand_over_candidates(shop, outcome.networks, chosen, measurements, claim)
        return
    handed = choice.winner or choice.nearest
    for attempt in outcome.attempts:
        if attempt.candidate.id == handed:
            network = outcome.networks[attempt.candidate.variant]
            hand_over(shop, network, attempt, measurements[attempt.candidate.id], claim)


def make_folder(folder: Path) -> None:
    """Raises OutputError when it cannot be made."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"--out {folder} cannot be made: {error.strerror}") from error


def claim_of(shop: Workshop, outcome: Outcome, claimant: str) -> Accuracy:
    """The winner's accuracy on samples that no choice has seen."""
    winner = next(one for one in outcome.attempts if one.candidate.id == claimant)
    samples = shop.samples(shop.setting.splits.test, outcome.original.signature)
    return shop.accuracy(winner.artifact, outcome.reference, samples)


def with_claim(choice: Choice, claim: Accuracy, limit: float | None) -> Choice:
    """The verdict stands only if the claim holds on the test split too; nothing else is chosen by that split."""
    if limit is None or claim.drop.value <= limit:
        return choice
    text = (
        f"{choice.winner} met the budget on the validation split, but on the test split its accuracy drop is "
        f"{100 * claim.drop.value:.2f} points [{100 * claim.drop.low:.2f}, {100 * claim.drop.high:.2f}], over "
        f"the limit of {100 * limit:.2f}. More validation samples or a higher --max-drop would settle it."
    )
    reasons = {**choice.reasons, choice.winner or "": text}
    return replace(
        choice, verdict="MISSES", winner=None, nearest=choice.winner, explanation=text, reasons=reasons
    )


def assemble(shop: Workshop, outcome: Outcome, claim: Accuracy | None) -> Result:
    """The typed `result.json`."""
    setting = shop.setting
    request = setting.request
    now = datetime.now(timezone.utc)
    duration_s = time.monotonic() - setting.started
    choice = outcome.choice
    return Result(
        schema=SCHEMA_VERSION,
        verdict=choice.verdict,
        explanation=choice.explanation,
        target=TargetInfo(setting.target.name, setting.target.title),
        budget=request.budget,
        winner=choice.winner,
        nearest=choice.nearest,
        claim=None if claim is None else accuracy_result(claim),
        candidates=candidate_results(outcome, request.budget.percentile),
        variants=outcome.variants,
        rejected=outcome.rejections,
        failures=outcome.failures,
        warnings=(*setting.warnings, *setting.store.warnings),
        environment=environment_of(shop, outcome),
        run=RunInfo(
            id=shop.run.id,
            edgekit=__version__,
            command=request.command or f"edgekit.build(target={request.target!r}, …)",
            started=(now - timedelta(seconds=duration_s)).isoformat(timespec="seconds"),
            duration_s=round(duration_s, 2),
            seed=request.seed,
            model=request.describe_model(),
            model_digest=setting.model.digest,
            data=setting.source.name,
            data_digest=setting.source.digest,
            preprocess=request.preprocess,
            split_sizes=setting.splits.sizes(),
            classes=setting.source.classes or (),
        ),
        waterfall=waterfall_of(shop, outcome),
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
        audit = Audit("", notes=tuple(f"On this machine, not the board: {note}" for note in audit.notes))
    return CandidateResult(
        id=candidate.id,
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
        notes=tuple(audit.notes),
        import_ms=measurement.import_ms,
    )


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
        rounds_ms=tuple(tuple(round(sample, 5) for sample in one) for one in latency.rounds_ms),
        turns=latency.turns,
        preemptions=latency.preemptions,
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
    )


def environment_of(shop: Workshop, outcome: Outcome) -> Environment:
    """Where the candidates were measured, or, when none was, what this machine is."""
    measured: Sequence[Measurement] = tuple(outcome.measurements.values())
    if measured:
        return measured[-1].environment
    from edgekit.measure import read_environment

    return read_environment(shop.device.describe(), threads=shop.setting.request.threads)
