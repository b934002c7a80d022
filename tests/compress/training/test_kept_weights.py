"""Samples held aside, averaged weights, and which weights a training ends with."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from edgekit.compress import TrainConfig, TrainReport, accuracy, agreement, finetune, hold_aside
from edgekit.compress.training.average import Average
from edgekit.data import from_arrays, make_splits
from edgekit.errors import DataError
from tests.compress import nets

SHORT = TrainConfig(epochs=3, batch_size=16, augment="none", device="cpu", aside=0.25, average=0.9)

State = dict[str, torch.Tensor]


class Recorded(nets.ArraySamples):
    """Notes which samples are read in shuffled batches, by a number in the sample itself."""

    def __init__(self, x: Any, y: Any, seen: set[int]) -> None:
        super().__init__(x, y)
        self.seen = seen

    def batches(self, batch_size: int, *, shuffle_seed: int | None = None) -> Any:
        for batch in super().batches(batch_size, shuffle_seed=shuffle_seed):
            if shuffle_seed is not None:
                self.seen |= {int(number) for number in batch.inputs[0][:, 0, 0, 0]}
            yield batch

    def subset(self, places: Any) -> Recorded:
        return Recorded(self.x[places], None if self.y is None else self.y[places], self.seen)


def network(seed: int = 1) -> nn.Module:
    torch.manual_seed(seed)
    return nets.Plain().eval()


def trained(config: TrainConfig = SHORT, samples: Any = None, **more: Any) -> tuple[State, TrainReport]:
    student = network()
    more.setdefault("teacher", network(2))
    report = finetune(student, samples or nets.random_samples(), config, **more)
    return copy.deepcopy(student.state_dict()), report


def loaded(state: State) -> nn.Module:
    module = network()
    module.load_state_dict(state)
    return module.eval()


def same(first: State, second: State) -> bool:
    return all(torch.equal(tensor, second[name]) for name, tensor in first.items())


def numbers(samples: Any) -> set[int]:
    return {int(number) for number in samples.x[:, 0, 0, 0]}


def numbered(count: int, classes: int) -> nets.ArraySamples:
    x = np.zeros((count, 3, 8, 8), np.float32)
    x[:, 0, 0, 0] = np.arange(count)
    return nets.ArraySamples(x, np.arange(count, dtype=np.int64) % classes)


@given(
    count=st.integers(6, 400),
    share=st.floats(0.001, 0.5),
    seed=st.integers(0, 2**40),
    classes=st.integers(1, 7),
)
@settings(max_examples=60, deadline=None)
def test_what_is_held_aside_and_the_rest_are_the_whole(
    count: int, share: float, seed: int, classes: int
) -> None:
    rest, aside = hold_aside(numbered(count, classes), share, seed)
    assert len(aside) == min(max(2, round(share * count)), count - 4)
    assert len(rest) + len(aside) == count
    assert numbers(rest) | numbers(aside) == set(range(count))
    counts = np.bincount(aside.labels, minlength=classes)
    wanted = len(aside) * np.bincount(np.arange(count) % classes, minlength=classes) / count
    assert np.abs(counts - wanted).max() < 2


def test_the_seed_says_which_samples_are_held_aside() -> None:
    data = numbered(200, 4)
    first, again, other = (numbers(hold_aside(data, 0.2, seed)[1]) for seed in (0, 0, 1))
    assert first == again
    assert first != other


def test_a_split_is_divided_by_its_own_samples() -> None:
    x = np.random.default_rng(0).normal(size=(300, 1, 8, 8)).astype(np.float32)
    source = from_arrays(x, np.arange(300) % 3)
    split = make_splits(source, seed=0).validation
    rest, aside = hold_aside(split, 0.25, 0)
    both = np.concatenate([part.indices for part in (rest, aside)])  # type: ignore[attr-defined]
    assert sorted(both) == sorted(split.indices)
    assert next(iter(aside.batches(4))).labels is not None


@pytest.mark.parametrize("count", [2, 5])
def test_too_few_samples_to_hold_any_aside_are_refused(count: int) -> None:
    with pytest.raises(DataError, match="6 or more"):
        finetune(network(), numbered(count, 2), SHORT)


def test_nothing_is_trained_on_what_is_held_aside() -> None:
    data = nets.random_samples()
    x = data.x.copy()
    x[:, 0, 0, 0] = np.arange(len(x))
    seen: set[int] = set()
    samples = Recorded(x, data.y, seen)
    trained(SHORT, samples)
    rest, aside = hold_aside(nets.ArraySamples(x, data.y), SHORT.aside, SHORT.seed)
    assert seen == numbers(rest)
    assert not seen & numbers(aside)


def test_two_batches_are_left_beside_what_is_held_aside() -> None:
    config = TrainConfig(epochs=1, batch_size=128, device="cpu", aside=0.5)
    _, report = trained(config, numbered(40, 4))
    assert report.planned_steps == 2


def test_the_score_is_the_accuracy_of_the_weights_that_were_kept() -> None:
    state, report = trained()
    _, aside = hold_aside(nets.random_samples(), SHORT.aside, SHORT.seed)
    assert report.aside == accuracy(loaded(state), aside)


def test_without_labels_the_score_is_the_agreement_with_the_teacher() -> None:
    unlabelled = nets.ArraySamples(nets.random_samples().x, None)
    state, report = trained(SHORT, unlabelled)
    _, aside = hold_aside(unlabelled, SHORT.aside, SHORT.seed)
    assert report.aside == agreement(loaded(state), network(2), aside)


def test_labels_that_fit_nothing_are_not_scored_and_the_average_is_kept(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("def mine(outputs, labels):\n    return outputs.square().mean()\n")
    odd = nets.random_samples()
    samples = nets.ArraySamples(odd.x, np.zeros((len(odd), 3, 2), np.int64))
    config = TrainConfig(
        epochs=1, batch_size=16, device="cpu", aside=0.25, average=0.9, loss=f"{tmp_path}/mine.py:mine"
    )
    _, report = trained(config, samples, teacher=None)
    assert (report.aside, report.kept) == (None, "average")
    _, guided = trained(config, samples)
    assert guided.aside is not None


def kept_with(monkeypatch: pytest.MonkeyPatch, scores: list[float | None]) -> tuple[State, TrainReport]:
    left = iter(scores)
    with monkeypatch.context() as patched:
        patched.setattr("edgekit.compress.training.ending.score_aside", lambda *_: next(left))
        return trained()


@pytest.mark.parametrize(
    ("scores", "kept", "told"),
    [([0.5, 0.6], "average", 0.6), ([0.6, 0.5], "last", 0.6), ([0.5, 0.5], "average", 0.5),
     ([0.5, float("nan")], "last", 0.5), ([None, None], "average", None)],
)  # fmt: skip
def test_the_better_weights_on_what_is_held_aside_are_kept(
    monkeypatch: pytest.MonkeyPatch, scores: list[float | None], kept: str, told: float | None
) -> None:
    state, report = kept_with(monkeypatch, scores)
    assert (report.kept, report.aside) == (kept, told)
    last, _ = trained(TrainConfig(epochs=3, batch_size=16, augment="none", device="cpu", aside=0.25))
    assert same(last, state) is (kept == "last")


def test_without_samples_aside_the_average_is_kept() -> None:
    config = TrainConfig(epochs=3, batch_size=16, augment="none", device="cpu", average=0.9)
    state, report = trained(config)
    assert (report.kept, report.aside) == ("average", None)
    plain, other = trained(TrainConfig(epochs=3, batch_size=16, augment="none", device="cpu"))
    assert (other.kept, other.aside) == ("last", None)
    assert not torch.equal(plain["conv1.weight"], state["conv1.weight"])
    assert not torch.equal(plain["bn1.running_var"], state["bn1.running_var"])
    assert torch.equal(plain["bn1.num_batches_tracked"], state["bn1.num_batches_tracked"])


@given(decay=st.floats(0.01, 0.999), steps=st.integers(1, 30))
@settings(max_examples=30, deadline=None)
def test_the_average_is_that_of_its_formula(decay: float, steps: int) -> None:
    module = nn.Linear(1, 1, bias=False).double()
    with torch.no_grad():
        module.weight.fill_(1.0)
    average, wanted = Average(module, decay), 1.0
    for step in range(1, steps + 1):
        with torch.no_grad():
            module.weight.fill_(float(step % 5))
        average.update(module, step)
        share = min(decay, (1 + step) / (10 + step))
        wanted = share * wanted + (1 - share) * float(step % 5)
    assert average.tensors["weight"].item() == pytest.approx(wanted, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("batches", [5, 10])
def test_a_broken_run_resumes_to_the_very_same_average(tmp_path: Path, batches: int) -> None:
    config = TrainConfig(
        epochs=3, batch_size=16, optimizer="sgd", device="cpu", augment="crop-flip", aside=0.25, average=0.9
    )
    unbroken, whole = trained(config)
    file = tmp_path / "run.safetensors"
    breaking = nets.ArraySamples(nets.random_samples().x, nets.random_samples().y, fail_after=batches)
    with pytest.raises(nets.PowerCut):
        trained(config, breaking, checkpoint=file, save_every_s=0.0)
    resumed, report = trained(config, checkpoint=file)
    assert report.resumed_at == batches
    assert (report.aside, report.kept) == (whole.aside, whole.kept)
    assert same(unbroken, resumed)
    finished, again = trained(config, checkpoint=file)
    assert again.resumed_at == again.planned_steps
    assert same(unbroken, finished)


def test_averaged_weights_are_the_same_after_a_break_where_they_are_kept(tmp_path: Path) -> None:
    config = TrainConfig(epochs=3, batch_size=16, device="cpu", augment="crop-flip", average=0.9)
    unbroken, _ = trained(config)
    file = tmp_path / "run.safetensors"
    asked = iter([False] * 7 + [True])
    _, first = trained(config, checkpoint=file, should_stop=lambda: next(asked))
    assert (first.stopped, first.kept, first.aside) == ("asked", "last", None)
    resumed, report = trained(config, checkpoint=file)
    assert (report.resumed_at, report.kept) == (7, "average")
    assert same(unbroken, resumed)


def test_samples_aside_that_are_given_are_those_looked_at() -> None:
    rest, aside = hold_aside(nets.random_samples(), 0.25, 9)
    state, report = trained(TrainConfig(epochs=2, batch_size=16, device="cpu"), rest, aside=aside)
    assert report.aside == accuracy(loaded(state), aside)
