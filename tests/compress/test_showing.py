"""Relations of samples and maps of attention: as their papers have them, and learnt by a student."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from edgekit.compress import Features, TrainConfig, refuse_unfit_features, train_student
from edgekit.compress.features import with_features
from edgekit.compress.showing import ShownLayer, attention_of, seen_in, showing, shown_outputs
from edgekit.compress.training.dense import maps_apart
from edgekit.compress.training.distill import distillation_loss
from edgekit.compress.training.loss import make_loss
from edgekit.compress.training.shared import TeacherOutputs
from edgekit.errors import ModelError
from edgekit.testing.networks import TinyConvNet
from tests.compress import nets
from tests.compress.transformers import IMAGE, FusedViT
from tests.one_thread import one_thread

__all__ = ["one_thread"]

EXAMPLE = nets.image_example(1)
SAMPLES = nets.random_samples(96, channels=1, classes=10)
TRAIN = TrainConfig(epochs=20, batch_size=32, learning_rate=0.1, alpha=0.0, device="cpu", augment="none")


def network(width: int) -> nn.Module:
    torch.manual_seed(width)
    return TinyConvNet(width).eval()


def vit(*, explicit: bool, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return FusedViT(explicit=explicit).eval()


def shown(module: nn.Module, kind: Any, name: str, images: torch.Tensor, **given: Any) -> Any:
    whole = showing(module, [ShownLayer(kind, name, **given)], [nn.Identity()])
    with torch.no_grad():
        return whole(images)[1:]


def test_relations_are_those_of_the_paper() -> None:
    """Park et al. 2019, equations 4 and 6, sample by sample."""
    module, images = network(4), torch.from_numpy(SAMPLES.x[:6])
    distances, angles = shown(module, "relations", "down", images)
    with torch.no_grad():
        stem = torch.relu(module.get_submodule("norm")(module.get_submodule("stem")(images)))
        inner = torch.relu(module.get_submodule("norm1")(module.get_submodule("conv1")(stem)))
        stem = torch.relu(stem + module.get_submodule("norm2")(module.get_submodule("conv2")(inner)))
        points = list(module.get_submodule("down")(stem).mean((2, 3)))
    wanted = torch.stack([(a - b).norm() for a, b in itertools.combinations(points, 2)])
    torch.testing.assert_close(distances, wanted / wanted.mean())
    for i, j, k in itertools.permutations(range(6), 3):
        cosine = torch.cosine_similarity(points[i] - points[j], points[k] - points[j], dim=0)
        torch.testing.assert_close(angles[j, i, k], cosine, atol=1e-4, rtol=1e-4)


def test_attention_of_an_image_is_the_energy_over_positions_at_length_one() -> None:
    module, images = network(4), torch.from_numpy(SAMPLES.x[:3])
    (given,) = shown(module, "attention", "stem", images, positions=(8, 8))
    with torch.no_grad():
        energy = module.get_submodule("stem")(images).square().sum(1).flatten(1)
    torch.testing.assert_close(given, energy / energy.norm(dim=1, keepdim=True))


def test_relations_are_compared_by_hubers_loss_over_the_variance() -> None:
    wanted, given = torch.tensor([0.0, 2.0]), torch.tensor([0.5, 5.0])
    huber = (0.5 * 0.5**2 + (3.0 - 0.5)) / 2
    loss = distillation_loss([given], [wanted], ["relations"], 1.0)
    torch.testing.assert_close(loss, torch.tensor(2.0 * huber / 1.0))


def test_samples_that_lie_on_each_other_have_finite_gradients() -> None:
    point = torch.randn(1, 5, generator=torch.Generator().manual_seed(0))
    values = torch.cat((point, point, point + 1.0)).requires_grad_()
    whole = showing(nn.Identity(), [ShownLayer("relations", "")], [nn.Identity()])
    _, distances, angles = whole(values)
    (distances.square().sum() + (angles - 0.3).square().sum()).backward()  # type: ignore[no-untyped-call]
    assert values.grad is not None
    assert bool(values.grad.isfinite().all())


def test_what_is_shown_is_in_the_key_of_kept_outputs() -> None:
    module, images = network(4), torch.from_numpy(SAMPLES.x[:4])
    kept = TeacherOutputs()
    for name in ("conv1", "conv2"):
        whole = showing(module, [ShownLayer("attention", name, positions=(8, 8))], [nn.Identity()]).eval()
        give = kept.of(whole)
        give((images,))
        give((images,))
    assert kept.reused == 2
    assert len(kept._kept) == 2


@pytest.mark.parametrize("kind", ["relations", "attention"])
def test_a_student_comes_nearer_in_what_it_learns(kind: str) -> None:
    teacher, images = network(16), torch.from_numpy(SAMPLES.x)
    features = Features(**{kind: (("conv2", "conv2"),)})

    def apart(student: nn.Module) -> float:
        (wanted, given) = (
            torch.cat([part.flatten() for part in shown(module, kind, "conv2", images, positions=(8, 8))])
            for module in (teacher, student)
        )
        return float((wanted - given).square().mean())

    outcomes = [
        train_student(
            teacher, network(4), "small", EXAMPLE, SAMPLES, lambda _: 0.0, TRAIN, limit=1.0, features=learnt
        )
        for learnt in (features, Features())
    ]
    assert outcomes[0].plan.lines[1] == f"{kind} learnt: conv2=conv2"
    assert len(outcomes[1].plan.lines) == 1
    assert apart(outcomes[0].module) < 0.7 * apart(outcomes[1].module)
    assert apart(outcomes[0].module) < 0.7 * apart(network(4))
    assert outcomes[0].module.state_dict().keys() == network(4).state_dict().keys()


def test_a_students_channels_become_active_where_the_teachers_are() -> None:
    teacher, images = network(16), torch.from_numpy(SAMPLES.x)
    features = Features(channels=(("conv2", "conv2"),))
    learnt, plain = (
        train_student(
            teacher, second_of(16), "small", EXAMPLE, SAMPLES, lambda _: 0.0, TRAIN, limit=1.0, features=given
        ).module
        for given in (features, Features())
    )

    def apart(student: nn.Module) -> float:
        wanted, given = (
            seen_in(module, (images,), ["conv2"])[1]["conv2"][0] for module in (teacher, student)
        )
        return float(maps_apart(given, wanted, TRAIN.temperature))

    with torch.no_grad():
        assert apart(learnt) < 0.8 * apart(plain)
    shown_by, shows = with_features(teacher, network(4), EXAMPLE, Features(channels=(("down", "conv1"),)), 0)
    assert shown_outputs(shown_by) == ("maps",)
    assert shown_by(images)[1].shape == shows(images)[1].shape
    with pytest.raises(
        ModelError, match=r"channels head=conv1: the original gives \[1, 10\] there, the student"
    ):
        refuse_unfit_features(teacher, network(4), EXAMPLE, Features(channels=(("head", "conv1"),)))


def second_of(width: int) -> nn.Module:
    torch.manual_seed(width + 100)
    return TinyConvNet(width).eval()


def test_the_softmax_of_a_transformer_is_a_map_and_heads_are_averaged() -> None:
    wide, narrow = vit(explicit=True), vit(explicit=True, seed=1)
    name = next(name for name, part in wide.named_modules() if isinstance(part, nn.Dropout))
    features = Features(attention=((name, name),))
    refuse_unfit_features(wide, narrow, IMAGE, features)
    teacher, student = with_features(wide, narrow, IMAGE, features, 0)
    wanted = teacher(torch.randn(2, 1, 8, 8))[1]
    assert wanted.ndim == 3
    torch.testing.assert_close(wanted.sum(-1), torch.ones(wanted.shape[:2]))
    assert shown_outputs(student) == ("values",)
    with pytest.raises(ModelError, match=r"attention .*: the original gives .* the student \[1, 4, 8, 8\]"):
        refuse_unfit_features(wide, network(4), IMAGE, Features(attention=((name, "stem"),)))


def test_an_attention_that_shows_no_map_is_told_how_it_may() -> None:
    fused = vit(explicit=False)
    name = next(name for name, part in fused.named_modules() if type(part).__name__ == "FusedAttention")
    with pytest.raises(
        ModelError, match=r"shows no map of attention at .*attn_implementation='eager'"
    ) as refused:
        refuse_unfit_features(fused, fused, IMAGE, Features(attention=((name, name),)))
    assert "\n" not in str(refused.value)
    with pytest.raises(ModelError, match="attention: the original has no layer 'convv1'; near it: conv1"):
        refuse_unfit_features(network(16), network(4), EXAMPLE, Features(attention=(("convv1", "conv1"),)))


@pytest.mark.parametrize(
    ("tensors", "wanted"),
    [
        ([torch.zeros(2, 5)], None),
        ([torch.randn(2, 5, 6)], None),
        ([torch.randn(2, 3, 4, 4)], (0, False)),
        ([torch.randn(2, 5, 6), torch.randn(2, 2, 5, 5).softmax(-1)], (1, True)),
        ([torch.randn(2, 3, 4, 4), torch.randn(2, 5, 5).softmax(-1)], (1, True)),
    ],
)
def test_which_of_a_layers_tensors_says_where_it_looks(tensors: Any, wanted: Any) -> None:
    assert attention_of(tensors) == wanted


def test_eager_attention_of_transformers_is_learnt() -> None:
    transformers = pytest.importorskip("transformers")

    def bert(implementation: str, layers: int) -> nn.Module:
        torch.manual_seed(layers)
        config = transformers.BertConfig(
            vocab_size=50, hidden_size=16, num_hidden_layers=layers, num_attention_heads=2, intermediate_size=16,
            max_position_embeddings=16, attn_implementation=implementation,
        )  # fmt: skip
        module: nn.Module = transformers.BertForSequenceClassification(config).eval()
        return module

    example = (torch.arange(8)[None], torch.ones(1, 8, dtype=torch.int64))
    pairs = (("bert.encoder.layer.1.attention.self", "bert.encoder.layer.0.attention.self"),)
    features = Features(attention=pairs)
    refuse_unfit_features(bert("eager", 2), bert("eager", 1), example, features)
    whole, small = with_features(bert("eager", 2), bert("eager", 1), example, features, 0)
    assert whole(*example)[-1].shape == small(*example)[-1].shape == (1, 8, 8)
    with pytest.raises(ModelError, match="attn_implementation='eager'"):
        refuse_unfit_features(bert("sdpa", 2), bert("eager", 1), example, features)


def test_labels_are_never_for_a_layer_that_is_shown() -> None:
    """Class numbers fit no pairs of values, but they would fit a layer of ten."""

    class Pairs(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(64, 10)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.as_tensor(self.head(x.flatten(1)).reshape(-1, 5, 2))

    torch.manual_seed(0)
    module, labels = Pairs().eval(), SAMPLES.y
    whole = showing(module, [ShownLayer("values", "head")], [nn.Identity()])
    loss_of = make_loss(replace(TRAIN, alpha=0.5), whole, labels)
    images = torch.from_numpy(SAMPLES.x)
    assert float(loss_of(whole, (images,), torch.as_tensor(labels)).detach()) == 0.0


def test_each_seed_and_each_kind_is_another_training() -> None:
    def state(features: Features, seed: int) -> Any:
        config = replace(TRAIN, epochs=1.0, seed=seed)
        return train_student(
            network(16),
            network(4),
            "small",
            EXAMPLE,
            SAMPLES,
            lambda _: 0.0,
            config,
            limit=1.0,
            features=features,
        ).module.state_dict()["conv1.weight"]

    pairs = (("conv2", "conv2"),)
    trained = [state(Features(relations=pairs), seed) for seed in (0, 0, 1)]
    assert torch.equal(trained[0], trained[1])
    assert not torch.equal(trained[0], trained[2])
    assert not torch.equal(trained[0], state(Features(attention=pairs), 0))
