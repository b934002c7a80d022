"""A `Result` with made-up figures, for tests of whatever reads one. No figure in it was measured."""

from __future__ import annotations

import math
import random
import statistics
from dataclasses import replace

from edgekit.precisions import PRECISIONS
from edgekit.result import (
    SCHEMA_VERSION,
    AccuracyResult,
    CandidateResult,
    LatencyResult,
    Result,
    TargetInfo,
)
from edgekit.testing.example_parts import (
    DRAFTS,
    ENVIRONMENT,
    FAILURES,
    REJECTED,
    RUN,
    TEST_SAMPLES,
    VALIDATION_SAMPLES,
    VARIANTS,
    WATERFALL,
    Draft,
)
from edgekit.types import Budget, FloatLayer, Origin, QuantizationSummary, Verdict

__all__ = ["example_result"]

ORIGINAL_ACCURACY = 0.9168
ROUNDS = 12


def example_result(
    verdict: Verdict = "MEETS",
    *,
    candidates: int = 9,
    emulated: int = 0,
    seed: int = 0,
) -> Result:
    """A made-up result: same arguments, same figures. `emulated` of the candidates get that origin.

    `candidates` is between 0 and 20. Raises ValueError where the verdict cannot be had with so few.
    """
    least = {"MEETS": 6, "MISSES": 1, "INFEASIBLE": 0}[verdict]
    if not least <= candidates <= len(DRAFTS):
        raise ValueError(
            f"candidates (={candidates}) must be between {least} and {len(DRAFTS)} for {verdict}"
        )
    budget = _budget(verdict)
    chance = random.Random(seed)
    measured = [
        _measured(draft, "device" if place < candidates - emulated else "emulated", turns, chance)
        for place, (draft, turns) in enumerate(zip(DRAFTS, _turns(candidates, seed), strict=False))
    ]
    winner, nearest = _winner_and_nearest(verdict, measured)
    return Result(
        schema=SCHEMA_VERSION,
        verdict=verdict,
        explanation=_explanation(verdict, winner, nearest),
        target=TargetInfo("made-up-board", "Made-up board (no such hardware)"),
        budget=budget,
        winner=winner,
        nearest=nearest,
        claim=_accuracy("test", TEST_SAMPLES, 0.0066) if winner else None,
        candidates=tuple(_judged(candidate, winner, measured, budget) for candidate in measured),
        variants=VARIANTS,
        rejected=REJECTED,
        failures=FAILURES,
        warnings=("all figures of this result are made up for tests",),
        environment=ENVIRONMENT,
        run=replace(RUN, command=RUN.command.format(latency=budget.max_latency_ms)),
        waterfall=WATERFALL if winner or nearest else (),
    )


def _budget(verdict: Verdict) -> Budget:
    if verdict == "MEETS":
        return Budget(max_latency_ms=0.35, max_drop=0.01, max_size_bytes=500_000)
    return Budget(max_latency_ms=0.2 if verdict == "MISSES" else 0.001, max_drop=0.01)


def _winner_and_nearest(verdict: Verdict, measured: list[CandidateResult]) -> tuple[str | None, str | None]:
    best = "pruned-45-ov-int8-mse"
    if verdict == "MEETS":
        return best, None
    ids = [candidate.id for candidate in measured]
    return None, (best if best in ids else ids[-1]) if verdict == "MISSES" else None


def _explanation(verdict: Verdict, winner: str | None, nearest: str | None) -> str:
    if verdict == "MEETS":
        return f"{winner} is the most accurate candidate whose p90 interval lies under 0.35 ms."
    if verdict == "MISSES":
        return f"No candidate meets 0.2 ms at p90. {nearest} comes nearest; it would have to be faster."
    return "0.001 ms is below the time that an empty network takes in the runtime on this board (0.004 ms)."


def _measured(draft: Draft, origin: Origin, turns: tuple[int, ...], chance: random.Random) -> CandidateResult:
    return CandidateResult(
        id=draft.id,
        digest=f"made up of {draft.id}",
        backend=draft.backend,
        precision=draft.precision,
        variant=draft.variant,
        recipe=draft.recipe,
        ran_as=draft.ran_as,
        latency_ms=_latency(draft.time_ms, turns, chance),
        accuracy=_accuracy("validation", VALIDATION_SAMPLES, draft.drop),
        size_bytes=draft.size_kb * 1000,
        peak_memory_bytes=(42_000 + 3 * draft.size_kb) * 1000,
        load_ms=round(8 + 20 * draft.time_ms, 1),
        origin=origin,
        artifact=f"artifacts/{draft.id}",
        why="",
        notes=_notes(draft),
        import_ms=180.0 if draft.backend == "openvino" else 95.0,
        quantization=_quantization(draft),
    )


def _quantization(draft: Draft) -> QuantizationSummary | None:
    if draft.precision != "int8":
        return None
    by_runtime = draft.backend == "openvino"
    kept = tuple(FloatLayer(f"layer{number}.conv", "sensitive") for number in range(1, 3))
    return QuantizationSummary(
        activation="uint8",
        weight="int8",
        weight_bits=7,
        granularity="per-channel",
        symmetric=False,
        observer="nncf" if by_runtime else "minmax",
        ranges=None if by_runtime else 31,
        shared_scales=None if by_runtime else 4,
        in_float=kept if "mixed" in draft.recipe else (),
        bias_correction="fast",
        corrected_biases=None if by_runtime else 22,
    )


def _notes(draft: Draft) -> tuple[str, ...]:
    if draft.ran_as == draft.precision or PRECISIONS[draft.precision].is_weight_only:
        return ()
    return (f"asked for {draft.precision}; the runtime ran it as {draft.ran_as} on this CPU",)


def _latency(time_ms: float, turns: tuple[int, ...], chance: random.Random) -> LatencyResult:
    drift = [chance.gauss(1.0, 0.008) for _ in range(ROUNDS)]
    rounds = tuple(
        tuple(round(time_ms * level * (0.97 + chance.lognormvariate(-3.2, 0.7)), 5) for _ in range(40))
        for level in drift
    )
    samples = sorted(sample for samples in rounds for sample in samples)
    p90s = [statistics.quantiles(samples, n=10)[8] for samples in rounds]
    half = 1.96 * statistics.stdev(p90s) / math.sqrt(len(p90s))
    p90 = statistics.quantiles(samples, n=10)[8]
    return LatencyResult(
        p50=round(statistics.median(samples), 5),
        p90=round(p90, 5),
        p99=round(statistics.quantiles(samples, n=100)[98], 5),
        low=round(p90 - half, 5),
        high=round(p90 + half, 5),
        percentile="p90",
        steady=True,
        rounds_ms=rounds,
        turns=turns,
        preemptions=turns[0] % 4,
    )


def _turns(candidates: int, seed: int) -> list[tuple[int, ...]]:
    """Per candidate its place in each round, all in a new order each time."""
    chance = random.Random(seed)
    orders = [chance.sample(range(1, candidates + 1), candidates) for _ in range(ROUNDS)]
    return [tuple(order[place] for order in orders) for place in range(candidates)]


def _accuracy(split: str, samples: int, drop: float) -> AccuracyResult:
    value = ORIGINAL_ACCURACY - drop
    half = 1.96 * math.sqrt(value * (1 - value) / samples)
    drop_half = 1.96 * math.sqrt(3 * abs(drop) / samples)
    return AccuracyResult(
        metric="top-1",
        split=split,
        samples=samples,
        value=round(value, 5),
        low=round(value - half, 5),
        high=round(value + half, 5),
        drop=drop,
        drop_low=round(drop - drop_half, 5),
        drop_high=round(drop + drop_half, 5),
    )


def _judged(
    candidate: CandidateResult, winner: str | None, measured: list[CandidateResult], budget: Budget
) -> CandidateResult:
    latency, accuracy = candidate.latency_ms, candidate.accuracy
    if latency is None or accuracy is None:
        return candidate
    rivals = [other for other in measured if other.origin == candidate.origin and other is not candidate]
    why = "wins: the most accurate candidate within the budget" if candidate.id == winner else ""
    if not why and budget.max_latency_ms is not None and latency.high > budget.max_latency_ms:
        why = f"too slow: p90 may be {latency.high:.3g} ms, the budget is {budget.max_latency_ms:g} ms"
    if not why and accuracy.drop > 0.01:
        why = f"too inaccurate: drops {accuracy.drop:.2%}, the limit is 1.00%"
    frontier = candidate.origin == "device" and not any(_dominates(other, candidate) for other in rivals)
    return replace(
        candidate, why=why or "within the budget, but less accurate than the winner", frontier=frontier
    )


def _dominates(candidate: CandidateResult, other: CandidateResult) -> bool:
    if not (candidate.latency_ms and other.latency_ms and candidate.accuracy and other.accuracy):
        return False
    return candidate.latency_ms.p90 < other.latency_ms.p90 and candidate.accuracy.drop <= other.accuracy.drop
