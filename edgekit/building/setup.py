"""Everything that can be wrong with a request is found here, before any work is done."""

from __future__ import annotations

import copy
import os
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from edgekit.backends import get_backend, usable_backends
from edgekit.board.runtimes import find_runtime
from edgekit.building.executor import EXECUTORS, make_executor
from edgekit.building.numbers import refuse_bad_numbers
from edgekit.building.reading import read_weights
from edgekit.building.request import BuildRequest
from edgekit.building.time_limit import TimeLimit
from edgekit.bundle import check_replaceable
from edgekit.choose import check_budget
from edgekit.compress import load_loss, load_step
from edgekit.data import Splits, check_data, from_python, make_splits, open_source, read_classes
from edgekit.devices import DEVICES, Device, make_device
from edgekit.errors import OutputError, UserError
from edgekit.files import check_own_file
from edgekit.hardware import AUTO, Machine, Target, find_target, fitting_targets
from edgekit.measure import find_metric
from edgekit.model import ModelRef, identified, load_module, locate, locate_module, unwrapped
from edgekit.quantize import ladder
from edgekit.runtimes import RUNTIMES, near_runtimes
from edgekit.store import Store
from edgekit.types import BackendName

if TYPE_CHECKING:
    import torch

    from edgekit.data import DataSource

__all__ = ["Board", "GivenModel", "Runtimes", "Setting", "prepare"]


@dataclass(frozen=True)
class Board:
    """The target, and the machine that is it or stands in for it. `absent`: why it is not; empty when it is."""

    target: Target
    machine: Machine
    absent: tuple[str, ...]

    @property
    def features(self) -> frozenset[str]:
        """CPU features of the board: the machine's, or what every such board has while it is not here."""
        return self.target.assumed_features if self.absent else self.machine.features


@dataclass(frozen=True)
class Runtimes:
    """Of the target and asked for: those usable, what the others lack, and the versions of what exports."""

    usable: tuple[BackendName, ...]
    unusable: Mapping[BackendName, str]
    versions: Mapping[str, str]


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


@dataclass(frozen=True)
class Setting:
    """A request with everything it names found and checked. `started` is on time.monotonic()'s clock."""

    request: BuildRequest
    board: Board
    device: Device
    runtimes: Runtimes
    model: GivenModel
    source: DataSource
    splits: Splits
    store: Store
    project: Path
    started: float
    warnings: tuple[str, ...]

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
    check_references(request, project)
    check_output(request.out)
    model = locate_model(request)
    store = Store.open(request.store, warn)
    device = make_device(request.device, store.workspace("device"))
    facts = device.describe()
    machine = Machine.from_facts(facts)
    absent = target.misfits(machine)
    runtimes = find_runtimes(request, target, None if absent else facts)
    source = open_data(request, store.folder / "spool")
    splits = make_splits(source, seed=request.seed, calibration_samples=request.calibration_samples)
    warnings = (*model.ref.notes, *splits.warnings, *check_data(source, splits, metric=request.metric))
    return Setting(
        request=request,
        board=Board(target, machine, absent),
        device=device,
        runtimes=runtimes,
        model=model,
        source=source,
        splits=splits,
        store=store,
        project=project,
        started=started,
        warnings=warnings,
    )


def asked_target(request: BuildRequest, project: Path, tell: Callable[[str], None]) -> Target:
    """The target of that name; `auto` is what the device is, and told with the reason. Raises UnknownTargetError."""
    if request.target != AUTO:
        return find_target(request.target, project)
    check_device(request)
    with TemporaryDirectory(prefix="edgekit-") as work:
        machine = Machine.from_facts(make_device(request.device, Path(work)).describe())
    target, *others = fitting_targets(machine, project)
    why = f"; it is also {', '.join(other.name for other in others)}, which say less of it" if others else ""
    tell(f"target: {target.name} ({target.title}), which this machine is{why}")
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


def check_references(request: BuildRequest, project: Path) -> None:
    """Names that the request gives are looked up now, not after an hour of training."""
    if request.metric is not None:
        find_metric(request.metric)
    if request.executor not in EXECUTORS:
        raise UserError(f'no executor "{request.executor}"', allowed=", ".join(EXECUTORS))
    check_device(request)
    if request.recipe is not None:
        ladder(request.recipe, project)
    if request.train.loss is not None:
        load_loss(request.train.loss)
    if request.train.step is not None:
        load_step(request.train.step)


def check_device(request: BuildRequest) -> None:
    """Raises UserError for a device that there is not."""
    if request.device not in DEVICES:
        trains = request.device in ("auto", "cpu", "cuda", "gpu")
        remedy = 'where networks are trained is train={"device": "cuda"}' if trains else ""
        raise UserError(f'no device "{request.device}"', allowed=", ".join(DEVICES), remedy=remedy)


def find_runtimes(request: BuildRequest, target: Target, facts: Mapping[str, Any] | None) -> Runtimes:
    """The target's runtimes that were asked for. Raises UserError when none of them is usable.

    Two things have to hold: this machine makes artifacts for it (its extra is installed here), and the device runs it.
    `facts`: what the device's `describe` says; None while the board is not here, which is then taken to have them all.
    """
    makes = usable_backends()
    wanted = request.wants([runtime.name for runtime in target.runtimes])
    unusable: dict[BackendName, str] = {}
    for name in wanted:
        lacking = makes[name]
        if lacking is not None:
            unusable[name] = lacking
        elif facts is not None and name not in facts["runtimes"]:
            line = find_runtime(name).install
            unusable[name] = f"{RUNTIMES[name].title} is not installed on {facts['machine']}: {line}"
    usable = tuple(name for name in wanted if name not in unusable)
    if not usable:
        raise UserError(f"no runtime of {target.name} is usable here: {'; '.join(unusable.values())}")
    versions: dict[str, str] = {}
    for name in usable:
        versions.update(get_backend(name).versions())
    return Runtimes(usable, unusable, versions)


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


def locate_model(request: BuildRequest) -> GivenModel:
    """Where the model is, with a digest of all that it depends on; a factory is called for that. Raises ModelError."""
    name = request.describe_model()
    if isinstance(request.model, (str, Path)):
        ref = locate(request.model, request.weights)
        if ref.weights is not None:
            with closing(make_executor(request.executor)) as executor:
                read_weights(executor, ref.weights)
        return GivenModel(identified(ref), None, name)
    network = unwrapped(request.model)
    return GivenModel(locate_module(network), network, name)


def open_data(request: BuildRequest, cache: Path) -> DataSource:
    """The data as a source, whichever way it was given."""
    data, classes = request.data, request.classes
    if isinstance(classes, (str, Path)):
        classes = read_classes(Path(classes))
    if isinstance(data, (str, Path)):
        return open_source(data, request.preprocess, cache, classes)
    return from_python(data, request.preprocess, cache, classes)
