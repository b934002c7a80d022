"""A pipeline file: methods that make a network smaller, in order, each with its options."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from edgekit.building.request import (
    LOW_RANK_AUTO,
    BuildRequest,
    TeacherSpec,
    TrainOptions,
    read_features,
    read_low_rank,
    read_sparsity,
    read_teachers,
)
from edgekit.errors import UserError
from edgekit.files import read_toml
from edgekit.hardware.explain import explain

__all__ = [
    "DropOptions",
    "LowRankOptions",
    "MergeOptions",
    "PipelineStage",
    "PruneOptions",
    "SparseOptions",
    "read_pipeline",
    "with_pipeline",
]

Positive = Annotated[float, msgspec.Meta(gt=0.0, le=1e6)]
Share = Annotated[float, msgspec.Meta(ge=0.0, le=1.0)]
Part = Annotated[float, msgspec.Meta(gt=0.0, lt=1.0)]
Text = Annotated[str, msgspec.Meta(min_length=1)]


class Distillation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Options of every stage that distils: of `TrainOptions`, and who teaches, by weight; None as the command's."""

    epochs: Positive | None = None
    optimizer: Literal["auto", "sgd", "adamw"] | None = None
    learning_rate: Positive | None = None
    temperature: Positive | None = None
    alpha: Share | None = None
    teachers: dict[Text, Positive] = {}


class DistilOptions(Distillation, frozen=True, kw_only=True):
    """`network`: the student, net.py:factory; `weights`: what it begins with; the rest are pairs of layers."""

    network: Text
    weights: Text | None = None
    features: dict[Text, Text] = {}
    relations: dict[Text, Text] = {}
    attention: dict[Text, Text] = {}
    channels: dict[Text, Text] = {}


class DropOptions(Distillation, frozen=True, kw_only=True):
    """`blocks`: residual blocks by their names, or ["auto:2"]."""

    blocks: Annotated[tuple[Text, ...], msgspec.Meta(min_length=1)]


class MergeOptions(Distillation, frozen=True, kw_only=True):
    """`blocks`: modules whose convolutions become one, by their names."""

    blocks: Annotated[tuple[Text, ...], msgspec.Meta(min_length=1)]


class PruneOptions(Distillation, frozen=True, kw_only=True):
    """`macs`: the share of the MACs of what the stage is given that is left; None: what the budget needs.

    `step_ratio`: the share that a step removes.
    """

    macs: Part | None = None
    step_epochs: Positive | None = None
    step_ratio: Part | None = None
    importance: Literal["magnitude", "taylor", "activation"] | None = None


class LowRankOptions(Distillation, frozen=True, kw_only=True):
    """`ranks`: "auto", a share of each layer's output variance, or layers with their ranks."""

    ranks: str | float | dict[Text, int | tuple[int, int]] = LOW_RANK_AUTO


class SparseOptions(Distillation, frozen=True, kw_only=True):
    """`sparsity`: "2:4", or the share of weights that is zero; the others as `TrainOptions` has them."""

    sparsity: str | float
    saliency: Literal["magnitude", "obd"] | None = None
    rewind: bool | None = None


class QatOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Of the training for a runtime's integers."""

    epochs: Positive | None = None
    temperature: Positive | None = None
    alpha: Share | None = None


Options = (
    DistilOptions | DropOptions | MergeOptions | PruneOptions | LowRankOptions | SparseOptions | QatOptions
)

OPTIONS: Mapping[str, type[Options]] = {
    "distil": DistilOptions,
    "drop": DropOptions,
    "merge": MergeOptions,
    "prune": PruneOptions,
    "low-rank": LowRankOptions,
    "sparse": SparseOptions,
    "qat": QatOptions,
}
"""Method → what it may be told."""


@dataclass(frozen=True)
class PipelineStage:
    """One stage, number `number` from 1 on, of `method` (a key of OPTIONS)."""

    number: int
    method: str
    options: Options

    @property
    def name(self) -> str:
        """What messages call it."""
        return f"stage {self.number} ({self.method})"

    @property
    def text(self) -> str:
        """Its method with what was said of it, for people."""
        said = msgspec.to_builtins(self.options)
        told = [f"{key} {shown(value)}" for key, value in said.items() if value is not None and value != {}]
        return f"{self.method} {', '.join(told)}".strip()

    @property
    def teachers(self) -> tuple[tuple[TeacherSpec, float], ...]:
        """Who teaches in the stage, as it says itself."""
        return read_teachers(getattr(self.options, "teachers", {}))

    def training(self, options: TrainOptions) -> TrainOptions:
        """The build's training with what the stage says of its own."""
        names = (
            "optimizer", "learning_rate", "temperature", "alpha", "step_epochs", "step_ratio", "importance", "saliency",
            "rewind",
        )  # fmt: skip
        own = {name: getattr(self.options, name, None) for name in names}
        own["qat_epochs" if self.method == "qat" else "epochs"] = getattr(self.options, "epochs", None)
        return replace(options, **{name: value for name, value in own.items() if value is not None})


def shown(value: Any) -> str:
    """A TOML value in words."""
    if isinstance(value, Mapping):
        return ",".join(f"{key}={shown(part)}" for key, part in value.items())
    if isinstance(value, list):
        return "x".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def read_pipeline(given: object) -> tuple[PipelineStage, ...]:
    """The stages of a TOML file, or of a list of dicts as its tables; None is none. Raises UserError in one line."""
    if given is None:
        return ()
    if isinstance(given, (str, Path)):
        path = Path(given)
        content = read_toml(path, UserError)
        for key in content:
            if key != "stage":
                raise UserError(f"{path}: no key {key!r:.80}", allowed="[[stage]] tables")
        where, tables = f"{path}: ", content.get("stage")
    else:
        where, tables = "pipeline: ", given
    if not isinstance(tables, Sequence) or isinstance(tables, str) or not tables:
        raise UserError(f"{where}no stages", allowed='[[stage]] tables, as method = "prune"')
    stages = tuple(read_stage(where, number, table) for number, table in enumerate(tables, 1))
    refuse_orders(where, stages)
    return stages


def read_stage(where: str, number: int, table: object) -> PipelineStage:
    """One table. Raises UserError for another method or option, with what is allowed and the nearest."""
    if not isinstance(table, Mapping):
        raise UserError(f"{where}stage {number} is {table!r:.80}", allowed='a table, as method = "prune"')
    options = {str(key).replace("-", "_"): value for key, value in table.items()}
    method = options.pop("method", None)
    if method is None:
        raise UserError(f"{where}stage {number} has no method", allowed=", ".join(OPTIONS))
    if not isinstance(method, str) or method not in OPTIONS:
        raise UserError(
            f"{where}stage {number}: {method!r:.80} is no method",
            allowed=", ".join(OPTIONS),
            remedy=nearest(str(method), OPTIONS),
        )
    kind = OPTIONS[method]
    for name in options:
        if name not in kind.__struct_fields__:
            raise UserError(
                f"{where}stage {number} ({method}) has no option {name!r:.80}",
                allowed=", ".join(kind.__struct_fields__),
                remedy=nearest(name, kind.__struct_fields__),
            )
    stage = f"{where}stage {number} ({method}): "
    try:
        read = msgspec.convert(options, kind)
    except msgspec.ValidationError as error:
        key, came, allowed = explain(options, error, kind)
        raise UserError(f"{stage}{key}: {came}", allowed=allowed) from error
    try:
        if isinstance(read, LowRankOptions):
            read_low_rank(read.ranks)
        if isinstance(read, SparseOptions):
            read_sparsity(read.sparsity)
    except UserError as error:
        told = f"{stage}{error.parts[0]}".replace("low_rank", "ranks")
        raise UserError(told, allowed=error.parts[1]) from None
    return PipelineStage(number, method, read)


def nearest(name: str, known: Mapping[str, Any] | Sequence[str]) -> str:
    """The name that may be meant, as a question; "" where none is near."""
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.4)
    return f"did you mean {near[0]}?" if near else ""


def refuse_orders(where: str, stages: Sequence[PipelineStage]) -> None:
    """Raises UserError where a stage could not go on with what the one before it gives."""
    for stage in stages[1:]:
        if stage.method == "distil":
            raise UserError(
                f"{where}{stage.name}: a student is a network of its own, and nothing of the stages before is in it",
                allowed="distil as the first stage alone",
            )
    for stage in stages[:-1]:
        if stage.method == "qat":
            raise UserError(
                f"{where}{stage.name}: what is trained for integers is not made smaller afterwards",
                allowed="qat as the last stage alone",
            )
        if stage.method == "sparse":
            raise UserError(
                f"{where}{stage.name}: the training of a later stage would fill its zeros",
                allowed="sparse as the last stage alone; it is quantized without training",
            )


def with_pipeline(
    request: BuildRequest, stages: tuple[PipelineStage, ...], methods: object = None
) -> BuildRequest:
    """The request with these stages and no other methods. Raises UserError where an option says something else.

    `methods`: what `compress` was given.
    """
    if not stages:
        return request
    for option, is_given in {
        "--compress": methods is not None,
        "--no-prune": not request.prune,
        "--drop": bool(request.drop),
        "--merge": bool(request.merge),
        "--low-rank": request.low_rank is not None,
        "--sparsity": request.sparsity is not None,
        "--student": request.student is not None,
        "--student-weights": request.student_weights is not None,
        "--student-features": bool(request.student_features),
        "--student-relations": bool(request.student_relations),
        "--student-attention": bool(request.student_attention),
        "--student-channels": bool(request.student_channels),
        f"--qat {request.qat}": request.qat != "auto",
    }.items():
        if is_given:
            raise UserError(
                f"--pipeline and {option} both say which methods are used",
                remedy=f"leave out {option.split()[0]}, or say it in a stage of the pipeline",
            )
    refuse_said_twice(request.train, stages)
    for stage in stages:
        if stage.teachers and request.teachers:
            raise UserError(
                f"--teacher is given, and {stage.name} of the pipeline says it too", remedy="say it once"
            )
    first = stages[0].options
    if isinstance(first, DistilOptions):
        request = replace(
            request,
            student=first.network,
            student_weights=None if first.weights is None else Path(first.weights),
            student_features=read_features(first.features or None),
            student_relations=read_features(first.relations or None),
            student_attention=read_features(first.attention or None),
            student_channels=read_features(first.channels or None),
        )
    makes_smaller = any(stage.method in ("prune", "drop", "merge") for stage in stages)
    return replace(request, pipeline=stages, prune=makes_smaller, qat="never")


def refuse_said_twice(train: TrainOptions, stages: Sequence[PipelineStage]) -> None:
    """Raises UserError for an option of the training that a stage has and that is given beside the pipeline too."""
    untold = TrainOptions()
    for stage in stages:
        said = stage.training(untold)
        for name in (
            "epochs",
            "qat_epochs",
            "optimizer",
            "learning_rate",
            "temperature",
            "alpha",
            "importance",
            "saliency",
            "rewind",
        ):
            is_said, is_given = (getattr(options, name) != getattr(untold, name) for options in (said, train))
            if is_said and is_given:
                raise UserError(
                    f"--{name.replace('_', '-')} is given, and {stage.name} of the pipeline says it too",
                    remedy="say it once",
                )
