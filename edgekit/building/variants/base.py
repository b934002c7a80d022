"""The seam of variants: what every maker of networks offers, the table of makers, and where their errors end."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from edgekit.building.cache import Cache
from edgekit.building.executor import Executor, as_stage_error
from edgekit.building.given import GivenModel
from edgekit.building.layer_times import LayerTimes
from edgekit.building.request import BuildRequest, TeacherSpec
from edgekit.building.time_limit import TimeLimit
from edgekit.building.values import Attempt
from edgekit.compress import TeacherOutputs
from edgekit.data import DataSource, Splits
from edgekit.errors import EdgekitError, StageError, TimeLimitReached
from edgekit.hardware import Target
from edgekit.plan import Structure
from edgekit.progress import Reporter
from edgekit.quantize.placement import Placement
from edgekit.result import TrainedStep, VariantResult
from edgekit.types import (
    Artifact,
    BackendName,
    Candidate,
    Choice,
    Failure,
    Measurement,
    PlanningResult,
    Rejection,
    Variant,
)

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

__all__ = [
    "Int8Builds",
    "Made",
    "MadeVariant",
    "MakerContext",
    "ProbeStructures",
    "VariantMaker",
    "made_by",
    "open_makers",
]

MAKERS: Mapping[str, tuple[str, str]] = {
    "shallow": ("edgekit.building.variants.shallow", "ShallowMaker"),
    "student": ("edgekit.building.variants.student", "StudentMaker"),
    "low-rank": ("edgekit.building.variants.low_rank", "LowRankMaker"),
    "planned": ("edgekit.building.variants.planned", "PlannedMaker"),
    "pruned": ("edgekit.building.variants.pruned", "PrunedMaker"),
    "qat": ("edgekit.building.variants.qat", "QatMaker"),
    "sparse": ("edgekit.building.variants.sparse", "SparseMaker"),
}
"""Name → module and class, in the order in which they are asked; the original itself is there before them.

Sparse networks come last: the training of others would fill their zeros.
"""

PIPELINE = ("edgekit.building.variants.pipeline", "PipelineMaker")
"""Module and class of what is asked alone where the request has stages."""

INSTEAD = {True: "pruned", False: "planned"}
"""Whether a build has times of layers → the maker that it goes without: a planned build prunes by itself."""

ProbeStructures = Callable[[Sequence[Variant], Variant, Sequence[Candidate]], list[Structure]]
"""(untrained networks, original, its leading candidates) → what they take on the board, measured or estimated."""


@dataclass(frozen=True)
class Int8Builds:
    """What training for integers asks of INT8 builds: to make one, where it has integers, what it answers.

    Each raises StageError. `outputs`: of the validation split, in its order; output name → [N, ...].
    """

    export: Callable[[Variant, Candidate], Artifact]
    placement: Callable[[Variant, Candidate, Artifact], Placement]
    outputs: Callable[[Artifact], Mapping[str, NDArray[np.generic]]]


@dataclass(frozen=True)
class MakerContext:
    """What a maker may know of a build whose original has been judged, and what it may use.

    `cache` keeps what a maker made; training keeps to `time_limit` by itself. `executor`: what takes trainings
    elsewhere; None: they run in this process. `layer_times`: what plans are made by, where the request asks for it.
    `teacher_outputs`: what trainings in this process share. `student`: the other network that the request gives.
    `networks`: the original and those made so far, by id; `attempts` are theirs. `int8`: None where nothing can be
    trained for integers. `became`: the id of a network that the maker has given → of its builds those that ran.
    `teacher`: the user's network, where `model` and `original` are one that was made of it and is made smaller in turn.
    `features`: of the board's CPU.
    `teachers`: those that the request or its stages name.
    """

    request: BuildRequest
    model: GivenModel
    source: DataSource
    splits: Splits
    target: Target
    time_limit: TimeLimit | None
    original: Variant
    attempts: tuple[Attempt, ...]
    measurements: Mapping[str, Measurement]
    choice: Choice
    cache: Cache
    reporter: Reporter
    probe: ProbeStructures
    executor: Executor | None = None
    layer_times: LayerTimes | None = None
    teacher_outputs: TeacherOutputs | None = None
    student: GivenModel | None = None
    networks: Mapping[str, Variant] = field(default_factory=dict)
    int8: Int8Builds | None = None
    became: Callable[[str], tuple[Attempt, ...]] = lambda variant: ()
    teacher: GivenModel | None = None
    features: frozenset[str] = frozenset()
    teachers: Mapping[TeacherSpec, GivenModel] = field(default_factory=dict)


@dataclass(frozen=True)
class MadeVariant:
    """A network and how it was made: `history`, a line per step for people, and the steps of its training.

    `trained_for`: the runtimes for whose integers it was trained; it is built for them in INT8 alone. Empty: any.
    `load`: the network in torch, in eval mode, where there is one that can be made smaller in turn. `useless`: why a
    build of it would be no better than one of the network that it was made of; None where it may be.
    """

    variant: Variant
    history: tuple[str, ...] = ()
    steps: tuple[TrainedStep, ...] = ()
    trained_for: tuple[BackendName, ...] = ()
    load: Callable[[], torch.nn.Module] | None = field(default=None, compare=False, repr=False)
    useless: Callable[[Candidate], Rejection | None] = field(
        default=lambda candidate: None, compare=False, repr=False
    )

    def described(self) -> VariantResult:
        """What the result says of it."""
        variant, cost = self.variant, self.variant.cost
        return VariantResult(
            id=variant.id,
            kind=variant.kind,
            parent=variant.parent,
            description=variant.description,
            macs=cost.macs,
            parameters=cost.parameters,
            history=self.history,
            steps=self.steps,
        )


Made = MadeVariant | Rejection | Failure | PlanningResult
"""What a maker gives, in any order."""


class VariantMaker(Protocol):
    """Makes float networks out of the original. Stateless."""

    def why_not(self, context: MakerContext) -> Rejection | None:
        """Why nothing is made, known before any work; None when it is tried."""

    def make(self, context: MakerContext) -> Iterator[Made]:
        """Networks, or why there are none, and what was planned. May raise anything."""


def open_makers(request: BuildRequest) -> tuple[tuple[str, VariantMaker], ...]:
    """The rows of MAKERS that the request asks for, loaded; where it has stages, what follows these alone."""
    if request.pipeline:
        module, attribute = PIPELINE
        return (("pipeline", getattr(importlib.import_module(module), attribute)()),)
    without = INSTEAD[request.latency_table is not None]
    return tuple(
        (name, getattr(importlib.import_module(module), attribute)())
        for name, (module, attribute) in MAKERS.items()
        if name != without
    )


def made_by(name: str, maker: VariantMaker, context: MakerContext, log: Path) -> Iterator[Made]:
    """What the maker gives. Whatever it throws becomes a Failure with its reason; tracebacks go to `log`.

    What the time limit leaves no room for is a Rejection.

    What ends a build passes: bad input (UserError), Interrupted, StoreError.
    """
    try:
        rejection = maker.why_not(context)
        if rejection is not None:
            yield rejection
            return
        yield from maker.make(context)
    except TimeLimitReached:
        assert context.time_limit is not None
        yield context.time_limit.not_tried(name)
    except (Exception, SystemExit) as error:
        if isinstance(error, EdgekitError) and not isinstance(error, StageError):
            raise
        with log.open("a") as file:
            failed = as_stage_error("variant", error, file)
        yield Failure(name, failed.stage, failed.cause, failed.remedy)
