"""A board that is not here: latency is estimated, accuracy measured on this machine, and nothing is settled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path

from edgekit.building.board import Board
from edgekit.building.candidates.sparse_gain import why_no_gain
from edgekit.building.measuring import Evaluator
from edgekit.building.samples import SplitFiles
from edgekit.building.values import Attempt
from edgekit.choose import Entry
from edgekit.hardware import Target
from edgekit.measure import read_environment
from edgekit.plan import Roofline, Structure, roofline
from edgekit.types import Candidate, Choice, Estimate, Failure, Latency, Measurement, Variant

__all__ = [
    "best_per_precision",
    "estimate_attempts",
    "estimate_structures",
    "provisional",
    "too_large",
    "with_point_latency",
]

PER_PRECISION = 2
"""Candidates of each precision that the bundle takes to the board."""


def estimated(target: Target, variant: Variant, candidate: Candidate, threads: int) -> Roofline:
    """The candidate's latency on the target as its peak rates and bandwidth have it."""
    runtime = target.runtime(candidate.backend)
    runs_as = runtime.runs_as.get(candidate.precision) if runtime else None
    sparsity, features = variant.sparsity, target.assumed_features
    network = Path(variant.onnx_path)
    sparse = sparsity is not None and not why_no_gain(target, features, network, candidate, sparsity)
    return roofline(
        target,
        variant.cost,
        candidate.precision,
        runs_as=runs_as,
        threads=threads,
        device=candidate.device,
        sparse=sparse,
    )


def estimate_attempts(
    board: Board,
    evaluator: Evaluator,
    networks: Mapping[str, Variant],
    attempts: Sequence[Attempt],
    samples: SplitFiles,
) -> dict[str, Measurement]:
    """Candidate → accuracy and peak memory as measured on this machine, latency as estimated for the board."""
    facts, threads = evaluator.bench.device.describe(), evaluator.bench.threads
    measurements = {}
    for attempt in attempts:
        candidate = attempt.candidate
        estimate = estimated(board.target, networks[candidate.variant], candidate, threads)
        measurements[candidate.id] = Measurement(
            candidate=candidate.id,
            origin="estimated",
            environment=read_environment(facts, threads=threads, notes=(*board.absent, *estimate.sentences)),
            load_ms=0.0,
            peak_memory_bytes=evaluator.peak_memory_bytes(attempt.artifact, samples),
            latency=None if estimate.latency_ms is None else flat(estimate.latency_ms),
            accuracy=attempt.accuracy,
        )
    return measurements


def flat(estimate: Estimate) -> Latency:
    """An estimate knows no percentiles: the same at each, with no samples behind it."""
    return Latency(estimate, estimate, estimate, rounds_ms=(), warmup_runs=0, steady=True)


def with_point_latency(entry: Entry) -> Entry:
    """The entry with its likely latency alone: a range of assumptions is no interval to hold against a budget."""
    latency = entry.measurement.latency
    if entry.measurement.origin != "estimated" or latency is None:
        return entry
    likely = latency.p50.value
    point = flat(Estimate(likely, likely, likely))
    return replace(entry, measurement=replace(entry.measurement, latency=point))


def estimate_structures(
    target: Target, threads: int, variants: Sequence[Variant], original: Variant, leads: Sequence[Candidate]
) -> list[Structure]:
    """What narrower networks would take on the board; sizes and memory in proportion to the weights."""
    structures = []
    for variant, lead in product(variants, leads):
        latency_ms = estimated(target, variant, lead, threads).latency_ms
        if latency_ms is not None:
            structures.append(
                Structure(
                    fraction=variant.cost.macs / original.cost.macs,
                    latency_ms=latency_ms.value,
                    size_bytes=variant.cost.weight_bytes,
                    peak_memory_bytes=variant.cost.weight_bytes + variant.cost.activation_bytes,
                    like=lead.id,
                    variant=variant.id,
                    median=Estimate(latency_ms.value, latency_ms.value, latency_ms.value),
                )
            )
    return structures


def too_large(target: Target, measurements: Mapping[str, Measurement]) -> list[Failure]:
    """Candidates whose process took more memory than one model may use on the board."""
    if target.model_bytes is None:
        return []
    return [
        Failure(
            name,
            "memory",
            f"it took {measurement.peak_memory_bytes / 2**20:.0f} MiB, of which one model may use "
            f"{target.model_bytes / 2**20:.0f} MiB on {target.name}",
            "a smaller or more pruned network, or int8",
        )
        for name, measurement in measurements.items()
        if measurement.peak_memory_bytes > target.model_bytes
    ]


def best_per_precision(
    attempts: Sequence[Attempt], measurements: Mapping[str, Measurement], choice: Choice, limit: float | None
) -> tuple[Attempt, ...]:
    """The few that go to the board: of each precision and device the best, the leading one first.

    Best: within the accuracy limit, then the fastest as estimated, then the most accurate.
    """

    def rank(attempt: Attempt) -> tuple[bool, bool, float, float, str]:
        latency = measurements[attempt.candidate.id].latency
        return (
            attempt.candidate.id != choice.nearest,
            limit is not None and attempt.accuracy.drop.value > limit,
            latency.p50.value if latency else float("inf"),
            attempt.accuracy.drop.value,
            attempt.candidate.id,
        )

    kept: list[Attempt] = []
    counts: dict[tuple[str, str], int] = {}
    measured = [attempt for attempt in attempts if attempt.candidate.id in measurements]
    for attempt in sorted(measured, key=rank):
        kind = attempt.candidate.precision, attempt.candidate.device
        counts[kind] = counts.get(kind, 0) + 1
        if counts[kind] <= PER_PRECISION:
            kept.append(attempt)
    return tuple(kept)


def provisional(board: Board, choice: Choice, attempts: Sequence[Attempt], bundle: Path) -> Choice:
    """The choice among estimates, or under emulation, as what it is, with the command that settles it.

    `choice` is as `choose.retold` tells it.
    """
    if not attempts:
        return choice  # nothing to take to the board
    lead = choice.winner or choice.nearest
    if lead is None:
        most_accurate = min(attempts, key=lambda attempt: (attempt.accuracy.drop.value, attempt.candidate.id))
        lead = most_accurate.candidate.id
    text = (
        f"{board.target.name} {why_open(board)}, and nothing is settled. "
        f"{'By the estimates' if board.absent else 'By these figures'}: {choice.explanation} "
        f"To settle it, copy {bundle} to the board and run there: python3 bundle/settle.py"
    )
    return replace(choice, verdict="PROVISIONAL", winner=None, nearest=lead, explanation=text)


def why_open(board: Board) -> str:
    """Why nothing is settled, as the end of a sentence on the board."""
    if board.emulated:
        return "is only emulated: accuracy was measured there, its latency says nothing of a board"
    return f"is not here ({'; '.join(board.absent)}): accuracy was measured on this machine, latency is an estimate"
