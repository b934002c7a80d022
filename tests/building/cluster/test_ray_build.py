"""What a cluster makes is what this machine makes."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import pytest

from edgekit.building.cluster.executor import RayExecutor
from edgekit.building.executor import InProcessExecutor
from edgekit.building.variants.job import PruneJob
from edgekit.building.variants.named_task import NamedTask
from edgekit.building.variants.sensitivity_task import SensitivityTask, answered
from edgekit.building.variants.training_task import TrainTask
from edgekit.compress import (
    IterateConfig,
    PruneConfig,
    Sensitivity,
    SensitivityConfig,
    TrainConfig,
    joined,
)
from edgekit.data import make_splits, open_source
from edgekit.errors import StageError
from edgekit.model import WeightsPart, identified, locate
from edgekit.result import Result, load_result
from edgekit.store import Store
from edgekit.types import Preprocess
from tests.building.command import build_arguments, run
from tests.conftest import UserNetwork

pytest.importorskip("torch")


def timeless(result: Result) -> object:
    """What must not depend on where a build's tasks ran."""
    rows = [(row.id, row.accuracy, row.size_bytes, row.ran_as) for row in result.candidates]
    claim = result.claim
    return rows, result.winner, result.verdict, None if claim is None else (claim.split, claim.value)


@pytest.mark.slow
def test_a_build_has_the_same_candidates_accuracies_and_winner_on_a_cluster(
    digits_network: UserNetwork, ray_executor: RayExecutor, tmp_path: Path
) -> None:
    results = []
    for executor in ("process", "ray"):
        work = tmp_path / executor
        work.mkdir()
        # One candidate: of two that are as fast, one build may time this first and another that.
        options = {"runtime": "onnxruntime", "precision": "int8", "executor": executor}
        done = run(build_arguments(digits_network, work, **options))
        assert done.returncode == 0, done.stderr
        results.append(timeless(load_result(work / "out" / "result.json")))
        with Store.open(work / "store") as store:
            assert not list(store.folder.glob("temp/*/executor"))
    assert results[0] == results[1]


@pytest.fixture
def training(digits_network: UserNetwork, tmp_path: Path) -> TrainTask:
    """A short one on digits."""
    ref = identified(locate(digits_network.model, digits_network.weights))
    splits = make_splits(open_source("digits", Preprocess(), tmp_path), seed=0)
    assert splits.train is not None
    job = PruneJob(
        model_digest=ref.digest,
        train_digest=splits.train.digest,
        validation_digest=splits.validation.digest,
        config=PruneConfig(ratio_step=0.3, importance="magnitude"),
        train=TrainConfig(epochs=1.0, batch_size=64, device="cpu", threads=1),
        steps=IterateConfig(step_epochs=0.2, slack=1.0),
        limit=1.0,
        fraction=0.7,
        code=(),
    )
    Store.open(tmp_path / "store").close()
    return TrainTask(
        job=job,
        model=ref.source,
        weights=str(digits_network.weights),
        part=WeightsPart(),
        data="digits",
        preprocess=Preprocess(),
        classes=None,
        seed=0,
        calibration_samples=512,
        project=str(tmp_path),
        in_place=(str(digits_network.weights),),
        store=str(tmp_path / "store"),
        key="0" * 64,
        seconds_left=None,
        trains_on="cpu",
    )


@pytest.mark.slow
def test_a_training_gives_the_same_network_on_a_cluster(
    training: TrainTask, ray_executor: RayExecutor, tmp_path: Path
) -> None:
    made = []
    for name, executor in (("here", InProcessExecutor()), ("there", ray_executor)):
        folder = tmp_path / name
        folder.mkdir()
        task = replace(training, key=name[0].encode().hex() * 32)
        trained = executor.run(task, folder)
        assert not trained.shortened
        history = [line.rpartition(",")[0] for line in trained.meta["history"]]
        made.append((history, list(trained.meta["steps"]), (folder / "pruned.safetensors").read_bytes()))
    assert made[0] == made[1]


def test_a_training_is_refused_where_network_or_data_are_others(training: TrainTask, tmp_path: Path) -> None:
    for change, words in (
        ({"model_digest": "0"}, "is another network here than where the build runs"),
        ({"train_digest": "0"}, "the data in digits is not what it is where the build runs"),
    ):
        task = replace(training, job=replace(training.job, **change))  # type: ignore[arg-type]
        with pytest.raises(StageError, match=words):
            InProcessExecutor().run(task, tmp_path)


@pytest.fixture
def sensitivity(training: TrainTask, tmp_path: Path) -> SensitivityTask:
    """Half of that of the digits network."""
    named = {part.name: getattr(training, part.name) for part in fields(NamedTask)}
    calibration = make_splits(open_source("digits", Preprocess(), tmp_path), seed=0).calibration
    return SensitivityTask(
        **named,
        model_digest=training.job.model_digest,
        samples_digest=calibration.digest,
        pruning=PruneConfig(importance="magnitude"),
        config=SensitivityConfig(fractions=(0.5,), samples=32, batch_size=32),
        place=0,
        count=2,
    )


def test_sensitivity_in_shares_on_a_cluster_is_that_of_this_machine(
    sensitivity: SensitivityTask, ray_executor: RayExecutor
) -> None:
    import torch

    there = joined(
        [
            Sensitivity.from_json(text)
            for text in answered(ray_executor, {n: replace(sensitivity, place=n) for n in (0, 1)})
        ]
    )
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        here = answered(InProcessExecutor(), {0: replace(sensitivity, count=1)})[0]
    finally:
        torch.set_num_threads(threads)
    assert there == Sensitivity.from_json(here)
    assert len(there.layers) > 2


def test_sensitivity_is_refused_where_network_or_data_are_others(
    sensitivity: SensitivityTask, tmp_path: Path
) -> None:
    for change in ({"model_digest": "0"}, {"samples_digest": "0"}):
        with pytest.raises(StageError, match="where the build runs"):
            InProcessExecutor().run(replace(sensitivity, **change), tmp_path)  # type: ignore[arg-type]
