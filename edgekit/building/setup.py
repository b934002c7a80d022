"""Everything that can be wrong with a request is found here, before any work is done."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from edgekit.building.board import Board, Runtimes, find_board, find_runtimes
from edgekit.building.executor import check_executor
from edgekit.building.given import GivenModel, locate_model, locate_student, locate_teachers
from edgekit.building.layer_times import refuse_foreign_table
from edgekit.building.numbers import refuse_bad_numbers
from edgekit.building.request import BuildRequest, TeacherSpec
from edgekit.building.time_limit import TimeLimit
from edgekit.bundle import check_replaceable
from edgekit.choose import check_budget
from edgekit.compress import load_loss, load_step
from edgekit.data import Splits, check_data, check_place, from_python, make_splits, open_source, read_classes
from edgekit.devices import DEFAULT_DEVICE, Device, check_device, local_machine, make_device
from edgekit.errors import DataError, OutputError, UserError
from edgekit.files import check_own_file
from edgekit.hardware import AUTO, Machine, Target, find_target, fitting_targets
from edgekit.measure import find_metric
from edgekit.quantize import ladder
from edgekit.runtimes import RUNTIMES, near_runtimes
from edgekit.store import Store

if TYPE_CHECKING:
    from edgekit.data import DataSource

__all__ = ["Setting", "prepare"]


@dataclass(frozen=True)
class Setting:
    """A request with everything it names found and checked. `started` is on time.monotonic()'s clock.

    `facts`: what the device says of itself; `host`: this machine, which exports and compares. `student`: the network
    that is to learn from the model, if there is one. `teachers`: those that the request or its stages name.
    """

    request: BuildRequest
    board: Board
    device: Device
    facts: Mapping[str, Any]
    host: Machine
    runtimes: Runtimes
    model: GivenModel
    source: DataSource
    splits: Splits
    store: Store
    project: Path
    started: float
    warnings: tuple[str, ...]
    student: GivenModel | None = None
    teachers: Mapping[TeacherSpec, GivenModel] = field(default_factory=dict)

    @property
    def time_limit(self) -> TimeLimit | None:
        """The request's, from when it was read."""
        limit_s = self.request.time_limit_s
        return None if limit_s is None else TimeLimit(limit_s, self.started + limit_s)


def prepare(request: BuildRequest, warn: Callable[[str], None]) -> Setting:
    """Resolve and check the request; `warn` is told of what had to be mended in the store, and of what `auto` is.

    Raises UserError (a subclass per cause) with one line.
    """
    started = time.monotonic()
    refuse_bad_numbers(request)
    check_budget(request.budget)
    project = Path.cwd()
    target = asked_target(request, project, warn)
    refuse_impossible_runtimes(request, target)
    refuse_impossible_precisions(request, target)
    refuse_impossible_qat(request, target)
    check_references(request, project)
    check_output(request.out)
    if isinstance(request.data, (str, Path)):
        check_place(request.data, named=request.classes is not None)
    model = locate_model(request)
    student = locate_student(request)
    teachers = locate_teachers(request, model)
    store = Store.open(request.store, warn)
    device = make_device(
        request.device, store.workspace("device"), tell=lambda told: warn(told) if told else None
    )
    facts = device.describe()
    board = find_board(target, device, facts)
    runtimes = find_runtimes(request, target, None if board.absent else facts)
    if request.latency_table is not None:
        refuse_foreign_table(request.latency_table, board, request.threads)
    source = open_data(request, store.folder / "spool")
    splits = make_splits(source, seed=request.seed, calibration_samples=request.calibration_samples)
    if (request.qat == "always" or request.pipeline) and splits.train is None:
        asking = "--pipeline" if request.pipeline else "--qat always"
        raise DataError(f"{asking}: there are no training samples", remedy="give the data a train part")
    warnings = (*model.ref.notes, *splits.warnings, *check_data(source, splits, metric=request.metric))
    return Setting(
        request=request,
        board=board,
        device=device,
        facts=facts,
        host=board.machine if device.is_here else local_machine(),
        runtimes=runtimes,
        model=model,
        source=source,
        splits=splits,
        store=store,
        project=project,
        started=started,
        warnings=warnings,
        student=student,
        teachers=teachers,
    )


def asked_target(request: BuildRequest, project: Path, tell: Callable[[str], None]) -> Target:
    """The target of that name; `auto` is what the device is, and told with the reason. Raises UnknownTargetError."""
    if request.target != AUTO:
        return find_target(request.target, project)
    check_device(request.device)
    with TemporaryDirectory(prefix="edgekit-") as work:
        machine = Machine.from_facts(make_device(request.device, Path(work)).describe())
    target, *others = fitting_targets(machine, project)
    why = f"; it is also {', '.join(other.name for other in others)}, which say less of it" if others else ""
    which = "this machine" if request.device == DEFAULT_DEVICE else request.device
    tell(f"target: {target.name} ({target.title}), which {which} is{why}")
    return target


def refuse_impossible_runtimes(request: BuildRequest, target: Target) -> None:
    """Each runtime that is asked for has to be known, and one of the target's. Raises UserError."""
    offered = [runtime.name for runtime in target.runtimes]
    for name in request.backends or ():
        if name not in RUNTIMES:
            raise UserError(f'no runtime "{name}"', allowed=", ".join(RUNTIMES), remedy=near_runtimes(name))
        if name not in offered:
            raise UserError(f"{target.name} does not run {RUNTIMES[name].title}", allowed=", ".join(offered))


def refuse_impossible_precisions(request: BuildRequest, target: Target) -> None:
    """A user who asks only for what the board lacks is told before anything else."""
    if request.precisions is None:
        return
    offered = {precision for runtime in target.runtimes for precision in runtime.precisions}
    if not offered.intersection(request.precisions):
        asked = request.precisions[0]
        lacking = target.lacks(asked)
        reason = f"{lacking.reason}; {lacking.instead}" if lacking else ""
        raise UserError(
            f"{target.name} cannot run {asked}", allowed=", ".join(sorted(offered)), remedy=reason
        )


def refuse_impossible_qat(request: BuildRequest, target: Target) -> None:
    """Training for integers that is asked for needs a runtime with INT8 that it can be for. Raises UserError."""
    in_stage = next((stage.name for stage in request.pipeline if stage.method == "qat"), "")
    if request.qat != "always" and not in_stage:
        return
    asking = in_stage or "--qat always"
    trainable = [name for name, row in RUNTIMES.items() if row.trained_recipe]
    if request.precisions is not None and "int8" not in request.precisions:
        raise UserError(
            f"{asking} trains for INT8, which --precision leaves out",
            remedy=f"add int8 to it, or leave out {'that stage' if in_stage else '--qat'}",
        )
    having = [runtime.name for runtime in target.runtimes if "int8" in runtime.precisions]
    if not having:
        lack = target.lacks("int8")
        raise UserError(
            f"{asking}: {target.name} has no int8" + (f": {lack.reason}" if lack else ""),
            allowed="a pipeline without it" if in_stage else "--qat auto, --qat never",
            remedy=lack.instead if lack else "",
        )
    if not set(request.wants(having)).intersection(trainable):
        raise UserError(
            f"{asking}: networks are not trained for the integers of {', '.join(request.wants(having) or having)}",
            allowed=", ".join(trainable),
        )


def check_references(request: BuildRequest, project: Path) -> None:
    """Names that the request gives are looked up now, not after an hour of training."""
    if request.metric is not None:
        find_metric(request.metric)
    check_executor(request.executor)
    check_device(request.device)
    for blocks, done in ((request.drop, "dropped"), (request.merge, "merged")):
        if blocks and not request.prune:
            raise UserError(
                f"blocks are to be {done}, but nothing is to be trained", remedy="leave out --no-prune"
            )
    if request.teachers and not request.trains:
        raise UserError("teachers are named, but nothing is to be trained", remedy="leave out --no-prune")
    if not isinstance(request.latency_table, (str, Path, type(None))):
        raise UserError(
            f"latency_table is a {type(request.latency_table).__name__}", allowed='a file, or "auto"'
        )
    if request.recipe is not None:
        ladder(request.recipe, project)
    if request.train.loss is not None:
        load_loss(request.train.loss)
    if request.train.step is not None:
        load_step(request.train.step)


def check_output(out: Path) -> None:
    """The output folder must be writable, or creatable, and hold nothing else under the names that are written.

    Nothing is made yet: a refused build leaves no trace. Raises OutputError.
    """
    place = next(folder for folder in (out.absolute(), *out.absolute().parents) if folder.exists())
    if not place.is_dir():
        raise OutputError(f"--out {out}: {place} is a file", remedy="give a folder")
    if not os.access(place, os.W_OK | os.X_OK):
        raise OutputError(
            f"--out {out}: {place} cannot be written", remedy="give a folder that you may write"
        )
    for name in ("result.json", "report.html"):
        check_own_file(out / name)
    check_replaceable(out / "bundle")


def open_data(request: BuildRequest, cache: Path) -> DataSource:
    """The data as a source, whichever way it was given."""
    data, classes = request.data, request.classes
    if isinstance(classes, (str, Path)):
        classes = read_classes(Path(classes))
    if isinstance(data, (str, Path)):
        return open_source(data, request.preprocess, cache, classes)
    return from_python(data, request.preprocess, cache, classes)
