"""SIMULATED: how long a build would take with 1, 2, 8 and 64 workers, from what each task took in a real one.

usage: python benchmarks/scale_simulated.py --store STORE [--run RUN] [--trainings N]

The durations are those that the store recorded of that run (its own products only: reused ones took nothing). Nothing
of a network between machines is in it but TASK_S a task. What a build does one after the other stays so: exports wait
for each other's batch, every timing run waits for all exports before it and is the devices', as are outputs and the
confirmation. `--trainings`: as if so many networks as long as those trained there were trained side by side (a build
trains one at a time now); what one training takes does not shrink, however many workers there are.
"""

import argparse
import heapq
from collections.abc import Sequence
from pathlib import Path

from common import show

from edgekit.store import Store

WORKERS = (1, 2, 8, 64)
TAKEN = ("export", "lint", "reading")  # stages that are tasks; exports run side by side
TASK_S = 0.15
"""To hand a task over and take its answer: seen with workers that had started, on one machine."""
CONNECT_S = 10.0
"""Once: to connect, and for each worker to start and import; seen 5 to 20 on two busy cores."""


def makespan_s(durations: Sequence[float], workers: int) -> float:
    """Tasks in their order, each to the worker that is free first (Graham's list scheduling, 1969)."""
    free = [0.0] * workers
    for duration in durations:
        heapq.heapreplace(free, free[0] + duration + TASK_S)
    return max(free)


def batches(events: Sequence[tuple[str, float]]) -> list[tuple[str, list[float]]]:
    """Stages in the order they ended. Exports up to the next timing run are one batch: outputs come between them."""
    found: list[tuple[str, list[float]]] = []
    exports: list[float] = []
    for stage, seconds in events:
        if stage == "export":
            exports.append(seconds)
            continue
        if stage in ("latency", "pruned", "confirmation") and exports:
            found.append(("export", exports))
            exports = []
        found.append((stage, [seconds]))
    return [*found, ("export", exports)] if exports else found


def build_s(events: Sequence[tuple[str, float]], workers: int, trainings: int) -> float:
    """The whole build with so many workers."""
    total = CONNECT_S
    for stage, durations in batches(events):
        if stage == "pruned":
            durations = durations * trainings
        if stage in TAKEN or stage == "pruned":
            total += makespan_s(durations, workers)
        else:
            total += sum(durations)
    return total


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--run", help="its id; without one the latest that ended well")
    parser.add_argument("--trainings", type=int, default=1)
    options = parser.parse_args()
    with Store.open(options.store) as store:
        runs = [
            run
            for run in store.last_runs()
            if (run.id == options.run if options.run else run.status == "done")
        ]
        if not runs:
            raise SystemExit(f"{options.store} has no such run")
        events = [(event.stage, event.seconds) for event in store.events(runs[0].id) if not event.reused]
    by_stage: dict[str, list[float]] = {}
    for stage, seconds in events:
        by_stage.setdefault(stage, []).append(seconds)
    show(
        f"SIMULATED from measured durations, {options.trainings} training(s)",
        {
            "measured": {
                stage: {"tasks": len(times), "seconds": round(sum(times), 1)}
                for stage, times in by_stage.items()
            },
            "simulated_build_s": {
                str(workers): round(build_s(events, workers, options.trainings), 1) for workers in WORKERS
            },
        },
    )
