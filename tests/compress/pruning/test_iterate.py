from __future__ import annotations

import dataclasses
import functools
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from edgekit.compress import (
    IterateConfig,
    PruneConfig,
    PruneOutcome,
    PrunePlan,
    TrainConfig,
    TrainReport,
    accuracy,
    agreement,
    apply_plan,
    finetune,
    load_pruned,
    prune_iteratively,
    save_pruned,
)
from edgekit.errors import ModelError, StageError, TimeLimitReached
from edgekit.progress import Step
from tests.compress import nets

EXAMPLE = (np.zeros((1, 1, 8, 8), dtype=np.float32),)
PRUNE = PruneConfig(ratio_step=0.2, importance="activation", round_to=4, importance_samples=256)
TRAIN = TrainConfig(epochs=5, batch_size=64, learning_rate=0.02, device="cpu")
STEPS = IterateConfig(step_epochs=0.5, slack=0.05)


class DigitNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16)
        self.conv2, self.bn2 = nn.Conv2d(16, 32, 3, padding=1, stride=2), nn.BatchNorm2d(32)
        self.head = nn.Linear(32 * 16, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.bn1(self.conv1(x)))
        x = torch.relu(self.bn2(self.conv2(x)))
        return self.head(x.flatten(1))


@functools.cache
def digits() -> tuple[nets.ArraySamples, nets.ArraySamples]:
    from sklearn.datasets import load_digits

    bunch = load_digits()
    x = (bunch.data.reshape(-1, 1, 8, 8) / 16.0).astype(np.float32)
    y = bunch.target.astype(np.int64)
    order = np.random.default_rng(0).permutation(len(x))
    train, held = order[:1200], order[1200:]
    return nets.ArraySamples(x[train], y[train]), nets.ArraySamples(x[held], y[held])


@functools.cache
def trained_net() -> nn.Module:
    torch.manual_seed(0)
    module = DigitNet()
    finetune(module, digits()[0], TrainConfig(epochs=8, batch_size=64, learning_rate=0.1, device="cpu"))
    return module


def run(
    folder: Path | None = None,
    *,
    limit: float = 0.02,
    target: float | None = 0.5,
    train: nets.ArraySamples | None = None,
    progress: Step | None = None,
    deadline: float | None = None,
) -> PruneOutcome:
    samples, held = digits()
    return prune_iteratively(
        trained_net(), EXAMPLE, train or samples, lambda module: accuracy(module, held), PRUNE, TRAIN,
        limit=limit, target_fraction=target, steps=STEPS, folder=folder, progress=progress,
        deadline=deadline,
    )  # fmt: skip


@functools.cache
def usual_outcome() -> PruneOutcome:
    return run()


@pytest.mark.slow
def test_half_the_macs_cost_at_most_two_points_on_digits() -> None:
    outcome = usual_outcome()
    final = outcome.history[-1]
    assert outcome.baseline > 0.95
    assert outcome.plan.fraction <= 0.5
    assert final.kind == "final"
    assert final.drop <= 0.02


def test_history_tells_every_step() -> None:
    outcome = usual_outcome()
    fractions = [record.plan.fraction for record in outcome.history]
    assert fractions == sorted(fractions, reverse=True)
    assert [record.kind for record in outcome.history[:-1]] == ["step"] * (len(fractions) - 1)
    assert "as wanted" in outcome.reason
    assert outcome.aside is None


def test_the_outcome_is_rebuilt_from_plan_and_weights(tmp_path: Path) -> None:
    outcome = usual_outcome()
    save_pruned(tmp_path / "pruned.safetensors", outcome.module, outcome.plan)
    module, plan = load_pruned(tmp_path / "pruned.safetensors", trained_net(), EXAMPLE)
    x = torch.randn(4, 1, 8, 8)
    assert plan == outcome.plan
    assert torch.allclose(module(x), outcome.module(x), atol=1e-4)


def test_progress_never_falls_and_ends_at_one() -> None:
    recorder = nets.ProgressRecorder()
    run(progress=recorder, target=0.8)
    assert recorder.seen == sorted(recorder.seen)
    assert recorder.seen[-1] == 1.0
    assert recorder.seen[-2] < 1.0


def test_an_accuracy_limit_out_of_reach_takes_the_step_back() -> None:
    with pytest.raises(StageError, match="no step within the accuracy limit"):
        run(limit=-1.0)


def test_pruning_ends_where_the_widths_end() -> None:
    outcome = run(limit=1.0, target=None)
    assert outcome.plan.widths == {"conv1": 4, "conv2": 4}
    assert "nothing more can be pruned" in outcome.reason


@pytest.mark.slow
def test_a_broken_run_resumes_to_the_same_network(tmp_path: Path) -> None:
    unbroken = usual_outcome()
    samples, _ = digits()
    for batches in (10, 60):
        breaking = nets.ArraySamples(samples.x, samples.y, fail_after=batches)
        with pytest.raises(nets.PowerCut):
            run(tmp_path, train=breaking)
    resumed = run(tmp_path)
    assert resumed.plan == unbroken.plan
    assert all(
        torch.equal(tensor, resumed.module.state_dict()[name])
        for name, tensor in unbroken.module.state_dict().items()
    )


def test_a_finished_run_is_read_back(tmp_path: Path) -> None:
    first = run(tmp_path)
    nothing = nets.ArraySamples(digits()[0].x, digits()[0].y, fail_after=90)  # enough to score channels only
    second = run(tmp_path, train=nothing)
    assert [record.accuracy for record in second.history] == [record.accuracy for record in first.history]


def test_a_half_zeroed_step_is_trained_again(tmp_path: Path) -> None:
    first = run(tmp_path)
    for file in tmp_path.glob("*.safetensors"):
        content = file.read_bytes()
        file.write_bytes(content[: len(content) // 2] + bytes(len(content) - len(content) // 2))
    second = run(tmp_path)
    assert [record.accuracy for record in second.history] == [record.accuracy for record in first.history]
    assert all(
        torch.equal(tensor, second.module.state_dict()[name])
        for name, tensor in first.module.state_dict().items()
    )


def test_a_step_that_the_deadline_ends_is_gone_on_with_later(tmp_path: Path) -> None:
    with pytest.raises(TimeLimitReached):
        run(tmp_path, deadline=time.monotonic())
    kept = [file.name for file in tmp_path.iterdir()]
    assert kept == ["step-01.checkpoint.safetensors"]
    unbroken, resumed = usual_outcome(), run(tmp_path)
    assert resumed.history[0].accuracy == unbroken.history[0].accuracy
    assert not resumed.shortened


def test_a_deadline_that_is_far_changes_nothing() -> None:
    outcome = run(deadline=time.monotonic() + 3600.0)
    assert not outcome.shortened
    accuracies = [record.accuracy for record in usual_outcome().history]
    assert [record.accuracy for record in outcome.history] == accuracies


def test_steps_and_the_end_hold_the_same_samples_aside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = []

    def noted(*arguments: Any, **named: Any) -> TrainReport:
        held.append(sorted(row.tobytes() for row in named["aside"].x))
        return finetune(*arguments, **named)

    monkeypatch.setattr("edgekit.compress.pruning.distilling.finetune", noted)
    config = dataclasses.replace(TRAIN, epochs=0.5, aside=0.1)
    samples, judged = digits()

    def outcome() -> PruneOutcome:
        return prune_iteratively(
            trained_net(), EXAMPLE, samples, lambda module: accuracy(module, judged), PRUNE, config,
            limit=1.0, target_fraction=0.8, steps=STEPS, folder=tmp_path,
        )  # fmt: skip

    first = outcome()
    assert len(held) == len(first.history) >= 2
    assert all(these == held[0] for these in held)
    assert first.aside == first.history[-1].aside
    assert all(record.aside is not None and 0.0 < record.aside <= 1.0 for record in first.history)
    again = outcome()
    assert [record.aside for record in again.history] == [record.aside for record in first.history]
    assert len(held) == len(first.history)  # nothing was trained again


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    plan = nets.half_of_all(trained_net(), EXAMPLE, PRUNE)
    save_pruned(tmp_path / "x.safetensors", apply_plan(trained_net(), EXAMPLE, plan), PrunePlan())
    with pytest.raises(ModelError, match="does not fit this model"):
        load_pruned(tmp_path / "x.safetensors", trained_net(), EXAMPLE)


def test_agreement_with_itself_is_whole() -> None:
    assert agreement(trained_net(), trained_net(), digits()[1]) == 1.0
