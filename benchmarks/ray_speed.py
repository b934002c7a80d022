"""Trainings on a Ray cluster of this machine, with one worker of one core and with two.

usage: python benchmarks/ray_speed.py [--rounds 1] [--trainings 2] [--epochs 2]

The demo's network on digits; each round with one worker, then with two, in stores of their own, so that nothing is
reused. The clusters' start is not in the figures: it is told beside them. Asked: 1.7 times as fast. The load is told,
because on two cores anybody else's work is in the figures.
"""

import argparse
import os
import shutil
import statistics
import sys
import tempfile
import time
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from common import show

from edgekit.building.executor import make_executor
from edgekit.building.side_by_side import side_by_side
from edgekit.building.variants.job import PruneJob
from edgekit.building.variants.training_task import TrainTask
from edgekit.compress import IterateConfig, PruneConfig, TrainConfig
from edgekit.data import make_splits, open_source
from edgekit.demo import net
from edgekit.demo.__main__ import train
from edgekit.model import WeightsPart, identified, locate
from edgekit.store import Store
from edgekit.types import Preprocess


def trainings(folder: Path, count: int, epochs: float) -> list[TrainTask]:
    """As many trainings of the demo's network, to different widths."""
    model, weights = folder / "net.py", folder / "net.safetensors"
    shutil.copyfile(net.__file__, model)
    train(weights)
    ref = identified(locate(f"{model}:make", weights))
    splits = make_splits(open_source("digits", Preprocess(), folder), seed=0)
    job = PruneJob(
        model_digest=ref.digest,
        train_digest=splits.train.digest,
        validation_digest=splits.validation.digest,
        config=PruneConfig(ratio_step=0.25),
        train=TrainConfig(epochs=epochs, batch_size=64, device="cpu", threads=1),
        steps=IterateConfig(step_epochs=0.5, slack=1.0),
        limit=1.0,
        fraction=0.5,
        code=(),
    )
    task = TrainTask(
        job=job, model=ref.source, weights=str(weights), part=WeightsPart(), data="digits", preprocess=Preprocess(),
        classes=None, seed=0, calibration_samples=512, project=str(folder), in_place=(str(weights),), store="", key="",
        seconds_left=None, trains_on="cpu",
    )  # fmt: skip
    return [replace(task, job=replace(job, fraction=0.5 + 0.01 * number)) for number in range(count)]


def seconds(folder: Path, tasks: list[TrainTask], workers: int) -> tuple[float, float]:
    """How long the cluster took to start, and all tasks on so many workers."""
    os.environ["EDGEKIT_RAY_CPUS"] = str(workers)
    with Store.open(folder / "store") as store:
        given = [
            replace(task, store=str(store.folder), key=f"{number:064x}") for number, task in enumerate(tasks)
        ]
        calls = {}
        begun = time.monotonic()
        with closing(make_executor("ray", folder / "log", partial(store.workspace, "executor"))) as executor:
            slots = executor.slots
            started = time.monotonic()
            for number, task in enumerate(given):
                out = folder / str(number)
                out.mkdir()
                calls[number] = partial(executor.run, task, out)
            failed = [made for made in side_by_side(executor, calls).values() if isinstance(made, Exception)]
            ended = time.monotonic()
        if failed or slots != workers:
            raise SystemExit(f"{slots} slots, failed: {failed}")
    return started - begun, ended - started


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--trainings", type=int, default=2)
    parser.add_argument("--epochs", type=float, default=2.0)
    options = parser.parse_args()
    os.environ.pop("RAY_ADDRESS", None)
    took: dict[int, list[float]] = {1: [], 2: []}
    starts: list[float] = []
    torch.set_num_threads(1)
    load = os.getloadavg()
    with tempfile.TemporaryDirectory() as work:
        tasks = trainings(Path(work), options.trainings, options.epochs)
        for number in range(options.rounds):
            for workers in took:
                folder = Path(work) / f"{number}-{workers}"
                folder.mkdir()
                start_s, tasks_s = seconds(folder, tasks, workers)
                starts.append(start_s)
                took[workers].append(tasks_s)
                print(f"{workers} worker(s): {tasks_s:.1f} s", file=sys.stderr)
    one, two = (statistics.median(took[workers]) for workers in (1, 2))
    show(
        "trainings on Ray, one worker of one core against two",
        {
            "one_s": round(one, 1),
            "two_s": round(two, 1),
            "times_as_fast": round(one / two, 2),
            "start_s": round(statistics.median(starts), 1),
            "load_before": load,
            "load_after": os.getloadavg(),
        },
    )
