"""The networks that a request names: the model, a student, teachers. Found and hashed before any work."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.building.executor import DEFAULT_EXECUTOR, make_executor
from edgekit.building.reading import read_weights
from edgekit.building.request import BuildRequest, TeacherSpec
from edgekit.errors import ModelError
from edgekit.model import ModelRef, WeightsPart, identified, load_module, locate, locate_module, unwrapped

if TYPE_CHECKING:
    import torch

__all__ = ["GivenModel", "locate_model", "locate_student", "locate_teachers"]


@dataclass(frozen=True)
class GivenModel:
    """The user's network: where it is, or the module itself, and what it is called."""

    ref: ModelRef
    module: torch.nn.Module | None
    name: str

    def load(self) -> torch.nn.Module:
        """As it was given, in eval mode; a live one that is in training is copied, so that its owner's stays there.

        Raises ModelError.
        """
        if self.module is None:
            return load_module(self.ref)
        trains = any(part.training for part in self.module.modules())
        return copy.deepcopy(self.module).eval() if trains else self.module


def locate_model(request: BuildRequest) -> GivenModel:
    """Where the model is, with a digest of all that it depends on; a factory is called for that. Raises ModelError."""
    name = request.describe_model()
    part = WeightsPart(request.weights_prefix, request.weights_key)
    if isinstance(request.model, (str, Path)):
        return located(request.model, request.weights, part, name)
    if request.weights is not None or part.options():
        raise ModelError(f"weights are given beside a live {name}", remedy="load them into it before")
    network = unwrapped(request.model)
    return GivenModel(locate_module(network), network, name)


def located(
    spec: str | Path, weights: Path | None, part: WeightsPart, name: str, seed: int | None = None
) -> GivenModel:
    """A network that is given by name. `seed`: of one that is to be trained from its random weights."""
    ref = replace(locate(spec, weights, part), seed=seed)
    if ref.weights is not None:
        with closing(make_executor(DEFAULT_EXECUTOR)) as executor:  # a file of this machine
            read_weights(executor, ref.weights)
    return GivenModel(identified(ref), None, name)


def locate_student(request: BuildRequest) -> GivenModel | None:
    """Where the student is, if one is asked for. Raises ModelError, which says that it is about the student."""
    given, weights = request.student, request.student_weights
    if given is None:
        if weights is not None:
            raise ModelError(
                "weights are given for a student, but no student", remedy="give --student as well"
            )
        return None
    try:
        if isinstance(given, (str, Path)):
            student = located(given, weights, WeightsPart(), str(given), request.seed)
        elif weights is not None:
            raise ModelError(
                f"weights are given beside a live {type(given).__name__}", remedy="load them before"
            )
        else:
            network = unwrapped(given)
            student = GivenModel(locate_module(network), network, type(network).__name__)
    except ModelError as problem:
        came, allowed, remedy = (part.replace("--weights", "--student-weights") for part in problem.parts)
        raise ModelError(f"student: {came}", allowed=allowed, remedy=remedy) from problem
    if student.ref.kind not in ("factory", "module"):
        raise ModelError(
            f"student: a .{student.ref.kind} file cannot be trained",
            allowed="net.py:factory, or a live module",
        )
    return student


def locate_teachers(request: BuildRequest, model: GivenModel) -> Mapping[TeacherSpec, GivenModel]:
    """Where each network that the request or a stage of it names as a teacher is; the model by its own name is itself.

    Raises ModelError, which says that it is about a teacher.
    """
    named = [spec for spec, _ in request.teachers]
    for stage in request.pipeline:
        named += [spec for spec, _ in stage.teachers]
    own = str(request.model) if isinstance(request.model, (str, Path)) else request.model
    return {
        spec: model if spec == own or spec is own else located_teacher(spec) for spec in dict.fromkeys(named)
    }


def divided(spec: str) -> tuple[str, Path | None]:
    """net.py:make:big.safetensors as the network and its weights; without a second colon as it is."""
    network, colon, weights = spec.rpartition(":")
    return (network, Path(weights)) if colon and ":" in network else (spec, None)


def located_teacher(spec: TeacherSpec) -> GivenModel:
    """One of them. Raises ModelError."""
    try:
        if not isinstance(spec, str):
            network = unwrapped(spec)
            return GivenModel(locate_module(network), network, type(network).__name__)
        teacher = located(*divided(spec), WeightsPart(), spec)
    except ModelError as problem:
        came, allowed, remedy = problem.parts
        if "--weights" in remedy:
            remedy = "name its trained weights behind it, as net.py:make:big.safetensors"
        raise ModelError(f"teacher: {came}", allowed=allowed, remedy=remedy) from problem
    if teacher.ref.kind == "pt2":
        raise ModelError(
            f"teacher: {spec} is a .pt2 file", allowed="net.py:factory, net.onnx, or a live module"
        )
    return teacher
