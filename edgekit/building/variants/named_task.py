"""Tasks that another machine can do: network and data by name, opened there as they are here.

A live module, arrays and functions that a Python caller gave stay in the process that holds them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar

from edgekit.building.variants.base import MakerContext
from edgekit.data import DataSource, Splits, make_splits, open_source
from edgekit.errors import StageError, UserError
from edgekit.files import expanded
from edgekit.model import ModelRef, WeightsPart, identified, locate
from edgekit.reference import is_reference, locate_reference
from edgekit.types import Preprocess

__all__ = ["NamedTask", "Opened", "named_inputs", "why_it_stays"]


@dataclass(frozen=True)
class Opened:
    """What a task's names stand for on this machine. `task`: the task's own stage and names, for what is told."""

    ref: ModelRef
    source: DataSource
    splits: Splits
    task: NamedTask

    def other_network(self) -> StageError:
        """That it is not the one of the build."""
        return StageError(
            self.task.stage, f"{self.task.model} is another network here than where the build runs"
        )

    def other_data(self) -> StageError:
        """That they are not those of the build."""
        return StageError(
            self.task.stage, f"the data in {self.task.data} is not what it is where the build runs"
        )


@dataclass(frozen=True)
class NamedTask:
    """Where network and data lie: `model`, `weights`, `part`; `data` with what makes its splits.

    `project`: the working folder that names are relative to. `in_place`: the files and folders meant, which a worker
    has to see at the same path.
    """

    model: str
    weights: str | None
    part: WeightsPart
    data: str
    preprocess: Preprocess
    classes: tuple[str, ...] | None
    seed: int
    calibration_samples: int
    project: str
    in_place: tuple[str, ...]

    stage: ClassVar[str]

    @contextmanager
    def opened(self) -> Iterator[Opened]:
        """Network and data, in the working folder. Raises what opening them raises."""
        with working_in(Path(self.project)), TemporaryDirectory() as spool:
            ref = identified(locate(self.model, self.weights, self.part))
            source = open_source(self.data, self.preprocess, Path(spool), self.classes)
            splits = make_splits(source, seed=self.seed, calibration_samples=self.calibration_samples)
            yield Opened(ref, source, splits, self)


def named_inputs(context: MakerContext) -> dict[str, Any]:
    """The fields of a NamedTask about the build's network and data."""
    request, ref = context.request, context.model.ref
    classes = context.source.classes if request.classes is not None else None
    return {
        "model": ref.source,
        "weights": None if ref.weights is None else str(ref.weights),
        "part": ref.part,
        "data": str(request.data),
        "preprocess": request.preprocess,
        "classes": None if classes is None else tuple(classes),
        "seed": request.seed,
        "calibration_samples": request.calibration_samples,
        "project": str(Path.cwd()),
        "in_place": named_places(context),
    }


def why_it_stays(context: MakerContext) -> str:
    """What keeps a training in this process, in words; "" where it may travel."""
    request = context.request
    if request.teachers:
        return "other teachers are asked where the build runs"
    if context.model.module is not None:
        return "a live network cannot travel"
    if not isinstance(request.data, (str, Path)):
        return "data that is given from Python cannot travel"
    for spec in (request.train.loss, request.train.step):
        if spec is not None and not locate_reference(spec, UserError).file:
            return "a function that is given from Python cannot travel"
    return ""


def named_places(context: MakerContext) -> tuple[str, ...]:
    """The files and folders that a training opens: code, weights, data."""
    request, ref = context.request, context.model.ref
    places = [] if ref.weights is None else [str(ref.weights)]
    for spec in (ref.source, str(request.data), request.train.loss, request.train.step):
        if spec is None or spec == "digits":
            continue
        path = expanded(spec)
        if path.exists():
            places.append(str(path.absolute()))
        elif is_reference(spec):
            places.append(str(Path(locate_reference(spec, UserError).file).absolute()))
    return tuple(dict.fromkeys(places))


@contextmanager
def working_in(folder: Path) -> Iterator[None]:
    """The working folder, where it is there; what is absent from it is told by its own reader."""
    before = Path.cwd()
    if folder.is_dir():
        os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)
