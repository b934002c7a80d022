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
from edgekit.building.time_limit import TimeLimit
from edgekit.building.values import Attempt
from edgekit.devices import Measured, MeasureOptions, measure
from edgekit.progress import Reporter
from edgekit.types import Artifact, Failure, Measurement
from edgekit.types.measurements import TIMED_S

__all__ = ["Timer", "time_alone", "time_attempts"]

FILE = "timed.json"
NOISE_LIMIT = 0.05  # of a median: a wider interval is noise that a second run may be free of
REPEATS = 1  # of a run in which some candidate was not steady: the store would keep the noise for good
STAGES = {
    "load": "loading",
    "warm": "warming up",
    "time": "timing",
    "wait": "waiting for another measurement",
    "cool": "the board was not steady: letting it cool down before timing again",
    "energy": "measuring energy",
}

TimingRun = Mapping[str, Measured | Failure]
"""Candidate → what one interleaved run gave."""


@dataclass(frozen=True)
class Timed:
    """One row of the stored measurements."""

    measurement: Measurement


class UnkeptRunError(Exception):
    """A run in which some candidate failed, or that the time limit kept from its repetition. Never leaves the timer."""

    def __init__(self, run: TimingRun) -> None:
        super().__init__()
        self.run = run


@dataclass(frozen=True)
class Timer:
    """Times artifacts on a bench. `seed`: of the order within a round; `timed_s`: timed runs of each artifact.

    A run that has begun is finished; after `repeat_until`, and without `repeat`, a noisy one is not repeated. `strict`:
    a throttled or drifting run is a Failure. `energy`: measured too, but not in a run of its own; `meter`: see
    MeasureOptions.
    """

    cache: Cache
    bench: Bench
    reporter: Reporter
    seed: int
    repeat_until: TimeLimit | None = None
    strict: bool = False
    energy: bool = False
    meter: tuple[str, ...] = ()
    timed_s: float = TIMED_S
    repeat: bool = True

    def time(
        self,
        artifacts: Sequence[Artifact],
        samples: SplitFiles,
        seconds: float,
        *,
        again: bool = False,
        energy: bool = False,
    ) -> dict[str, Measurement | Failure]:
        """Candidate → latency, load time and memory. `seconds` of timed runs for each, fed with the first sample.

        `energy`: where the budget limits it.
        `again`: a run of its own beside the one that chose, never that one out of the store.

        Only a run without failures that lacks no repetition is stored. Each candidate has run over the samples before
        it is timed, so what fails here (killed, out of memory, too slow for its time) may not fail again: the next
        build tries all anew.
        """
        options = self._options(seconds, energy)
        title = (
            "Timing the winner once more, on its own" if again else f"Measuring {len(artifacts)} candidates"
        )

        def make(folder: Path) -> Mapping[str, Any]:
            run, whole = self._measured(artifacts, samples, options, folder / "job", title)
            rows = [
                Timed(row.measurement)
                for row in (run[artifact.candidate] for artifact in artifacts)
                if isinstance(row, Measured)
            ]
            if len(rows) < len(artifacts) or not whole:
                raise UnkeptRunError(run)
            # Beside the meta, not in it: thousands of raw samples.
            (folder / FILE).write_bytes(msgspec.json.encode(rows))
            return {"candidates": len(rows)}

        parts = {
            **self.bench.key_parts(artifacts, samples, options),
            "intervals": METHOD,
            "noise_limit": NOISE_LIMIT,
            "repeats": REPEATS if self.repeat else 0,
            "kept": "measurements only",
        }
        try:
            entry = self.cache.entry("confirmation" if again else "latency", parts, make)
        except UnkeptRunError as unkept:
            return {
                name: row if isinstance(row, Failure) else row.measurement for name, row in unkept.run.items()
            }
        rows = msgspec.json.decode((entry.path / FILE).read_bytes(), type=list[Timed])
        return {
            artifact.candidate: replace(row.measurement, candidate=artifact.candidate)
            for artifact, row in zip(artifacts, rows, strict=True)
        }

    def _options(self, seconds: float, energy: bool) -> MeasureOptions:
        """A run shorter than its warm-up would be mostly warm-up, so both are shortened."""
        own = MeasureOptions(threads=self.bench.threads, seconds=seconds, seed=self.seed, strict=self.strict,
                             energy=energy and self.energy, meter=self.meter)  # fmt: skip
        shorter = replace(own, warmup_s=min(own.warmup_s, self.timed_s))
        return shorter if self.repeat else replace(shorter, repeats=0)

    def _measured(
        self,
        artifacts: Sequence[Artifact],
        samples: SplitFiles,
        options: MeasureOptions,
        folder: Path,
        title: str,
    ) -> tuple[TimingRun, bool]:
        with self.reporter.step(title) as step:

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

            def may_repeat() -> bool:
                if self.repeat_until is not None and self.repeat_until.left_s() <= 0:
                    return False
                step.advance(0.0, "the machine was not quiet: measuring again")
                return True

            return calmest_run(run, may_repeat) if self.repeat else (run(), True)


def time_attempts(
    timer: Timer, attempts: Sequence[Attempt], samples: SplitFiles
) -> tuple[dict[str, Measurement], list[Failure]]:
    """Measurements by candidate, each with the accuracy that is known already, and those that failed."""
    timed = timer.time([attempt.artifact for attempt in attempts], samples, timer.timed_s, energy=True)
    measurements: dict[str, Measurement] = {}
    failures: list[Failure] = []
    for attempt in attempts:
        result = timed[attempt.candidate.id]
        if isinstance(result, Failure):
            failures.append(result)
        else:
            measurements[attempt.candidate.id] = replace(result, accuracy=attempt.accuracy)
    return measurements, failures


def time_alone(timer: Timer, samples: SplitFiles, attempt: Attempt) -> Measurement | Failure:
    """One candidate in a run of its own, for as long as it had beside the others."""
    name = attempt.candidate.id
    return timer.time([attempt.artifact], samples, timer.timed_s, again=True)[name]


def calmest_run(run: Callable[[], TimingRun], may_repeat: Callable[[], bool]) -> tuple[TimingRun, bool]:
    """A run that is quiet enough, or else the calmer of it and its repetition; and whether no repetition is missing."""
    calmest = run()
    for _ in range(REPEATS):
        if widest_relative_interval(calmest) <= NOISE_LIMIT:
            break
        if not may_repeat():
            return calmest, False
        calmest = min(calmest, run(), key=widest_relative_interval)
    return calmest, True


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
