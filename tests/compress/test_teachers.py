"""Several teachers as one, and an ONNX file as one of them."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from edgekit.compress import Features, Teacher, Teachers, TrainConfig, onnx_network, train_student
from edgekit.compress.onnx_network import is_onnx, onnx_macs
from edgekit.compress.training.distill import distillation_loss
from edgekit.compress.training.shared import TeacherOutputs
from edgekit.model import export_onnx
from edgekit.testing.networks import TinyConvNet
from tests.compress import nets
from tests.one_thread import one_thread

__all__ = ["one_thread"]

EXAMPLE = nets.image_example(1)
SAMPLES = nets.random_samples(64, channels=1, classes=10)
IMAGES = torch.from_numpy(SAMPLES.x[:6])
TRAIN = TrainConfig(epochs=2, batch_size=32, learning_rate=0.02, device="cpu", augment="none")
T = 4.0


def network(width: int) -> nn.Module:
    torch.manual_seed(width)
    return TinyConvNet(width).eval()


def both(first: nn.Module, second: nn.Module, weights: tuple[float, float] = (0.6, 0.2)) -> Teachers:
    return Teachers((Teacher("a", first, weights[0]), Teacher("b", second, weights[1])))


def file_of(module: nn.Module, folder: Path) -> nn.Module:
    path = folder / "network.onnx"
    signature = export_onnx(module, EXAMPLE, path)
    names = [[port.name for port in ports] for ports in (signature.inputs, signature.outputs)]
    return onnx_network(path, "digest", *names)


class Wrapped(nn.Module):
    """Gives what a function makes of its logits."""

    def __init__(self, given: Any, width: int) -> None:
        super().__init__()
        self.network, self.given = network(width), given

    def forward(self, x: torch.Tensor) -> Any:
        return self.given(self.network(x))


def test_what_is_learnt_is_the_weighted_sum_of_the_teachers_losses() -> None:
    """But for a constant, which has no gradient."""
    teachers = both(network(8), network(16))
    joined = teachers.joined(SAMPLES, TRAIN)
    logits = torch.randn(6, 10, generator=torch.Generator().manual_seed(0)).requires_grad_()
    with torch.no_grad():
        guides, mean = [teacher.module(IMAGES) for teacher in teachers.all], joined(IMAGES)
    apart = sum(
        weight * distillation_loss([logits], [guide], ["logits"], T)
        for weight, guide in zip((0.75, 0.25), guides, strict=True)
    )
    (wanted,) = torch.autograd.grad(apart, logits)  # type: ignore[arg-type]
    (given,) = torch.autograd.grad(distillation_loss([logits], [mean], ["logits"], T), logits)
    torch.testing.assert_close(given, wanted)


def test_probabilities_are_averaged_as_the_logits_are() -> None:
    plain = both(network(8), network(16)).joined(SAMPLES, TRAIN)
    soft = both(Wrapped(lambda x: x.softmax(1), 8), Wrapped(lambda x: x.softmax(1), 16)).joined(
        SAMPLES, TRAIN
    )
    with torch.no_grad():
        torch.testing.assert_close(soft(IMAGES), plain(IMAGES).softmax(1), atol=1e-6, rtol=1e-4)


def test_values_are_averaged_also_where_only_the_labels_tell_that_they_are_some() -> None:
    targets = nets.random_samples(64, channels=1, classes=10)
    targets = type(targets)(targets.x, np.random.default_rng(0).normal(size=(64, 10)).astype(np.float32))
    joined = both(network(8), network(16)).joined(targets, TRAIN)
    with torch.no_grad():
        torch.testing.assert_close(joined(IMAGES), 0.75 * network(8)(IMAGES) + 0.25 * network(16)(IMAGES))


def test_the_mean_has_the_first_ones_structure() -> None:
    given = both(
        Wrapped(lambda x: {"logits": x, "more": (x, [x[..., None]])}, 8),
        Wrapped(lambda x: {"logits": x, "more": (x, [x[..., None]])}, 16),
    ).joined(SAMPLES, TRAIN)
    outputs = given(IMAGES)
    assert list(outputs) == ["logits", "more"]
    assert isinstance(outputs["more"], tuple)
    torch.testing.assert_close(
        outputs["more"][1][0], 0.75 * network(8)(IMAGES)[..., None] + 0.25 * network(16)(IMAGES)[..., None]
    )


def test_one_teacher_is_itself_and_its_weight_does_not_matter() -> None:
    module = network(8)
    assert Teachers((Teacher("a", module, 0.1),)).joined(SAMPLES, TRAIN) is module


def test_the_weights_are_in_the_key_of_kept_outputs() -> None:
    kept = TeacherOutputs()
    for weights in ((0.5, 0.5), (0.9, 0.1), (0.9, 0.1)):
        give = kept.of(both(network(8), network(16), weights).joined(SAMPLES, TRAIN))
        give((IMAGES,))
        give((IMAGES,))
    assert len(kept._kept) == 2


@pytest.mark.parametrize("weights", [(0.5, 0.5), (1.0, 3.0)])
def test_who_teaches_is_told_with_weights_and_scores_and_when_they_are_worse(weights: Any) -> None:
    teachers = both(network(8), network(16), weights)
    joined = teachers.joined(SAMPLES, TRAIN)
    scores = {id(joined): 0.5, id(teachers.all[0].module): 0.4, id(teachers.all[1].module): 0.6}
    told = list(teachers.told(lambda module: scores[id(module)], joined, 0.7))
    share = weights[0] / sum(weights)
    assert told[0].startswith(f"taught by a ({share:.0%}, scores 40.00%), b ({1 - share:.0%}, scores 60.00%)")
    assert told[0].endswith("together they score 50.00%")
    assert told[1].startswith("the teacher is worse than the model: 50.00% against 70.00%")
    assert len(list(teachers.told(lambda module: scores[id(module)], joined, 0.5))) == 1


def test_an_onnx_file_answers_as_its_network_and_each_view_is_computed_once(tmp_path: Path) -> None:
    module = network(8)
    file = file_of(module, tmp_path)
    assert is_onnx(file)
    assert not is_onnx(module)
    with torch.no_grad():
        torch.testing.assert_close(file(IMAGES), module(IMAGES), atol=1e-5, rtol=1e-4)
    assert file.runner.computed == 6
    again = copy.deepcopy(file)(IMAGES.flip(0).contiguous(memory_format=torch.channels_last))
    assert torch.equal(again, file(IMAGES).flip(0))
    assert file.runner.computed == 6
    file(IMAGES + 1.0)
    assert file.runner.computed == 12
    assert onnx_macs(file) > 0


def test_what_no_longer_fits_is_computed_again(tmp_path: Path) -> None:
    file = file_of(network(8), tmp_path)
    file.runner._left_bytes = 3 * (40 + 400)
    first, second = file(IMAGES), file(IMAGES)
    assert torch.equal(first, second)
    assert file.runner.computed == 6 + 3


def test_a_student_learns_from_a_file_as_from_its_network(tmp_path: Path) -> None:
    file = file_of(network(16), tmp_path)

    def trained(teacher: nn.Module) -> Any:
        return train_student(
            network(8),
            network(4),
            "small",
            EXAMPLE,
            SAMPLES,
            lambda _: 0.5,
            TRAIN,
            limit=1.0,
            teacher=teacher,
        ).module.state_dict()

    by_file, by_network, by_model = trained(file), trained(network(16)), trained(network(8))
    apart, other = (
        max(float((by_file[name] - state[name]).abs().max()) for name in ("conv1.weight", "head.weight"))
        for state in (by_network, by_model)
    )
    assert apart < 0.1 * other
    assert file.runner.computed == len(SAMPLES)  # two epochs, no augmentation


def test_layers_are_the_first_teachers(tmp_path: Path) -> None:
    teachers = both(network(16), file_of(network(8), tmp_path))
    features = Features(values=(("conv2", "conv2"),), relations=(("down", "down"),))
    outcome = train_student(
        network(8), network(4), "small", EXAMPLE, SAMPLES, lambda _: 0.5, TRAIN, limit=1.0,
        features=features, teacher=teachers.joined(SAMPLES, TRAIN), within=teachers.within,
    )  # fmt: skip
    assert outcome.plan.lines[1:] == ("features learnt: conv2=conv2", "relations learnt: down=down")
    assert outcome.module.state_dict().keys() == network(4).state_dict().keys()


def test_the_macs_of_a_file_are_those_of_its_network(tmp_path: Path) -> None:
    outcomes = [
        train_student(original, network(4), "small", EXAMPLE, SAMPLES, lambda _: 0.5, TRAIN, limit=1.0)
        for original in (network(16), file_of(network(16), tmp_path))
    ]
    assert outcomes[1].plan.fraction == pytest.approx(outcomes[0].plan.fraction, rel=0.05)
