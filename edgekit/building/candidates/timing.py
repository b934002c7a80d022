"""Latency of all candidates against each other, in interleaved rounds of one run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec

from edgekit.board.intervals import METHOD
from edgekit.building.cache import Cache
from edgekit.building.measuring import Bench
from edgekit.building.samples import SplitFiles
from edgekit.building.values import Attempt
from edgekit.devices import Measured, MeasureOptions, measure
from edgekit.progress import Reporter
from edgekit.types import Artifact, Failure, Measurement

__all__ = ["Timer", "time_attempts"]

FILE = "timed.json"
ARTIFACT_SECONDS = 3.0
NOISE_LIMIT = 0.05  # of a median: a wider interval is noise that a second run may be free of
REPEATS = 1  # of a run in which some candidate was not steady: the store would keep the noise for good
STAGES = {
    "load": "loading",
    "warm": "warming up",
    "time": "timing",
    "wait": "waiting for another measurement",
}

TimingRun = Mapping[str, Measured | Failure]
"""Candidate → what one interleaved run gave."""


@dataclass(frozen=True)
class Timed:
    """One row of the stored measurements: exactly one of the two."""

    measurement: Measurement | None = None
    failure: Failure | None = None


@dataclass(frozen=True)
class Timer:
    """Times artifacts on a bench. `seed`: of the order within a round."""

    cache: Cache
    bench: Bench
    reporter: Reporter
    seed: int

    def time(
        self, artifacts: Sequence[Artifact], samples: SplitFiles, seconds: float
    ) -> dict[str, Measurement | Failure]:
        """Candidate → latency, load time and memory. `seconds` of timed runs for each, fed with the first sample."""
        options = MeasureOptions(threads=self.bench.threads, seconds=seconds, seed=self.seed)

        def make(folder: Path) -> Mapping[str, Any]:
            run = self._measured(artifacts, samples, options, folder / "job")
            rows = [row_of(run[artifact.candidate]) for artifact in artifacts]
            # Beside the meta, not in it: thousands of raw samples.
            (folder / FILE).write_bytes(msgspec.json.encode(rows))
            return {"candidates": len(rows)}

        parts = {
            **self.bench.key_parts(artifacts, samples, options),
            "intervals": METHOD,
            "noise_limit": NOISE_LIMIT,
            "repeats": REPEATS,
        }
        entry = self.cache.entry("latency", parts, make)
        rows = msgspec.json.decode((entry.path / FILE).read_bytes(), type=list[Timed])
        return {
            artifact.candidate: named(row, artifact.candidate)
            for artifact, row in zip(artifacts, rows, strict=True)
        }

    def _measured(
        self, artifacts: Sequence[Artifact], samples: SplitFiles, options: MeasureOptions, folder: Path
    ) -> TimingRun:
        with self.reporter.step(f"Measuring {len(artifacts)} candidates") as step:

            def progress(stage: str, entry: str, done: int, total: int) -> None:
                step.advance(done / max(total, 1), f"{STAGES.get(stage, stage)} {entry}".strip())

            def run() -> TimingRun:
                return measure(
                    self.bench.device,
                    artifacts,
                    folder=folder,
                    options=options,
                    feeds=samples.files.first,
                    origin=self.bench.origin,
                    progress=progress,
                )

            return calmest_run(run, lambda: step.advance(0.0, "the machine was not quiet: measuring again"))


def time_attempts(
    timer: Timer, attempts: Sequence[Attempt], samples: SplitFiles
) -> tuple[dict[str, Measurement], list[Failure]]:
    """Measurements by candidate, each with the accuracy that is known already, and those that failed."""
    timed = timer.time([attempt.artifact for attempt in attempts], samples, ARTIFACT_SECONDS)
    measurements: dict[str, Measurement] = {}
    failures: list[Failure] = []
    for attempt in attempts:
        result = timed[attempt.candidate.id]
        if isinstance(result, Failure):
            failures.append(result)
        else:
            measurements[attempt.candidate.id] = replace(result, accuracy=attempt.accuracy)
    return measurements, failures


def calmest_run(run: Callable[[], TimingRun], tell_again: Callable[[], None]) -> TimingRun:
    """A run that is quiet enough, or else the calmer of it and its repetition."""
    calmest = run()
    for _ in range(REPEATS):
        if widest_relative_interval(calmest) <= NOISE_LIMIT:
            break
        tell_again()
        calmest = min(calmest, run(), key=widest_relative_interval)
    return calmest


def widest_relative_interval(run: TimingRun) -> float:
    """How noisy a run was: the widest interval of a median, as a share of it, among those not steady; 0: none."""
    latencies = [row.measurement.latency for row in run.values() if isinstance(row, Measured)]
    return max(
        (
            (latency.p50.high - latency.p50.low) / latency.p50.value
            for latency in latencies
            if latency and not latency.steady
        ),
        default=0.0,
    )


def row_of(result: Measured | Failure) -> Timed:
    """What is stored of one candidate."""
    return Timed(failure=result) if isinstance(result, Failure) else Timed(measurement=result.measurement)


def named(row: Timed, candidate: str) -> Measurement | Failure:
    """The stored row under this run's name of the candidate."""
    if row.failure is not None:
        return replace(row.failure, candidate=candidate)
    assert row.measurement is not None
    return replace(row.measurement, candidate=candidate)
