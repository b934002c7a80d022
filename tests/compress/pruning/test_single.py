"""One plan applied at once: looked at, trained, gone on with."""

from __future__ import annotations

import copy
import dataclasses
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from edgekit.compress import (
    PruneConfig,
    PruneOutcome,
    PrunePlan,
    TrainConfig,
    accuracy,
    apply_plan,
    load_pruned,
    look_at,
    propose_widths,
    save_pruned,
    train_planned,
)
from edgekit.errors import StageError
from tests.compress import nets

EXAMPLE = nets.image_example()
TRAIN = TrainConfig(epochs=2, batch_size=16, learning_rate=0.02, device="cpu", augment="none", aside=0.2)


def original() -> nn.Module:
    torch.manual_seed(3)
    network = nets.Plain().train()
    for _ in range(20):  # statistics that are its own
        network(torch.from_numpy(nets.random_samples().x))
    return network.eval()


def plan(width: int = 8) -> PrunePlan:
    return propose_widths(original(), EXAMPLE, {"conv1": width}, PruneConfig(round_to=4))


def trained(folder: Path | None = None, wanted: PrunePlan | None = None, **more: Any) -> PruneOutcome:
    samples = more.pop("train", nets.random_samples())
    config = more.pop("train_config", TRAIN)
    return train_planned(
        original(), EXAMPLE, samples, lambda module: accuracy(module, nets.random_samples()) or 0.0,
        wanted or plan(), config, limit=0.5, folder=folder, **more,
    )  # fmt: skip


def same(first: nn.Module, second: nn.Module) -> bool:
    others = second.state_dict()
    return all(torch.equal(tensor, others[name]) for name, tensor in first.state_dict().items())


def test_the_outcome_is_that_of_one_training(tmp_path: Path) -> None:
    outcome = trained()
    (record,) = outcome.history
    assert (record.kind, outcome.reason, outcome.plan, outcome.shortened) == (
        "final",
        "planned",
        plan(),
        False,
    )
    assert record.accuracy == accuracy(outcome.module, nets.random_samples())
    assert record.drop == outcome.baseline - record.accuracy
    assert record.accepted is (record.drop <= 0.5)
    assert outcome.aside == record.aside
    assert outcome.aside is not None
    save_pruned(tmp_path / "x.safetensors", outcome.module, outcome.plan)
    module, _ = load_pruned(tmp_path / "x.safetensors", original(), EXAMPLE)
    assert same(module, outcome.module)


def test_the_original_is_left_as_it_is_and_its_score_is_not_asked_twice() -> None:
    network, seen = original(), list[int]()
    before = copy.deepcopy(network)

    def validate(module: nn.Module) -> float:
        seen.append(sum(parameter.numel() for parameter in module.parameters()))
        return 0.5

    outcome = train_planned(
        network, EXAMPLE, nets.random_samples(), validate, plan(), TRAIN, limit=0.0, baseline=0.6
    )
    assert same(network, before)
    assert seen == [sum(parameter.numel() for parameter in outcome.module.parameters())]
    assert (outcome.baseline, outcome.history[0].accepted) == (0.6, False)


def test_blocks_and_channels_go_at_once() -> None:
    from edgekit.compress import propose, propose_depth
    from edgekit.demo.net import DigitsNet

    torch.manual_seed(0)
    network = DigitsNet().eval()
    example = (np.zeros((1, 1, 8, 8), np.float32),)
    shallow = propose_depth(network, example, ["blocks.1"])
    less = apply_plan(network, example, shallow)
    wanted = propose(less, example, PruneConfig(importance="magnitude"), 0.4, previous=shallow)
    chance = np.random.default_rng(0)
    samples = nets.ArraySamples(
        chance.normal(size=(40, 1, 8, 8)).astype(np.float32), np.arange(40, dtype=np.int64) % 10
    )
    config = TrainConfig(epochs=1, batch_size=16, device="cpu")
    outcome = train_planned(network, example, samples, lambda module: 1.0, wanted, config, limit=0.1)
    assert isinstance(outcome.module.blocks, nn.Module)
    assert outcome.plan.dropped == ("blocks.1",)
    assert outcome.plan.fraction <= 0.4
    assert outcome.aside is None


def test_a_broken_training_goes_on_to_the_same_network(tmp_path: Path) -> None:
    unbroken = trained()
    data = nets.random_samples()
    breaking = nets.ArraySamples(data.x, data.y, fail_after=7)
    with pytest.raises(nets.PowerCut):
        trained(tmp_path, train=breaking)
    assert [file.name.split(".")[1] for file in tmp_path.iterdir()] == ["checkpoint"]
    resumed = trained(tmp_path)
    assert same(resumed.module, unbroken.module)
    assert resumed.aside == unbroken.aside


def test_trainings_of_several_plans_share_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    longer = dataclasses.replace(TRAIN, epochs=3)
    first = [trained(tmp_path, wanted) for wanted in (plan(8), plan(4))]
    first.append(trained(tmp_path, train_config=longer))
    assert len(list(tmp_path.iterdir())) == 3
    monkeypatch.setattr("edgekit.compress.pruning.distilling.finetune", None)  # nothing is trained again
    again = [trained(tmp_path, wanted) for wanted in (plan(8), plan(4))]
    again.append(trained(tmp_path, train_config=longer))
    for whole, other in zip(first, again, strict=True):
        assert same(whole.module, other.module)
        assert (whole.aside, whole.history[0].accuracy) == (other.aside, other.history[0].accuracy)


def test_a_deadline_shortens_the_training_and_keeps_nothing(tmp_path: Path) -> None:
    endless = dataclasses.replace(TRAIN, epochs=1e6)
    outcome = trained(tmp_path, train_config=endless, deadline=time.monotonic() + 1.0)
    assert outcome.shortened
    assert outcome.history[0].shortened
    assert not list(tmp_path.iterdir())


def test_a_plan_that_changes_nothing_is_refused() -> None:
    with pytest.raises(StageError, match="takes nothing away"):
        trained(wanted=PrunePlan(original_macs=1, macs=1))


def test_a_plan_of_another_network_is_refused() -> None:
    network = nets.Residual().eval()
    foreign = propose_widths(network, EXAMPLE, {"inner1": 8}, PruneConfig(round_to=4))
    for call in (
        lambda: trained(wanted=foreign),
        lambda: look_at(original(), EXAMPLE, foreign, nets.random_samples()),
    ):
        with pytest.raises(StageError, match="no such group"):
            call()


def test_progress_rises_to_one() -> None:
    recorder = nets.ProgressRecorder()
    trained(progress=recorder)
    assert recorder.seen == sorted(recorder.seen)
    assert recorder.seen[-1] == 1.0


def test_a_look_has_the_plan_s_weights_and_statistics_of_its_own() -> None:
    data = nets.random_samples()
    cut, seen = apply_plan(original(), EXAMPLE, plan()), look_at(original(), EXAMPLE, plan(), data)
    cut_state, seen_state = cut.state_dict(), seen.state_dict()
    norms = {name for name in cut_state if "running" in name or "tracked" in name}
    assert all(torch.equal(cut_state[name], seen_state[name]) for name in cut_state.keys() - norms)
    assert not torch.equal(cut_state["bn2.running_mean"], seen_state["bn2.running_mean"])
    assert not any(layer.training for layer in seen.modules())
    assert same(seen, look_at(original(), EXAMPLE, plan(), data))
    x = torch.from_numpy(data.x)
    seen.bn2.register_forward_hook(lambda module, given, output: statistics.append(given[0]))
    statistics: list[torch.Tensor] = []
    with torch.no_grad():
        seen(x)
    assert torch.allclose(statistics[0].mean((0, 2, 3)), seen.bn2.running_mean, atol=0.1)
