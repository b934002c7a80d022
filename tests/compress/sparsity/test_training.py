"""Trainings with zeros."""

from __future__ import annotations

import copy
import time
from pathlib import Path

import pytest
import torch
from torch import nn

from edgekit.compress import (
    TrainConfig,
    finetune,
    load_sparse,
    save_pruned,
    sparse_plan,
    sparsified,
    train_sparse,
)
from edgekit.compress.sparsity.masks import ZeroWeights
from edgekit.compress.sparsity.training import has_zeros, rewind
from edgekit.errors import ModelError, UserError
from edgekit.types import SaliencyName, Sparsity
from tests.compress import nets
from tests.one_thread import one_thread

__all__ = ["one_thread"]

HALF, MOST = Sparsity("2:4", 0.5), Sparsity("unstructured", 0.8)
SHORT = TrainConfig(epochs=3, batch_size=16, device="cpu")


def network() -> nn.Module:
    torch.manual_seed(1)
    return nets.Plain().eval()


def trained(sparsity: Sparsity, saliency: SaliencyName = "magnitude", **more: object) -> nn.Module:
    plan = sparse_plan(network(), sparsity, saliency, bool(more.pop("rewind", False)))
    outcome = train_sparse(
        network(),
        nets.random_samples(),
        lambda module: 0.5,
        plan,
        SHORT,
        limit=0.1,
        **more,  # type: ignore[arg-type]
    )
    assert outcome.plan is plan
    return outcome.module


@pytest.mark.parametrize("sparsity", [HALF, MOST])
@pytest.mark.parametrize("saliency", ["magnitude", "obd"])
def test_zeros_are_there_in_the_end_and_the_rest_has_moved(
    sparsity: Sparsity, saliency: SaliencyName
) -> None:
    before, after = network(), trained(sparsity, saliency)
    plan = sparse_plan(before, sparsity)
    assert plan.layers
    for name in plan.layers:
        weight = after.get_submodule(name).weight
        assert isinstance(weight, torch.Tensor)
        assert has_zeros(weight, plan)
        assert int((weight == 0).sum()) == round(sparsity.ratio * weight.numel())
        live = weight != 0
        assert not torch.equal(weight[live], before.get_submodule(name).weight[live])  # type: ignore[index]
    assert not after.training


def test_saliencies_differ_in_what_they_keep() -> None:
    zeros = [trained(MOST, saliency).state_dict() for saliency in ("magnitude", "obd")]
    assert any(not torch.equal(zeros[0][name] == 0, zeros[1][name] == 0) for name in zeros[0])


def test_rewound_weights_begin_where_training_began() -> None:
    start = network()
    plan = sparse_plan(start, MOST, rewind=True)
    moved = copy.deepcopy(start)
    with torch.no_grad():
        for parameter in moved.parameters():
            parameter.add_(1.0)
    ZeroWeights(plan, {}).advance(moved, 1.0)
    gone = {name: moved.get_submodule(name).weight == 0 for name in plan.layers}
    rewind(moved, plan, start.state_dict())
    for name in plan.layers:
        weight, was = moved.get_submodule(name).weight, start.get_submodule(name).weight
        assert isinstance(weight, torch.Tensor)
        assert isinstance(was, torch.Tensor)
        assert torch.equal(weight, was.masked_fill(gone[name], 0.0))  # type: ignore[arg-type]


def test_a_plan_that_rewinds_trains_twice(tmp_path: Path) -> None:
    plan = sparse_plan(network(), MOST, rewind=True)
    outcome = train_sparse(
        network(), nets.random_samples(), lambda module: 0.5, plan, SHORT, limit=0.1, folder=tmp_path
    )
    assert [record.kind for record in outcome.history] == ["step", "final"]
    assert len(list(tmp_path.glob("sparse-*.safetensors"))) == 2
    assert all(has_zeros(outcome.module.get_submodule(name).weight, plan) for name in plan.layers)  # type: ignore[arg-type]


def test_a_training_that_was_stopped_ends_with_the_same_weights(tmp_path: Path) -> None:
    plan, samples = sparse_plan(network(), HALF), nets.random_samples()

    def student_after(stops: int | None) -> dict[str, torch.Tensor]:
        student, steps = network(), iter(range(1000))
        for parameter in student.parameters():
            parameter.requires_grad_(True)
        if stops is not None:
            finetune(
                student, samples, SHORT, checkpoint=tmp_path / "c", held=ZeroWeights(plan, {}),
                should_stop=lambda: next(steps) >= stops,
            )  # fmt: skip
            student = network()
        finetune(student, samples, SHORT, checkpoint=tmp_path / "c", held=ZeroWeights(plan, {}))
        (tmp_path / "c").unlink()
        return student.state_dict()

    whole, broken = student_after(None), student_after(7)
    assert all(torch.equal(tensor, broken[name]) for name, tensor in whole.items())


def test_a_deadline_that_cuts_the_ramp_leaves_no_zero_out() -> None:
    plan = sparse_plan(network(), HALF)
    outcome = train_sparse(
        network(), nets.random_samples(), lambda module: 0.5, plan,
        TrainConfig(epochs=10_000, batch_size=16, device="cpu"), limit=0.1, deadline=time.monotonic() + 0.5,
    )  # fmt: skip
    assert outcome.shortened
    assert all(has_zeros(outcome.module.get_submodule(name).weight, plan) for name in plan.layers)  # type: ignore[arg-type]


def test_what_is_done_is_taken_from_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = trained(MOST, folder=tmp_path)
    monkeypatch.setattr("edgekit.compress.pruning.distilling.finetune", None)
    second = trained(MOST, folder=tmp_path)
    assert all(torch.equal(tensor, second.state_dict()[name]) for name, tensor in first.state_dict().items())


def test_averaged_weights_would_have_no_zeros() -> None:
    plan = sparse_plan(network(), MOST)
    config = TrainConfig(epochs=1, batch_size=16, device="cpu", average=0.9)
    with pytest.raises(UserError, match=r"average is 0\.9 where weights are held at zero"):
        finetune(network(), nets.random_samples(), config, held=ZeroWeights(plan, {}))


def test_untrained_zeros_are_there_too_and_the_original_is_left_alone() -> None:
    original = network()
    before = copy.deepcopy(original.state_dict())
    plan = sparse_plan(original, HALF)
    made = sparsified(original, plan, nets.random_samples())
    assert all(has_zeros(made.get_submodule(name).weight, plan) for name in plan.layers)  # type: ignore[arg-type]
    assert all(torch.equal(tensor, before[name]) for name, tensor in original.state_dict().items())


def test_saved_and_loaded_again(tmp_path: Path) -> None:
    made, plan = trained(MOST), sparse_plan(network(), MOST)
    save_pruned(tmp_path / "sparse.safetensors", made, plan)
    again = load_sparse(tmp_path / "sparse.safetensors", network())
    assert all(torch.equal(tensor, again.state_dict()[name]) for name, tensor in made.state_dict().items())
    with pytest.raises(ModelError, match="does not fit this model"):
        load_sparse(tmp_path / "sparse.safetensors", nets.Residual())
