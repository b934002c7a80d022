"""Latency of all candidates against each other, in interleaved rounds of one run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec

from edgekit.building.candidates.ladder import Attempt
from edgekit.building.context import Workshop
from edgekit.devices import Measured, MeasureOptions, measure
from edgekit.types import Artifact, Failure, Measurement, Variant

__all__ = ["time_artifacts", "time_attempts"]

FILE = "timed.json"
SECONDS_EACH = 3.0
UNREST = 0.05  # of a median: a wider interval is noise that a second run may be free of
REPEATS = 1  # of a run in which some candidate was not steady: the store would keep the noise for good
STAGES = {
    "load": "loading",
    "warm": "warming up",
    "time": "timing",
    "wait": "waiting for another measurement",
}


@dataclass(frozen=True)
class Timed:
    """One row of the stored measurements: exactly one of the two."""

    measurement: Measurement | None = None
    failure: Failure | None = None


def time_attempts(
    shop: Workshop, variant: Variant, attempts: Sequence[Attempt]
) -> tuple[dict[str, Measurement], list[Failure]]:
    """Measurements by candidate, each with the accuracy that is known already, and those that failed."""
    found = time_artifacts(shop, variant, [attempt.artifact for attempt in attempts], SECONDS_EACH)
    measurements: dict[str, Measurement] = {}
    failures: list[Failure] = []
    for attempt in attempts:
        result = found[attempt.candidate.id]
        if isinstance(result, Failure):
            failures.append(result)
        else:
            measurements[attempt.candidate.id] = replace(result, accuracy=attempt.accuracy)
    return measurements, failures


def time_artifacts(
    shop: Workshop, variant: Variant, artifacts: Sequence[Artifact], seconds: float
) -> dict[str, Measurement | Failure]:
    """Candidate → latency, load time and memory. `seconds` of timed runs for each."""
    request = shop.setting.request
    options = MeasureOptions(threads=request.threads, seconds=seconds, seed=request.seed)
    feeds = shop.samples(shop.setting.splits.validation, variant.signature).files.first

    def make(folder: Path) -> Mapping[str, Any]:
        with shop.reporter.step(f"Measuring {len(artifacts)} candidates") as step:

            def progress(stage: str, entry: str, done: int, total: int) -> None:
                step.advance(done / max(total, 1), f"{STAGES.get(stage, stage)} {entry}".strip())

            def once() -> dict[str, Measured | Failure]:
                return measure(
                    shop.device,
                    artifacts,
                    folder=folder / "job",
                    options=options,
                    feeds=feeds,
                    origin="device",
                    progress=progress,
                )

            found = once()
            for _ in range(REPEATS):
                if unrest(found) <= UNREST:
                    break
                step.advance(0.0, "the machine was not quiet: measuring again")
                found = min(found, once(), key=unrest)
        ordered = [found[artifact.candidate] for artifact in artifacts]
        rows = [
            Timed(failure=one) if isinstance(one, Failure) else Timed(measurement=one.measurement)
            for one in ordered
        ]
        # Beside the meta, not in it: thousands of raw samples.
        (folder / FILE).write_bytes(msgspec.json.encode(rows))
        return {"candidates": len(rows)}

    parts = {**shop.identity(list(artifacts)), "seconds": seconds, "seed": request.seed}
    entry = shop.cached("latency", parts, make)
    timed = msgspec.json.decode((entry.path / FILE).read_bytes(), type=list[Timed])
    return {
        artifact.candidate: named(one, artifact.candidate)
        for artifact, one in zip(artifacts, timed, strict=True)
    }


def unrest(found: Mapping[str, Measured | Failure]) -> float:
    """How noisy a run was: the widest relative interval of a median among candidates that were not steady; 0: none."""
    latencies = [one.measurement.latency for one in found.values() if isinstance(one, Measured)]
    return max(
        ((one.p50.high - one.p50.low) / one.p50.value for one in latencies if one and not one.steady),
        default=0.0,
    )


def named(timed: Timed, candidate: str) -> Measurement | Failure:
    """The stored row under this run's name of the candidate."""
    if timed.failure is not None:
        return replace(timed.failure, candidate=candidate)
    assert timed.measurement is not None
    return replace(timed.measurement, candidate=candidate)
