"""Networks that teach in the model's place: how they are named, what is refused, what is told, and files that teach."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import edgekit
from edgekit.building.given import GivenModel, locate_model, locate_teachers
from edgekit.building.pipeline import read_pipeline, with_pipeline
from edgekit.building.request import BuildRequest, read_teachers
from edgekit.building.variants.base import MadeVariant, MakerContext
from edgekit.building.variants.named_task import why_it_stays
from edgekit.building.variants.student import StudentMaker
from edgekit.building.variants.teaching import in_order_of, teacher_digest
from edgekit.cli import main
from edgekit.errors import ModelError, UserError
from edgekit.model import export_onnx, locate_module
from edgekit.progress import SilentReporter
from edgekit.types import Budget, Signature, TensorSpec
from tests.building.variants.contexts import maker_context
from tests.building.variants.test_student import NETS, Small, build
from tests.one_thread import one_thread

__all__ = ["one_thread"]

MORE = """

class Soft(Net):
    def forward(self, x):
        return super().forward(x).softmax(1)


def make_soft():
    torch.manual_seed(0)
    return Soft(8)


class Squashed(Net):
    def forward(self, x):
        return super().forward(x).sigmoid()


def make_squashed():
    torch.manual_seed(0)
    return Squashed(8)
"""


LOSSES = """
def with_teacher(outputs, labels, teacher_outputs):
    return outputs.sum()


def step(student, inputs, labels, teacher):
    return student(*inputs).sum()
"""


class Listening(SilentReporter):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, text: str) -> None:
        self.said.append(text)


@pytest.fixture
def context(tmp_path: Path) -> Iterator[MakerContext]:
    """A student and two teachers, of which the request names none yet."""
    with maker_context(tmp_path / "store") as made:
        ports = (
            (TensorSpec("pixels", "float32", (1, 1, 8, 8)),),
            (TensorSpec("classes", "float32", (1, 10)),),
        )
        student = given(Small().eval())
        teachers = {name: given(scaled(float(factor))) for factor, name in enumerate(("first", "second"), 1)}
        yield replace(
            made,
            request=replace(made.request, prune=False),
            student=student,
            teachers=teachers,
            original=replace(made.original, signature=Signature(*ports)),
            reporter=Listening(),
        )


def given(module: nn.Module) -> GivenModel:
    return GivenModel(locate_module(module), module, type(module).__name__)


def scaled(factor: float) -> nn.Module:
    module = Small().eval()
    with torch.no_grad():
        module.last.weight.mul_(factor).add_(0.1)
    return module


def naming(context: MakerContext, *teachers: tuple[str, float]) -> MakerContext:
    return replace(context, request=replace(context.request, teachers=teachers))


def file_of(folder: Path, module: nn.Module, example: tuple[np.ndarray[Any, Any], ...], name: str) -> None:
    export_onnx(module.eval(), example, folder / name)


@pytest.mark.parametrize(
    ("asked", "read"),
    [
        (None, ()),
        ("net.py:make", (("net.py:make", 1.0),)),
        ("net.py:make@0.7", (("net.py:make", 0.7),)),
        (("net.py:make@2", "other.onnx@1"), (("net.py:make", 2.0), ("other.onnx", 1.0))),
        ({"net.py:make": 0.7, "other.onnx": 1}, (("net.py:make", 0.7), ("other.onnx", 1.0))),
        ([("net.py:make", 0.7), Path("other.onnx")], (("net.py:make", 0.7), ("other.onnx", 1.0))),
        ("/data/@me/net.onnx", (("/data/@me/net.onnx", 1.0),)),
    ],
)
def test_teachers_are_read_from_texts_dicts_and_lists(asked: Any, read: Any) -> None:
    assert read_teachers(asked) == read


def test_a_live_module_teaches_by_itself() -> None:
    module = Small()
    assert read_teachers(module) == ((module, 1.0),)
    assert read_teachers([(module, 0.5), "other.onnx"]) == ((module, 0.5), ("other.onnx", 1.0))


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ("net.py:make@0", "the weight of teacher net.py:make is 0.0; allowed: a number above 0"),
        ("net.py:make@-1", "the weight of teacher net.py:make is -1.0"),
        ("net.py:make@nan", "is nan"),
        ("net.py:make@inf", "is inf"),
        ({"net.py:make": "much"}, "is 'much'"),
        ({"net.py:make": True}, "is True"),
        (3, "a teacher is a int; allowed: net.py:factory, net.onnx, or a live module"),
        (["a.onnx@1", "a.onnx@2"], "teacher a.onnx is named twice; name it once"),
    ],
)
def test_a_teacher_that_is_none_is_refused(asked: Any, told: str) -> None:
    with pytest.raises(UserError, match=told) as refused:
        read_teachers(asked)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"teachers": "none.onnx@0.5"}, "teacher: none.onnx: no such file"),
        ({"teachers": "net.py:make_none"}, "teacher: net.py has no 'make_none'; allowed: .*make_small"),
        ({"teachers": "net.py:make_random"}, "teacher: .* another network each time .*; name its trained we"),
        ({"teachers": "net.py:make:none.safetensors"}, "teacher: .*none.safetensors: no such file"),
        ({"teachers": "net.pt2"}, r"teacher: net.pt2"),
        ({"teachers": "net.py:make_other"}, r"teacher net.py:make_other gives \[1, 7\], the original \[1, 10\]"),
        ({"teachers": "net.py:make_soft"}, "output 0 of teacher net.py:make_soft holds probabilities, that of the"),
        ({"teachers": "wide.onnx"}, r"teacher wide.onnx: the model's input 1x1x8x8: dimension 2 of input .* to 16"),
        ({"teachers": "whole.onnx"}, r"teacher whole.onnx takes .* int64 \[1, 1, 8, 8\], the model .* float32"),
        ({"teachers": "seven.onnx"}, r"teacher seven.onnx gives .* \[1, 7\], the model .*\[1, 10\]"),
        (
            {"teachers": "good.onnx", "student": "net.py:make_small", "student_features": "first=first"},
            "features of teacher good.onnx: a .onnx file shows no layers; .* name one as the first --teacher",
        ),
        (
            {"teachers": "net.py:make", "student": "net.py:make_small", "student_features": "frst=first"},
            "features: teacher net.py:make has no layer 'frst'; near it: first",
        ),
        ({"student": "net.py:make_soft"}, "output 0 of the student holds probabilities, that of the original class"),
        ({"teachers": "net.py:make", "student": None, "prune": False}, "teachers are named, but nothing is to be tra"),
    ],
)  # fmt: skip
def test_a_teacher_that_cannot_be_is_refused_before_anything_is_timed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], told: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text(NETS + MORE)
    (tmp_path / "net.pt2").write_bytes(b"")
    square, image = nn.Sequential(nn.Flatten(), nn.Linear(64, 10)), np.zeros((1, 1, 8, 8), np.float32)
    file_of(tmp_path, square, (image,), "good.onnx")
    wide = nn.Sequential(nn.Flatten(), nn.Linear(256, 10))
    file_of(tmp_path, wide, (np.zeros((1, 1, 16, 16), np.float32),), "wide.onnx")
    file_of(tmp_path, nn.Sequential(nn.Flatten(), nn.Linear(64, 7)), (image,), "seven.onnx")
    file_of(tmp_path, Whole(), (image.astype(np.int64),), "whole.onnx")
    options = {"student": "net.py:make_small", **options}
    with pytest.raises(UserError, match=told) as refused:
        build(tmp_path, **options)
    assert "\n" not in str(refused.value)


def test_a_teacher_has_the_weights_that_are_named_behind_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text(NETS)
    asked = "net.py:make:other.safetensors"
    request = BuildRequest(
        "generic-cpu", "net.py:make", "digits", Budget(), teachers=read_teachers(f"{asked}@0.5")
    )
    assert request.teachers == ((asked, 0.5),)
    whole = locate_model(request)
    state = whole.load().state_dict()
    digests = set()
    for value in (1.0, 2.0):
        save_file({**state, "last.bias": torch.full((10,), value)}, tmp_path / "other.safetensors")
        teacher = locate_teachers(request, whole)[asked]
        digests.add(teacher.ref.digest)
        assert torch.equal(teacher.load().state_dict()["last.bias"], torch.full((10,), value))
    assert len({*digests, whole.ref.digest}) == 3


class Whole(nn.Module):
    """Takes whole numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Linear(64, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.last(x.flatten(1).float())
        return logits


@pytest.mark.parametrize(
    ("mine", "order"),
    [
        ([("b", "int64"), ("a", "int64")], ("a", "b")),
        ([("x", "int64"), ("y", "int64")], None),
        ([("a", "int64")], None),
        ([("b", "int32"), ("a", "int64")], ("a", "b")),
        ([("b", "float32"), ("a", "int64")], None),
    ],
)
def test_several_inputs_are_told_apart_by_name_or_not_at_all(mine: Any, order: Any) -> None:
    wanted = tuple(TensorSpec(name, "int64", (1, 8)) for name in ("a", "b"))
    given = tuple(TensorSpec(name, dtype, (1, 8)) for name, dtype in mine)
    if order is not None:
        assert in_order_of(given, wanted, "teacher t", "takes") == order
        return
    with pytest.raises(ModelError, match=r"teacher t takes .*, the model a int64 \[1, 8\], b int64 \[1, 8\]"):
        in_order_of(given, wanted, "teacher t", "takes")


def test_who_teaches_is_in_the_key_described_and_told(context: MakerContext) -> None:
    both = naming(context, ("first", 3.0), ("second", 1.0))
    (made,) = StudentMaker().make(both)
    assert isinstance(made, MadeVariant)
    assert made.variant.description.endswith("distilled from Small, Small")
    taught = next(line for line in made.history if line.startswith("taught by Small (75%, scores "))
    assert isinstance(both.reporter, Listening)
    assert taught in both.reporter.said
    digests = {
        teacher_digest(naming(context, *teachers))
        for teachers in (
            (),
            (("first", 1.0),),
            (("second", 1.0),),
            (("first", 1.0), ("second", 1.0)),
            (("first", 3.0), ("second", 1.0)),
            (("second", 1.0), ("first", 3.0)),
        )
    }
    assert len(digests) == 6
    assert teacher_digest(naming(context, ("first", 0.5))) == teacher_digest(naming(context, ("first", 1.0)))
    (plain,) = StudentMaker().make(context)
    assert isinstance(plain, MadeVariant)
    assert plain.variant.digest != made.variant.digest
    assert not any(line.startswith("taught by") for line in plain.history)
    assert why_it_stays(both) == "other teachers are asked where the build runs"


def test_a_teacher_that_is_worse_is_told_in_the_report_and_as_a_line(context: MakerContext) -> None:
    good = scaled(1.0)
    bad = scaled(1.0)
    judged = context.splits.validation
    with torch.no_grad():
        batch = next(iter(judged.batches(len(judged))))
        images, labels = torch.from_numpy(batch.inputs[0]).flatten(1), torch.as_tensor(batch.labels)
        solved = torch.linalg.lstsq(images, nn.functional.one_hot(labels, 10).float()).solution
        good.last.weight.copy_(solved.T)
        good.last.bias.zero_()
        bad.last.weight.copy_(-solved.T)
        bad.last.bias.zero_()
    asked = naming(context, ("bad", 1.0))
    asked = replace(asked, model=given(good), student=given(good), teachers={"bad": given(bad)})
    (made,) = StudentMaker().make(asked)
    assert isinstance(made, MadeVariant)
    assert isinstance(asked.reporter, Listening)
    for begin in (
        "the teacher is worse than the model: ",
        "the teacher is worse than the student was before",
    ):
        (line,) = [line for line in made.history if line.startswith(begin)]
        assert line in asked.reporter.said


def test_a_stage_has_teachers_of_its_own() -> None:
    stages = read_pipeline(
        [
            {"method": "distil", "network": "s.py:f", "teachers": {"a.onnx": 2}},
            {"method": "prune", "macs": 0.5},
        ]
    )
    assert [stage.teachers for stage in stages] == [(("a.onnx", 2.0),), ()]
    request = BuildRequest("generic-cpu", "net.py:make", "digits", Budget(), teachers=(("b.onnx", 1.0),))
    with pytest.raises(
        UserError, match=r"--teacher is given, and stage 1 \(distil\) of the pipeline says it too"
    ):
        with_pipeline(request, stages)
    with pytest.raises(UserError, match=r"stage 1 \(prune\): teachers.a.onnx: 0; allowed: a number above 0"):
        read_pipeline([{"method": "prune", "teachers": {"a.onnx": 0}}])


def test_the_model_by_its_own_name_teaches_with_its_own_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text(NETS)
    request = BuildRequest(
        "generic-cpu",
        "net.py:make",
        "digits",
        Budget(),
        teachers=(("net.py:make", 1.0), ("net.py:make_small", 1.0)),
    )
    model = locate_model(request)
    teachers = locate_teachers(request, model)
    assert teachers["net.py:make"] is model
    assert teachers["net.py:make_small"].ref.digest != model.ref.digest


def test_the_command_line_says_it_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text(NETS)
    with pytest.raises(SystemExit) as ended:
        main(
            ["build", "--target", "generic-cpu", "--model", "net.py:make", "--data", "digits", "--max-latency", "auto",
             "--teacher", "net.py:make@0.5", "--teacher", "none.onnx@0.5"]
        )  # fmt: skip
    told = capsys.readouterr().err.strip().splitlines()
    assert ended.value.code == 2
    assert len(told) == 1
    assert "teacher: none.onnx: no such file" in told[0]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (("--outputs", "boxxes"), "outputs is 'boxxes'; allowed: auto, logits, values, embedding, maps, scores, boxes"),
        (("--outputs", "scores,boxes"), "outputs says what 2 are (scores,boxes), and the network gives 1"),
        (("--outputs", "boxes"), "output 0 is said to be boxes, it is float32 [1, 10]; allowed: floats [N, 4, ...] or"),
        (("--outputs", "maps"), "output 0 is said to be maps, it is float32 [1, 10]"),
        (("--outputs", "values", "--loss", "loss.py:with_teacher"), "and a loss of teacher_outputs of your own "),
        (("--outputs", "values", "--train-step", "loss.py:step"), "and a step of your own learns it"),
        (("--outputs", "scores", "--student", "net.py:make_squashed"), "of the student holds scores from 0 to 1"),
    ],
)  # fmt: skip
def test_what_outputs_are_said_to_be_and_are_not_is_told_in_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    given: tuple[str, ...],
    told: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text(NETS + MORE)
    (tmp_path / "loss.py").write_text(LOSSES)
    with pytest.raises(SystemExit) as ended:
        main(
            ["build", "--target", "generic-cpu", "--model", "net.py:make", "--data", "digits", "--max-latency", "auto",
             "--allow-weak-original", *given]
        )  # fmt: skip
    lines = capsys.readouterr().err.strip().splitlines()
    assert ended.value.code == 2
    assert told in lines[-1]
    assert not any("Traceback" in line for line in lines)


@pytest.mark.slow
def test_a_file_as_the_model_teaches_a_student_beside_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text(NETS)
    namespace: dict[str, Any] = {}
    exec(NETS, namespace)
    file_of(tmp_path, namespace["make"](), (np.zeros((1, 1, 8, 8), np.float32),), "net.onnx")
    result = build(tmp_path, model="net.onnx", student="net.py:make_small")
    assert not result.failures
    (student,) = [variant for variant in result.variants if variant.kind == "student"]
    assert student.macs < 0.1 * next(v.macs for v in result.variants if v.kind == "original")
    both = build(
        tmp_path,
        model="net.onnx",
        student="net.py:make_small",
        teachers={"net.onnx": 0.5, "net.py:make": 0.5},
    )
    (student,) = [variant for variant in both.variants if variant.kind == "student"]
    assert any(line.startswith("taught by net.onnx (50%, ") for line in student.history)
    assert "taught by net.onnx (50%" in (tmp_path / "out" / "report.html").read_text()
    assert edgekit.load(tmp_path / "out").predict(np.zeros((1, 1, 8, 8), np.float32))


@pytest.mark.slow
def test_a_files_student_is_made_smaller_in_a_pipeline_with_teachers_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text(NETS)
    namespace: dict[str, Any] = {}
    exec(NETS, namespace)
    file_of(tmp_path, namespace["make"](), (np.zeros((1, 1, 8, 8), np.float32),), "net.onnx")
    stages = [
        {"method": "distil", "network": "net.py:make_small", "teachers": {"net.py:make": 1},
         "features": {"first": "first"}, "relations": {"first": "first"}},
        {"method": "prune", "macs": 0.5},
    ]  # fmt: skip
    result = build(tmp_path, model="net.onnx", pipeline=stages, prune=True)
    assert not result.failures
    kinds = {variant.kind: variant for variant in result.variants}
    assert set(kinds) == {"original", "student", "pruned"}
    assert "relations learnt: first=first" in kinds["student"].history
    assert kinds["student"].description.endswith("distilled from net.py:make")
    assert kinds["pruned"].description.endswith("distilled from the original")
