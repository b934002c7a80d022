"""A student as a maker: when it is refused, how it is trained and told, and a build that has one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import edgekit
from edgekit.building.given import GivenModel, locate_student
from edgekit.building.request import BuildRequest, read_features
from edgekit.building.variants.base import MadeVariant, MakerContext
from edgekit.building.variants.student import StudentMaker
from edgekit.errors import UserError
from edgekit.graph import read_signature
from edgekit.model import locate_module
from edgekit.types import Budget, Signature, TensorSpec
from tests.building.parts import count_entries
from tests.building.variants.contexts import maker_context
from tests.one_thread import one_thread

__all__ = ["one_thread"]

NETS = """
import time

import torch
from torch import nn


class Net(nn.Module):
    def __init__(self, width, classes=10):
        super().__init__()
        self.first, self.last = nn.Linear(64, width), nn.Linear(width, classes)

    def forward(self, x):
        return self.last(torch.relu(self.first(x.flatten(1))))


def made(*arguments):
    torch.manual_seed(0)
    return Net(*arguments)


def make():
    return made(256)


def make_small():
    return made(8)


def make_random():
    network = Net(8)
    torch.nn.init.normal_(network.last.weight, generator=torch.Generator().manual_seed(time.time_ns()))
    return network


def make_unseeded():
    return Net(8)


def make_other():
    return made(8, 7)


def make_picky():
    torch.manual_seed(0)
    return torch.nn.Conv2d(3, 10, 3)
"""


class Small(nn.Module):
    """float32 [N, 1, 8, 8] → logits [N, 10]."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.last = nn.Linear(64, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.last(x.flatten(1))
        return logits


@pytest.fixture
def context(tmp_path: Path) -> Iterator[MakerContext]:
    """An original whose file calls its input and output as it likes."""
    with maker_context(tmp_path / "store") as made:
        ports = (
            (TensorSpec("pixels", "float32", (1, 1, 8, 8)),),
            (TensorSpec("classes", "float32", (1, 10)),),
        )
        module = Small().eval()
        student = GivenModel(locate_module(module), module, "Small")
        made = replace(made, request=replace(made.request, prune=False))
        yield replace(made, student=student, original=replace(made.original, signature=Signature(*ports)))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda c: replace(c, splits=replace(c.splits, train=None)), "no training samples"),
    ],
)
def test_why_a_student_cannot_learn_is_a_rejection(context: MakerContext, change: Any, told: str) -> None:
    assert StudentMaker().why_not(context) is None
    rejection = StudentMaker().why_not(change(context))
    assert rejection is not None
    assert rejection.what == "the student"
    assert told in rejection.reason


@pytest.mark.parametrize(
    ("given", "pairs"),
    [(None, ()), ("a.1=b", (("a.1", "b"),)), ({"a": "b", "c": "d"}, (("a", "b"), ("c", "d")))],
)
def test_features_are_read_from_texts_and_dicts(given: Any, pairs: Any) -> None:
    assert read_features(given) == pairs


@pytest.mark.parametrize("given", ["", "a", "a=", "=b", "a=b,", {}, {"a": 1}, [("a", "b")], 3])
def test_what_names_no_pairs_of_layers_is_refused(given: Any) -> None:
    with pytest.raises(
        UserError, match=r"student_features is .*; allowed: layers of the model and of the student"
    ):
        read_features(given)


def test_without_a_student_nothing_is_made(context: MakerContext) -> None:
    without = replace(context, student=None)
    assert StudentMaker().why_not(without) is None
    assert list(StudentMaker().make(without)) == []


def test_a_student_is_trained_described_kept_and_fed_as_the_original(
    context: MakerContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    (made,) = StudentMaker().make(context)
    assert isinstance(made, MadeVariant)
    assert (made.variant.kind, made.variant.parent) == ("student", "original")
    assert made.variant.id.startswith("student-")
    assert made.variant.description.startswith("Small: ")
    assert made.history[0].startswith("student: Small, ")
    signature = read_signature(made.variant.onnx_path)
    assert [port.name for port in (*signature.inputs, *signature.outputs)] == ["pixels", "classes"]
    entries = count_entries(context.cache)
    monkeypatch.setattr("edgekit.building.variants.job.train_student", None)
    assert list(StudentMaker().make(context)) == [made]
    assert count_entries(context.cache) == entries
    monkeypatch.undo()
    module = Small().eval()
    with torch.no_grad():
        module.last.weight.mul_(0.5)
    other = replace(context, student=GivenModel(locate_module(module), module, "Small"))
    (another,) = StudentMaker().make(other)
    assert isinstance(another, MadeVariant)
    assert another.variant.digest != made.variant.digest


def test_a_student_begins_with_the_random_weights_of_the_builds_seed(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(NETS)
    torch.manual_seed(7)
    before = torch.random.get_rng_state()
    networks = []
    for seed in (0, 0, 1):
        request = BuildRequest(
            "generic-cpu",
            "net.py:make",
            "digits",
            Budget(),
            student=f"{tmp_path}/net.py:make_unseeded",
            seed=seed,
        )
        student = locate_student(request)
        assert student is not None
        networks.append(student.load().state_dict()["first.weight"])
    assert torch.equal(networks[0], networks[1])
    assert not torch.equal(networks[0], networks[2])
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"student": "net.py:make_other"}, r"the student gives \[1, 7\], the original \[1, 10\]; a student learns"),
        ({"student": "net.py:make_picky"}, "the student does not take the inputs"),
        ({"student": "net.py:make_none"}, "student: net.py has no 'make_none'; allowed: .*make_small"),
        ({"student": "net.py:make_random"}, "another network each time .*; give its trained weights with --student"),
        ({"student": "nets.py:make"}, "student: nets.py: no such file"),
        ({"student": "net.onnx"}, "student: net.onnx: no such file"),
        ({"student": 3}, "student: model is a int"),
        ({"student_weights": "w.pt"}, "weights are given for a student, but no student; give --student as well"),
        ({"student": "net.py:make_small", "student_weights": "w.pt"}, "student: w.pt: no such file"),
        ({"student": Small().eval(), "student_weights": "w.pt"}, "student: weights are given beside a live Small"),
        ({"student_features": "first=first"}, "features are to be learnt, but by no student; give --student as well"),
        ({"student": "net.py:make_small", "student_features": "fist=first"}, "has no layer 'fist'; near it: first"),
        ({"student_relations": "first=first"}, "features are to be learnt, but by no student"),
        ({"student": "net.py:make_small", "student_relations": "first"}, "student_relations is 'first'; allowed"),
        ({"student": "net.py:make_small", "student_relations": "first=frist"}, "the student has no layer 'frist'"),
        ({"student": "net.py:make_small", "student_attention": "first=first"}, "shows no map of attention at first"),
        (
            {"student": "net.py:make_small", "student_features": {"first": "first"}, "loss": lambda a, b, c: a.sum()},
            "features are learnt by the standard loss, and another one is given",
        ),
        ({"low_rank": "first=64"}, "low rank: first has a full rank of 64, and 64 would not be lower"),
        ({"low_rank": "furst=6"}, r"'furst' is no layer that can be factorized; .*did you mean 'first'"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_before_anything_is_timed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], told: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text(NETS)
    with pytest.raises(UserError, match=told) as refused:
        build(tmp_path, **options)
    assert "\n" not in str(refused.value)


def build(folder: Path, **options: Any) -> edgekit.Result:
    """On noise of ten classes, each with a mean of its own; in ONNX Runtime alone."""
    chance = np.random.default_rng(0)
    labels = np.arange(400) % 10
    images = chance.normal(size=(400, 1, 8, 8)).astype(np.float32)
    images += chance.normal(size=(10, 1, 8, 8)).astype(np.float32)[labels]
    return edgekit.build(
        target="generic-cpu",
        model=options.pop("model", "net.py:make"),
        data=(images, labels),
        max_drop="100%",
        runtime="onnxruntime",
        precision="fp32",
        train={"epochs": 1.0},
        timed_s=0.3,
        repeat=False,
        prune=options.pop("prune", False),
        allow_weak_original=True,
        out=folder / "out",
        store=folder / "store",
        **options,
    )


@pytest.mark.slow
def test_a_build_measures_student_and_factors_beside_the_original(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text(NETS)
    result = build(
        tmp_path, student="net.py:make_small", student_features="first=first", low_rank={"first": 8}
    )
    assert not result.failures
    kinds = {variant.kind: variant for variant in result.variants}
    assert kinds["student"].description.startswith("net.py:make_small: ")
    rejected = [row.reason for row in result.rejected if row.what == "low rank"]
    assert ("low-rank" in kinds) is not bool(rejected)  # by the times of this machine
    assert {row.variant for row in result.candidates} == {variant.id for variant in result.variants}
    page = (tmp_path / "out" / "report.html").read_text()
    assert "net.py:make_small: " in page
    assert "low rank first=8" in page or "with first=8 the network takes" in page
