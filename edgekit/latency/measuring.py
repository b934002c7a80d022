"""Measuring units on a device: small networks of copies of each, timed together; and whole networks likewise."""

from __future__ import annotations

import math
import tempfile
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit.backends.onnxruntime.export import KEEP_FLOAT
from edgekit.board.machine import first_cpus
from edgekit.errors import DeviceError, StageError
from edgekit.latency.fusing import FUSING
from edgekit.latency.grid import first_points, further_points, missing
from edgekit.latency.handing_out import subtracted
from edgekit.latency.interpolation import LEAST_MS
from edgekit.latency.litert_layers import write_tflite
from edgekit.latency.onnx_layers import UNSIGNED, Integers, write_onnx
from edgekit.latency.table import LatencyTable, MeasuredOn, TimedUnit
from edgekit.latency.transitions import CHAINS, transition_ms, write_chain
from edgekit.latency.unit import Unit
from edgekit.types import Artifact, BackendName, Estimate

if TYPE_CHECKING:
    from edgekit.devices.base import Device, JobProgress

__all__ = ["TimingOptions", "describe_device", "measure_exactly", "measure_units", "measure_wholes"]

FEW, MANY = 1, 5
"""Copies of a unit in its two networks: what they differ by is copies alone, whatever a session costs besides."""

AT_ONCE = 240
"""Artifacts of one job: what is lost when it is stopped."""

QUARTILE = 0.25
"""Of an artifact's rounds: what counts, as within each round. See `board/together.py`."""

OPTIONS: Mapping[BackendName, Mapping[str, str]] = {"openvino": {"INFERENCE_PRECISION_HINT": "f32"}}
"""With what the runtimes open single units: as edgekit's exporters have it for float and INT8 networks."""

MIXED: Mapping[BackendName, Mapping[str, str]] = {"onnxruntime": KEEP_FLOAT}
"""Further options of networks in both precisions, as edgekit's exporters have them."""


@dataclass(frozen=True)
class TimingOptions:
    """`seconds` of timed runs of each artifact over all `rounds`; `integers` as the target wants them."""

    threads: int = 1
    rounds: int = 9
    seconds: float = 0.08
    seed: int = 0
    integers: Integers = UNSIGNED


def describe_device(device: Device, runtime: BackendName, threads: int) -> MeasuredOn:
    """The device as a table is for it. Raises DeviceError where it has not that runtime, or is emulated."""
    from edgekit.board.runtimes import find_runtime

    facts = device.describe()
    if runtime not in facts["runtimes"]:
        raise DeviceError(
            f"{runtime} is not installed on {device.name}",
            allowed=", ".join(facts["runtimes"]) or "none is there",
            remedy=f"there: {find_runtime(runtime).install}",
        )
    if facts["emulated"]:
        raise DeviceError(f"{device.name} is emulated: how long a layer takes there says nothing of a board")
    versions = [
        facts["versions"][name] for name in find_runtime(runtime).packages if name in facts["versions"]
    ]
    return MeasuredOn(
        facts["machine"], facts["cpu"], facts["arch"], tuple(sorted(facts["features"])), runtime,
        versions[0] if versions else "unknown", threads,
    )  # fmt: skip


def measure_units(
    device: Device,
    table: LatencyTable,
    units: Sequence[Unit],
    options: TimingOptions = TimingOptions(),
    *,
    progress: JobProgress | None = None,
    keep: Callable[[LatencyTable], None] = lambda table: None,
    refinements: int = 2,
) -> LatencyTable:
    """The table with all that it lacks for every width that a plan of a network with these units may have.

    First coarse grids, then `refinements` times what lies between where time does not follow from them. `keep` gets the
    table after each job. Raises StageError when a unit cannot be measured, and what the device raises.
    """
    points = missing(table, _with_subtracted(first_points(units), table.measured_on.runtime))
    for _ in range(refinements + 1):
        for start in range(0, len(points), AT_ONCE // 2):
            batch = points[start : start + AT_ONCE // 2]
            table = table.with_timed(_measured(device, table, batch, options, progress))
            keep(table)
        # What these are subtracted from may not be known either: of the coarse grid only the large ones were thinned.
        further = _with_subtracted(further_points(table, units), table.measured_on.runtime)
        points = missing(table, further)
        if not points:
            break
    return table


def measure_exactly(
    device: Device,
    table: LatencyTable,
    units: Sequence[Unit],
    options: TimingOptions = TimingOptions(),
    *,
    progress: JobProgress | None = None,
    keep: Callable[[LatencyTable], None] = lambda table: None,
) -> LatencyTable:
    """The table with these very units, of which it may tell some already; transitions among them. See measure_units."""
    lacking = [unit for unit in dict.fromkeys(units) if table.predict(unit).latency_ms is None]
    layers = [unit for unit in lacking if unit.family.kind != "transition"]
    points = missing(table, _with_subtracted(layers, table.measured_on.runtime))
    for start in range(0, len(points), AT_ONCE // 2):
        batch = points[start : start + AT_ONCE // 2]
        table = table.with_timed(_measured(device, table, batch, options, progress))
        keep(table)
    borders = [unit for unit in lacking if unit.family.kind == "transition"]
    for start in range(0, len(borders), AT_ONCE // len(CHAINS)):
        some = borders[start : start + AT_ONCE // len(CHAINS)]
        table = table.with_timed(_transitions(device, table.measured_on.runtime, some, options, progress))
        keep(table)
    return table


def _transitions(
    device: Device,
    runtime: BackendName,
    batch: Sequence[Unit],
    options: TimingOptions,
    progress: JobProgress | None,
) -> list[TimedUnit]:
    """One job of chains."""
    with tempfile.TemporaryDirectory(prefix="edgekit-latency-") as scratch:
        artifacts = []
        for index, unit in enumerate(batch):
            for chain in CHAINS:
                path = Path(scratch) / f"{index}-{chain}{'.tflite' if runtime == 'litert' else '.onnx'}"
                write_chain(unit, chain, runtime, path, options.integers)
                artifacts.append((path.stem, path, {**OPTIONS.get(runtime, {}), **MIXED.get(runtime, {})}))
        rounds = _timed(device, runtime, artifacts, options, progress)
    timed = []
    for index, unit in enumerate(batch):
        value, by_round = transition_ms([rounds[f"{index}-{chain}"] for chain in CHAINS])
        value = max(value, LEAST_MS)
        error = 1.96 * _error(by_round)
        timed.append(TimedUnit(unit, Estimate(value, max(value - error, LEAST_MS), value + error)))
    return timed


def _with_subtracted(points: Sequence[Unit], runtime: BackendName) -> tuple[Unit, ...]:
    """The points, behind those that have to be known to know them: of these the ends of a line are enough."""
    if runtime == "litert":
        return tuple(points)
    needed: dict[Unit, None] = {}
    for unit in points:
        for part in subtracted(unit):
            needed.update((inner, None) for inner in subtracted(part))
            needed[part] = None
    ends: dict[Any, list[Unit]] = {}
    for part in needed:
        ends.setdefault(part.family, []).append(part)
    kept = [
        unit
        for group in ends.values()
        for unit in {
            min(group, key=lambda u: u.channels_in): None,
            max(group, key=lambda u: u.channels_in): None,
        }
    ]
    order = {"add": 0, "maxpool": 1}
    kept.sort(key=lambda unit: order.get(unit.family.kind, 2))
    chained = [unit for unit in points if unit.family.kind == "add"]
    return tuple(dict.fromkeys((*chained, *kept, *points)))


def _measured(
    device: Device,
    table: LatencyTable,
    batch: Sequence[Unit],
    options: TimingOptions,
    progress: JobProgress | None,
) -> list[TimedUnit]:
    """One job. Units that others are subtracted from come first in `batch`, or are in the table."""
    runtime = table.measured_on.runtime
    with tempfile.TemporaryDirectory(prefix="edgekit-latency-") as scratch:
        artifacts = []
        for index, unit in enumerate(batch):
            for copies in (FEW, MANY):
                path = Path(scratch) / f"{index}-{copies}{'.tflite' if runtime == 'litert' else '.onnx'}"
                _write(runtime, unit, copies, path, options)
                artifacts.append((path.stem, path, OPTIONS.get(runtime, {})))
        rounds = _timed(device, runtime, artifacts, options, progress)
    timed: list[TimedUnit] = []
    for index, unit in enumerate(batch):
        few, many = rounds[f"{index}-{FEW}"], rounds[f"{index}-{MANY}"]
        known = table.with_timed(timed)
        parts = () if runtime == "litert" else subtracted(unit)
        others = [known.predict(part).latency_ms for part in parts]
        if any(other is None for other in others):
            raise StageError("measure", f"{unit.text()}: what its copies cost besides is not known")
        timed.append(TimedUnit(unit, difference(few, many, sum(other.value for other in others if other))))
    return timed


def _write(runtime: BackendName, unit: Unit, copies: int, path: Path, options: TimingOptions) -> None:
    if runtime == "litert":
        write_tflite(unit, copies, path)
    else:
        write_onnx(unit, copies, path, options.integers, rounds_results=FUSING[runtime].rounds_results)


def difference(few: Sequence[float], many: Sequence[float], besides_ms: float) -> Estimate:
    """Time of a single copy, of the rounds of two networks; `besides_ms`: what is not the unit's in each copy.

    The interval is that of the quartiles' difference: the standard error of a normal sample's quartile is
    1.363 σ/√n (Kendall and Stuart, The Advanced Theory of Statistics, 10.10), σ from the lower half of the rounds.
    """
    copies = MANY - FEW
    value = (_quartile(many) - _quartile(few)) / copies - besides_ms
    error = math.hypot(_error(few), _error(many)) / copies
    value = max(value, LEAST_MS)
    return Estimate(value, max(value - 1.96 * error, LEAST_MS), value + 1.96 * error)


def _quartile(rounds: Sequence[float]) -> float:
    return float(np.quantile(rounds, QUARTILE))


def _error(rounds: Sequence[float]) -> float:
    """Standard error of the lower quartile."""
    sigma = 2 * (float(np.median(rounds)) - _quartile(rounds)) / 1.349
    return 1.363 * sigma / math.sqrt(len(rounds))


def measure_wholes(
    device: Device,
    artifacts: Mapping[str, Artifact],
    options: TimingOptions = TimingOptions(),
    progress: JobProgress | None = None,
) -> dict[str, Estimate]:
    """Name → time of whole networks, in interleaved rounds of one job, by the same quartile as single units.

    Raises StageError when one of them cannot be measured.
    """
    rows = [
        (name, Path(artifact.folder) / artifact.entry, dict(artifact.options))
        for name, artifact in artifacts.items()
    ]
    runtime = next(iter(artifacts.values())).backend
    rounds = _timed(device, runtime, rows, options, progress)
    told = {}
    for name, medians in rounds.items():
        value, error = _quartile(medians), 1.96 * _error(medians)
        told[name] = Estimate(value, value - error, value + error)
    return told


def _timed(
    device: Device,
    runtime: BackendName,
    artifacts: Sequence[tuple[str, Path, Mapping[str, str]]],
    options: TimingOptions,
    progress: JobProgress | None,
) -> dict[str, list[float]]:
    """Name → the figure of each round, of artifacts (name, file, options) in one process of the device."""
    run = f"run-{uuid.uuid4().hex[:12]}"
    files, entries = [], []
    for index, (name, path, opened) in enumerate(artifacts):
        place = f"{run}/{index}"
        files += [(path, f"{place}/{path.name}"), *((file, f"{place}/{file.name}") for file in _beside(path))]
        entry = {"id": name, "runtime": runtime, "path": f"{place}/{path.name}", "options": dict(opened)}
        entries.append(entry)
    device.push(files)
    job = {
        "schema": 1,
        "together": True,
        "seed": options.seed,
        "threads": options.threads,
        "cpus": list(first_cpus(device.describe(), options.threads)),
        "rounds": options.rounds,
        "seconds": options.seconds,
        "timeout_s": 60.0 + len(artifacts) * (options.seconds * 4 + 2.0),
        "entries": entries,
    }
    result = device.run(job, timeout_s=2 * float(job["timeout_s"]), progress=progress)  # type: ignore[arg-type]
    for name, entry in result["entries"].items():
        if entry["status"] != "ok":
            raise StageError("measure", f"{name}: {entry['cause']}")
    return {name: list(entry["rounds_ms"]) for name, entry in result["entries"].items()}


def _beside(path: Path) -> tuple[Path, ...]:
    """The weights of OpenVINO's .xml."""
    weights = path.with_suffix(".bin")
    return (weights,) if path.suffix == ".xml" and weights.is_file() else ()
