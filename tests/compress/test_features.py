"""Features that a student learns beside the outputs: which layers match, and what is left of the projections."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from edgekit.compress import (
    Features,
    PruneOutcome,
    TrainConfig,
    accuracy,
    load_student,
    refuse_unfit_features,
    save_pruned,
    train_student,
)
from edgekit.compress.features import with_features
from edgekit.compress.showing import shown_outputs
from edgekit.errors import ModelError
from edgekit.testing.networks import TinyConvNet, TinyTransformer
from tests.compress import nets
from tests.one_thread import one_thread

__all__ = ["one_thread"]

EXAMPLE = nets.image_example(1)
SAMPLES = nets.random_samples(96, channels=1, classes=10)
TRAIN = TrainConfig(epochs=2, batch_size=32, learning_rate=0.02, device="cpu", augment="none")
PAIRS = Features((("down", "conv2"), ("conv1", "stem"), ("head", "head")))
"""Other channels and another size; other channels; vectors."""


class Idle(nn.Module):
    """Holds a layer that it does not call, and one that gives a dict."""

    def __init__(self) -> None:
        super().__init__()
        self.idle, self.head = nn.Linear(3, 3), nn.Linear(64, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.head(x.flatten(1))
        return logits


def network(width: int) -> nn.Module:
    torch.manual_seed(width)
    return TinyConvNet(width).eval()


def trained(features: Features, folder: Path | None = None, **given: float) -> PruneOutcome:
    config = replace(TRAIN, **given)  # type: ignore[arg-type]
    return train_student(
        network(16), network(4), "small", EXAMPLE, SAMPLES, lambda module: accuracy(module, SAMPLES) or 0.0,
        config, limit=1.0, features=features, folder=folder,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("pairs", "told"),
    [
        ((("conv3", "stem"),), "features: the original has no layer 'conv3'; near it: conv2, conv1, "),
        ((("conv1", "stemm"),), "features: the student has no layer 'stemm'; near it: stem"),
        (
            (("conv1", "head"),),
            r"features conv1=head: the original gives \[1, 16, 8, 8\] there, the student \[1, 10\]; allowed: vectors",
        ),
    ],
)
def test_features_that_do_not_match_are_told_in_one_line(pairs: Any, told: str) -> None:
    with pytest.raises(ModelError, match=told) as refused:
        refuse_unfit_features(network(16), network(4), EXAMPLE, Features(pairs))
    assert "\n" not in str(refused.value)


def test_layers_that_are_not_called_have_no_features() -> None:
    with pytest.raises(ModelError, match="the student does not call idle"):
        refuse_unfit_features(network(16), Idle(), EXAMPLE, Features((("head", "idle"),)))


def test_tokens_match_where_they_are_as_many() -> None:
    torch.manual_seed(0)
    wide, narrow = TinyTransformer(32).eval(), TinyTransformer(16).eval()
    refuse_unfit_features(wide, narrow, EXAMPLE, Features((("mlp", "mlp"), ("embed", "embed"))))
    with pytest.raises(ModelError, match="as many tokens"):
        refuse_unfit_features(wide, network(4), EXAMPLE, Features((("mlp", "conv1"),)))


def test_both_give_features_of_one_shape_behind_their_outputs_and_survive_a_copy() -> None:
    teacher, student = with_features(network(16), network(4), EXAMPLE, PAIRS, 0)
    images = torch.from_numpy(SAMPLES.x[:5])
    wanted, given = teacher(images), copy.deepcopy(student)(images)
    assert [part.shape for part in wanted] == [part.shape for part in given]
    assert wanted[1].shape == (5, 32, 4, 4)
    assert shown_outputs(teacher) == ("values",) * 3  # what looks like class scores is none
    assert torch.equal(given[0], network(4)(images))
    again = with_features(network(16), network(4), EXAMPLE, PAIRS, 0)[1]
    assert all(torch.equal(tensor, again.state_dict()[name]) for name, tensor in student.state_dict().items())


def test_a_student_of_features_is_one_without_their_projections(tmp_path: Path) -> None:
    outcome = trained(PAIRS, tmp_path)
    assert outcome.plan.lines[1] == "features learnt: down=conv2,conv1=stem,head=head"
    state = outcome.module.state_dict()
    assert state.keys() == network(4).state_dict().keys()
    assert not outcome.module.training
    assert outcome.history[0].accuracy == accuracy(outcome.module, SAMPLES)
    save_pruned(tmp_path / "x.safetensors", outcome.module, outcome.plan)
    plain = trained(Features())
    for other in (trained(PAIRS, tmp_path).module, trained(PAIRS).module):
        assert all(torch.equal(tensor, other.state_dict()[name]) for name, tensor in state.items())
    loaded = load_student(tmp_path / "x.safetensors", network(4)).state_dict()
    assert all(torch.equal(tensor, loaded[name]) for name, tensor in state.items())
    assert any(not torch.equal(tensor, plain.module.state_dict()[name]) for name, tensor in state.items())


def test_features_come_nearer_to_the_teachers() -> None:
    """With the teacher as the only guide; what the projection cannot make alike, the student's layer has to."""
    teacher, images = network(16), torch.from_numpy(SAMPLES.x)

    def apart(student: nn.Module) -> float:
        """How much of the teacher's feature a linear map of the student's does not explain."""
        with torch.no_grad():
            wanted = teacher.get_submodule("stem")(images).movedim(1, -1).reshape(-1, 16)
            given = student.get_submodule("stem")(images).movedim(1, -1).reshape(-1, 4)
            given = torch.cat((given, torch.ones(len(given), 1)), 1)
            rest = wanted - given @ torch.linalg.lstsq(given, wanted).solution
            return float(rest.square().sum() / (wanted - wanted.mean(0)).square().sum())

    by_features = trained(Features((("stem", "stem"),)), alpha=0.0, epochs=20, learning_rate=0.2).module
    assert apart(by_features) < 0.8 * apart(network(4))
