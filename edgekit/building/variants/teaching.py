"""Who teaches: networks that the request names in the place of the user's own, or a file that it is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.building.cache import Cache
from edgekit.building.executor import Executor
from edgekit.building.given import GivenModel
from edgekit.building.reading import read_network
from edgekit.building.request import BuildRequest, TeacherSpec
from edgekit.building.variants.base import MakerContext
from edgekit.building.variants.original import example_inputs, make_variant
from edgekit.compress import (
    Features,
    Teacher,
    Teachers,
    folded,
    load_loss,
    onnx_network,
    read_outputs,
    refuse_other_outputs,
    refuse_unfit_outputs,
    takes_teacher,
)
from edgekit.compress import refuse_unfit_features as refuse_unfit
from edgekit.data import DataSource
from edgekit.errors import ModelError, UserError
from edgekit.model.state import combined
from edgekit.types import InputShape, Signature, TensorSpec, Variant

if TYPE_CHECKING:
    import torch

__all__ = [
    "opened_teachers",
    "refuse_unfit_features",
    "refuse_unfit_teachers",
    "teacher_digest",
    "teachers_of",
    "teaching_by_its_file",
]

FILES = ("onnx", "pt2")
"""Kinds of models that no torch network can be had of."""


def teaching_by_its_file(model: GivenModel, original: Variant) -> GivenModel:
    """The user's network as one that can teach: where a file is all there is, ONNX Runtime answers for it."""
    if model.ref.kind not in FILES:
        return model
    names = [
        [port.name for port in ports] for ports in (original.signature.inputs, original.signature.outputs)
    ]
    module = onnx_network(Path(original.onnx_path), original.digest, *names)
    return replace(model, module=module)


def opened_teachers(
    cache: Cache,
    executor: Executor,
    given: Mapping[TeacherSpec, GivenModel],
    model: GivenModel,
    original: Variant,
) -> Mapping[TeacherSpec, GivenModel]:
    """The teachers, each with what can be asked; an ONNX file was read by a worker first.

    Raises ModelError where a file's inputs or outputs are not the model's.
    """
    return {
        spec: teaching_by_its_file(teacher, original)
        if teacher is model
        else opened_file(cache, executor, teacher, original)
        for spec, teacher in given.items()
    }


def opened_file(cache: Cache, executor: Executor, teacher: GivenModel, original: Variant) -> GivenModel:
    """One of them; a torch network as it is."""
    if teacher.ref.kind != "onnx":
        return teacher
    wanted = original.signature
    several = len(wanted.inputs) > 1
    shapes = tuple(
        InputShape(port.name if several else "", tuple(size or 1 for size in port.shape))
        for port in wanted.inputs
    )

    def write(path: Path) -> Signature:
        return read_network(
            executor, "onnx", Path(teacher.ref.source), teacher.ref.digest, (), path.parent, shapes
        )

    parts = {"model": teacher.ref.digest, "given": [shape.text() for shape in shapes], "example": []}
    try:
        variant = make_variant(cache, "teacher", "original", None, teacher.name, parts, write)
    except ModelError as problem:
        came, allowed, remedy = problem.parts
        came = came.replace("--input-shape", "the model's input")
        raise ModelError(f"teacher {teacher.name}: {came}", allowed=allowed, remedy=remedy) from problem
    ports = [
        in_order_of(mine, theirs, f"teacher {teacher.name}", what)
        for mine, theirs, what in (
            (variant.signature.inputs, wanted.inputs, "takes"),
            (variant.signature.outputs, wanted.outputs, "gives"),
        )
    ]
    return replace(teacher, module=onnx_network(Path(variant.onnx_path), variant.digest, *ports))


def in_order_of(
    mine: Sequence[TensorSpec], wanted: Sequence[TensorSpec], whose: str, what: str
) -> tuple[str, ...]:
    """Names of `mine` in the order of `wanted`: by names where they are the same ones, else by their order.

    Raises ModelError where types or shapes differ, or where only names could tell two alike apart.
    """
    named = {port.name: port for port in mine}
    has_names = set(named) == {port.name for port in wanted}
    ordered = [named[port.name] for port in wanted] if has_names else list(mine)
    sorts, others = [alike(port) for port in ordered], [alike(port) for port in wanted]
    refusal = ModelError(
        f"{whose} {what} {shown(mine)}, the model {shown(wanted)}",
        remedy="a teacher is given the model's samples, and gives what it gives: export it so",
    )
    if sorts != others or (not has_names and len(set(sorts)) < len(sorts)):
        raise refusal
    return tuple(port.name for port in ordered)


def alike(port: TensorSpec) -> tuple[str, tuple[int | None, ...]]:
    """What has to be the same of two networks: a kind of numbers, and sizes."""
    kind = "float" if "float" in port.dtype else "int" if port.dtype in ("int32", "int64") else port.dtype
    return kind, (1, *port.shape[1:])


def shown(ports: Sequence[TensorSpec]) -> str:
    """Names, types and shapes, for people."""
    return ", ".join(
        f"{port.name} {port.dtype} {[size or 'any' for size in port.shape]}".replace("'", "")
        for port in ports
    )


@dataclass(frozen=True)
class _Weighed:
    model: GivenModel
    weight: float


def chosen(request: BuildRequest, known: Mapping[TeacherSpec, GivenModel]) -> Iterator[_Weighed]:
    """The request's teachers, in its order."""
    for spec, weight in request.teachers:
        yield _Weighed(known[spec], weight)


def teacher_digest(context: MakerContext) -> str:
    """Of who teaches in the place of the network that is made smaller, with the weights; "" where nobody does."""
    weighed = tuple(chosen(context.request, context.teachers))
    total = sum(teacher.weight for teacher in weighed)
    if weighed:
        return combined(
            {
                f"teacher {number}": f"{teacher.model.ref.digest} {teacher.weight / total!r}"
                for number, teacher in enumerate(weighed)
            }
        )
    return "" if context.teacher is None else context.teacher.ref.digest


def teachers_of(request: BuildRequest, known: Mapping[TeacherSpec, GivenModel]) -> Teachers | None:
    """The request's teachers, loaded; None: the user's network teaches. Raises ModelError."""
    weighed = tuple(chosen(request, known))
    if not weighed:
        return None
    return Teachers(
        tuple(Teacher(teacher.model.name, teacher.model.load(), teacher.weight) for teacher in weighed)
    )


def refuse_unfit_teachers(
    request: BuildRequest, known: Mapping[TeacherSpec, GivenModel], model: GivenModel, source: DataSource
) -> None:
    """Outputs are what is said of them, and each teacher takes and gives what the model does.

    Raises UserError in one line.
    """
    example, train = example_inputs(source), request.train
    said = read_outputs(train.outputs)
    if said != ("auto",):
        own = "a step" if train.step else "a loss of teacher_outputs" if asks_teacher(train.loss) else ""
        if own:
            raise UserError(
                f"outputs says {train.outputs}, for how a teacher is learnt, and {own} of your own learns it",
                remedy="leave out either",
            )
        refuse_unfit_outputs(model.load(), example, said)
    for teacher in known.values():
        refuse_other_outputs(teacher.load(), model.load(), example, f"teacher {teacher.name}", said)


def asks_teacher(loss: str | None) -> bool:
    """Whether a loss of the user's is given what the teacher gives. Raises UserError where it is none."""
    return loss is not None and takes_teacher(load_loss(loss), loss)


def refuse_unfit_features(
    request: BuildRequest,
    known: Mapping[TeacherSpec, GivenModel],
    model: GivenModel,
    student: torch.nn.Module,
    source: DataSource,
) -> None:
    """Features are the first teacher's, the model's where none is named. Raises UserError in one line."""
    features: Features = request.features
    if not features:
        return
    first = next((teacher.model for teacher in chosen(request, known)), model)
    whose = f"teacher {first.name}" if request.teachers else "the original"
    if first.ref.kind in FILES:
        raise UserError(
            f"features of {whose}: a .{first.ref.kind} file shows no layers",
            allowed="features of a torch network",
            remedy="name one as the first --teacher, or leave out the features",
        )
    refuse_unfit(folded(first.load()), folded(student), example_inputs(source), features, whose)
