"""Where a build's times of layers come from: a table that the user gives, or one that is measured on the board."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from edgekit.building.board import Board
from edgekit.building.cache import Cache
from edgekit.building.code import code_digest
from edgekit.building.executor import Executor
from edgekit.building.tasks import MixedWholeTask
from edgekit.building.time_limit import TimeLimit
from edgekit.devices import Device
from edgekit.errors import DeviceError, StageError, TimeLimitReached, UserError
from edgekit.files import sha256_file
from edgekit.latency import LatencyTable, MeasuredOn, load_table, open_table, save_table, units_of
from edgekit.latency.fusing import FUSING
from edgekit.latency.measuring import TimingOptions, describe_device, measure_exactly, measure_units
from edgekit.latency.mixed_wholes import correct_precisions
from edgekit.latency.onnx_layers import Integers
from edgekit.latency.precisions import precision_graph
from edgekit.latency.stored import default_table_path
from edgekit.latency.unit import UnitPrecision
from edgekit.progress import Reporter
from edgekit.quantize import PrecisionTimes
from edgekit.runtimes import RUNTIMES
from edgekit.types import Artifact, BackendName, Candidate, Variant

__all__ = ["TABLE_AUTO", "Exporting", "LayerTimes", "refuse_foreign_table", "timed_precision"]

TABLE_AUTO = "auto"
"""In the place of a table's file: the one in edgekit's cache, with what it lacks measured now."""

TABLE_SHARE = 0.25
"""Of a time limit, at most, for measuring layers."""


@dataclass(frozen=True)
class Exporting:
    """What makes whole networks that times are corrected by. `versions`: of the packages that export."""

    executor: Executor
    versions: Mapping[str, str]


@dataclass(frozen=True)
class LayerTimes:
    """`given`: the file, or TABLE_AUTO. `limit`: the build's, of which measuring takes a quarter at most.

    `table`: what the file holds. `told`: network and runtime → what was given of them before. `cache` keeps the table
    that a network was timed by: the one in edgekit's cache grows with every network, and a rerun by another table would
    make other plans. `exporting`: what makes the whole networks by which times in both precisions are corrected.
    """

    given: Path | str
    device: Device
    board: Board
    threads: int
    reporter: Reporter
    limit: TimeLimit | None = None
    table: LatencyTable | None = None
    cache: Cache | None = None
    exporting: Exporting | None = None
    told: dict[tuple[str, BackendName], PrecisionTimes | None] = field(default_factory=dict, compare=False)

    def __post_init__(self) -> None:
        # Read once for all that come of this one with another limit: the file may change meanwhile.
        if self.table is None and self.given != TABLE_AUTO:
            object.__setattr__(self, "table", load_table(Path(self.given)))

    @property
    def runtime(self) -> BackendName | None:
        """The one that a given table is of; None where it may be any."""
        return None if self._given is None else self._given.measured_on.runtime

    @property
    def _given(self) -> LatencyTable | None:
        return None if self.given == TABLE_AUTO else self.table

    def table_for(self, onnx: Path, runtime: BackendName, precision: UnitPrecision) -> LatencyTable:
        """Times for the float network at `onnx` in that runtime. Raises StageError where there are none."""
        if self._given is not None:
            return self._given
        if not self.board.is_real:
            raise StageError(
                "plan",
                f"{self.board.target.name} is not here, so its layers cannot be timed",
                "give a table that was measured there: edgekit latency measure",
            )
        try:
            return self._kept(onnx, runtime, precision, partial(measured_units, onnx, runtime, precision))
        except UserError as error:
            raise StageError("plan", str(error)) from error

    def precision_times(self, variant: Variant, runtime: BackendName) -> PrecisionTimes | None:
        """Times of a network's layers in float and in int8; None where they are not known, which is told once."""
        key = (variant.digest, runtime)
        if key not in self.told:
            try:
                self.told[key] = self._precision_times(Path(variant.onnx_path), runtime)
            except (UserError, StageError) as error:
                why = f"{error.cause}; {error.remedy}" if isinstance(error, StageError) else str(error)
                self.reporter.say(
                    f"{variant.id} in {RUNTIMES[runtime].title}: layers in float are chosen by accuracy alone: {why}"
                )
                self.told[key] = None
        return self.told[key]

    def _precision_times(self, onnx: Path, runtime: BackendName) -> PrecisionTimes | None:
        if runtime not in FUSING or self.runtime not in (None, runtime):
            return None
        graph = precision_graph(onnx, runtime)
        if self._given is not None:
            return graph.times(self._given)
        if not self.board.is_real:
            raise StageError("plan", f"{self.board.target.name} is not here, so its layers cannot be timed")
        table = self._kept(onnx, runtime, "both", partial(measure_exactly, units=graph.wanted()))
        times = graph.times(table)
        if self.exporting is None or self.cache is None:
            return times
        return self._corrected(onnx, runtime, times, self.exporting, self.cache)

    def _corrected(
        self, onnx: Path, runtime: BackendName, times: PrecisionTimes, exporting: Exporting, cache: Cache
    ) -> PrecisionTimes:
        """By whole networks, measured once; as they are where that does not work, which is told."""
        task = MixedWholeTask(
            str(onnx),
            sha256_file(onnx),
            runtime,
            self.board.target,
            tuple(sorted(self.board.features)),
            exporting.versions,
            times,
            0.0,
        )

        def build(share: float) -> Artifact:
            wanted = replace(task, float_time=share)
            artifact, folder = cache.answer(exporting.executor, wanted)
            return replace(artifact, folder=str(folder))

        def write(folder: Path) -> dict[str, Any]:
            with self.reporter.step("Timing whole networks in both precisions") as step:

                def tell(stage: str, entry: str, done: int, total: int) -> None:
                    step.advance(done / max(total, 1), entry)

                corrected = correct_precisions(self.device, times, build, threads=self.threads, progress=tell)
            return {"times": msgspec.to_builtins(corrected)}

        parts = {**task.key_parts(), "threads": self.threads}
        try:
            entry = cache.entry("mixed-times", parts, write)
        except (StageError, DeviceError) as error:
            why = error.cause if isinstance(error, StageError) else str(error)
            self.reporter.say(
                f"{RUNTIMES[runtime].title}: times of layers are not corrected by whole networks: {why}"
            )
            return times
        return msgspec.convert(entry.meta["times"], PrecisionTimes)

    def _kept(
        self, onnx: Path, runtime: BackendName, of: str, measure: Callable[..., LatencyTable]
    ) -> LatencyTable:
        """The table with what `measure` adds of the network; the store has it for a rerun. `of`: which precisions."""
        measured_on = describe_device(self.device, runtime, self.threads)
        if self.cache is None:
            return self._measured(measured_on, measure)

        def write(folder: Path) -> dict[str, Any]:
            save_table(self._measured(measured_on, measure), folder / "table.json")
            return {}

        parts = {
            "network": sha256_file(onnx),
            "measured_on": msgspec.to_builtins(measured_on),
            "precision": of,
            "target": self.board.target.name,
            "time_limit_s": None if self.limit is None else self.limit.limit_s,
            "latency": code_digest(("latency",)),
        }
        return load_table(self.cache.entry("times", parts, write).path / "table.json")

    def _measured(self, measured_on: MeasuredOn, measure: Callable[..., LatencyTable]) -> LatencyTable:
        """The table in edgekit's cache with what `measure` adds to it, as far as the time limit lets it."""
        path = default_table_path(measured_on)
        table = open_table(path, measured_on)
        rule = self.board.target.int8_rule(self.board.features)
        options = TimingOptions(self.threads, integers=Integers(rule.activation, rule.weight))
        ends_s = None if self.limit is None else self.limit.left_s() * (1 - TABLE_SHARE)

        with self.reporter.step("Timing single layers on the board") as step:

            def tell(stage: str, entry: str, done: int, total: int) -> None:
                step.advance(done / max(total, 1), entry)

            kept = [table]

            def keep(now: LatencyTable) -> None:
                save_table(now, path)
                kept[0] = now
                if ends_s is not None and self.limit is not None and self.limit.left_s() < ends_s:
                    raise TimeLimitReached("a quarter of the time limit went into timing layers")

            try:
                return measure(self.device, table, options=options, progress=tell, keep=keep)
            except TimeLimitReached as reached:
                self.reporter.say(f"{reached}: plans use what was timed until then")
                return kept[0]


def measured_units(
    onnx: Path,
    runtime: BackendName,
    precision: UnitPrecision,
    device: Device,
    table: LatencyTable,
    **how: Any,
) -> LatencyTable:
    """The table with the units of the network at `onnx`, which is read only where they are to be timed."""
    return measure_units(device, table, units_of(onnx, runtime, precision).to_measure, **how)


def timed_precision(lead: Candidate) -> UnitPrecision | None:
    """In which a table would hold the candidate's layers; None where none does."""
    if lead.precision == "fp32":
        return "fp32"
    return "int8" if lead.precision == "int8" else None


def refuse_foreign_table(given: Path | str, board: Board, threads: int) -> None:
    """A file that is no table, or is of a runtime or a number of threads that the build has not. Raises UserError."""
    if given == TABLE_AUTO:
        return
    place = load_table(Path(given)).measured_on
    if board.target.runtime(place.runtime) is None:
        raise UserError(
            f"the times in {given} are of {place.runtime}, which {board.target.name} does not run",
            allowed=", ".join(runtime.name for runtime in board.target.runtimes),
        )
    if place.threads != threads:
        raise UserError(
            f"the times in {given} are of {place.threads} threads, and the build is for {threads}",
            remedy=f"--threads {place.threads}, or another table",
        )
    if place.arch != board.target.architecture:
        raise UserError(
            f"the times in {given} are of a {place.arch} machine, and {board.target.name} is "
            f"{board.target.architecture}"
        )
