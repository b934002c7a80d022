"""Measuring artifacts on a device: artifacts become one job, its result measurements or failures."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit.board.machine import first_cpus
from edgekit.board.rounds import PAUSES
from edgekit.devices.base import Device, JobProgress
from edgekit.devices.layers import LayerRequest, LayersTold, read_told
from edgekit.files import full_disk, is_starved, tells_full
from edgekit.measure.entries import entry_energy, entry_latency
from edgekit.measure.environment import read_environment
from edgekit.types import (
    Artifact,
    Failure,
    Measurement,
    Origin,
    Signature,
    Steadiness,
    TensorSpec,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["MeasureOptions", "Measured", "measure", "read_raw_signature"]

PLACE = re.compile(r"\S*/run-[0-9a-f]{12}/[0-9]+/")  # of an artifact on the device, in a runtime's message


@dataclass(frozen=True)
class MeasureOptions:
    """How to measure. `seconds`: timed time per artifact, 0 for no timing.

    `cpus`: pinned to these; None for the device's first `threads` ones, empty for no pinning.

    `rounds` interleaved rounds; `warmup_s` caps the warm-up, `timeout_s` all stages, both per artifact. A throttled or
    drifting run is repeated `repeats` times, after `pause_s` or until the board has cooled down (at most PAUSES times
    that); with `strict` one that still is so is a Failure.

    `energy`: measured in rounds of their own, by `meter` (a command, word by word, that prints watts), else by what the
    board has. `power_mode`: a name of `describe()["power_modes"]`, set meanwhile and put back.
    """

    threads: int = 1
    cpus: tuple[int, ...] | None = None
    seconds: float = 5.0
    rounds: int = 12
    warmup_s: float = 3.0
    seed: int = 0
    timeout_s: float = 900.0
    repeats: int = 1
    pause_s: float = 5.0
    strict: bool = False
    energy: bool = False
    meter: tuple[str, ...] = ()
    power_mode: str | None = None


@dataclass(frozen=True)
class Measured:
    """What came back of one artifact.

    `outputs`: output name → .npy file [N, ...] on this machine, in the signature's order (empty without
    samples). `runtime`: what the runtime says of itself, e.g. the precision it infers in. `notes` are
    sentences. `layers`: None where they were not asked for.
    """

    measurement: Measurement
    signature: Signature
    outputs: Mapping[str, Path] = field(default_factory=dict)
    runtime: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    layers: LayersTold | None = None

    def load_outputs(self) -> dict[str, NDArray[np.generic]]:
        """The outputs, memory-mapped."""
        opened = {
            name: np.load(path, mmap_mode="r", allow_pickle=False) for name, path in self.outputs.items()
        }
        return dict(opened)


def measure(
    device: Device,
    artifacts: Sequence[Artifact],
    *,
    folder: Path,
    options: MeasureOptions = MeasureOptions(),
    feeds: Mapping[str, NDArray[np.generic]] | None = None,
    samples: Mapping[str, Path] | None = None,
    origin: Origin | None = None,
    progress: JobProgress | None = None,
    within_s: float | None = None,
    layers: LayerRequest | None = None,
) -> dict[str, Measured | Failure]:
    """Measure artifacts against each other, in interleaved rounds of one job; candidate id → result.

    `feeds`: input name → batch-1 array that is timed; random ones of the signature's shape without it.
    `samples`: input name → .npy file [N, ...] whose outputs are written into `folder`, one sub-folder per
    candidate. `origin` is the device's own unless given. `within_s`: less time than the options allow. `layers`: the
    times of layers are asked for, after everything else. A candidate that fails is a Failure; raises StageError when
    the runner itself dies or its time is over, OSError when the disk is full, ValueError on two artifacts of one
    candidate.
    """
    names = [artifact.candidate for artifact in artifacts]
    if len(set(names)) != len(names):
        raise ValueError(f"two artifacts of one candidate: {names}")
    if not artifacts:
        return {}
    folder.mkdir(parents=True, exist_ok=True)
    run = f"run-{uuid.uuid4().hex[:12]}"
    if options.cpus is None:
        options = replace(options, cpus=tuple(first_cpus(device.describe(), options.threads)))
    files, job = _make_job(artifacts, run, folder, options, feeds, samples, layers)
    device.push(files)
    limit_s = options.timeout_s * len(artifacts) + 60.0 + options.repeats * PAUSES * options.pause_s
    if within_s is not None:
        limit_s = min(limit_s, within_s)
    result = device.run(job, timeout_s=limit_s, progress=progress)
    _refuse_full_disk(result["entries"].values(), folder)
    reader = _Reader(device, result, options, origin or device.origin, folder)
    return {
        artifact.candidate: reader.read(artifact, result["entries"][artifact.candidate])
        for artifact in artifacts
    }


def _refuse_full_disk(entries: Iterable[Mapping[str, Any]], folder: Path) -> None:
    """Raises OSError where an entry failed for want of room: that says nothing of the candidate."""
    for entry in entries:
        if entry["status"] != "ok" and (tells_full(entry["cause"]) or is_starved(folder)):
            raise full_disk(folder)


def _make_job(
    artifacts: Sequence[Artifact],
    run: str,
    folder: Path,
    options: MeasureOptions,
    feeds: Mapping[str, NDArray[np.generic]] | None,
    samples: Mapping[str, Path] | None,
    layers: LayerRequest | None = None,
) -> tuple[list[tuple[Path, str]], dict[str, Any]]:
    """Files to push as (local path, name on the device), and the job that names them."""
    files: list[tuple[Path, str]] = []
    feed_names, sample_names = {}, {}
    for index, (name, array) in enumerate((feeds or {}).items()):
        path = folder / f"feed-{index}.npy"
        np.save(path, array, allow_pickle=False)
        feed_names[name] = f"{run}/feed-{index}.npy"
        files.append((path, feed_names[name]))
    for index, (name, path) in enumerate((samples or {}).items()):
        sample_names[name] = f"{run}/samples-{index}.npy"
        files.append((path, sample_names[name]))
    entries = []
    for index, artifact in enumerate(artifacts):
        place = f"{run}/{index}"
        for file in artifact.files:
            files.append((Path(artifact.folder) / file.path, f"{place}/{file.path}"))
        entry: dict[str, Any] = {
            "id": artifact.candidate,
            "runtime": artifact.backend,
            "path": f"{place}/{artifact.entry}",
            "options": dict(artifact.options),
            "feeds": feed_names,
        }
        if sample_names:
            entry["evaluate"] = {"inputs": sample_names, "outputs": f"{place}/outputs"}
        if layers is not None:
            entry["layers"] = layers.entry()
            files += layers.files(place)
        entries.append(entry)
    job = {
        "schema": 1,
        "seed": options.seed,
        "threads": options.threads,
        "cpus": list(options.cpus or ()) or None,
        "rounds": options.rounds,
        "seconds": options.seconds,
        "warmup_s": options.warmup_s,
        "timeout_s": options.timeout_s,
        "repeats": options.repeats,
        "pause_s": options.pause_s,
        "energy": {"meter": list(options.meter)} if options.energy and options.seconds > 0 else None,
        "power_mode": options.power_mode,
        "entries": entries,
    }
    return files, job


@dataclass(frozen=True)
class _Reader:
    """Turns entries of one result into values."""

    device: Device
    result: Mapping[str, Any]
    options: MeasureOptions
    origin: Origin
    folder: Path

    def read(self, artifact: Artifact, entry: Mapping[str, Any]) -> Measured | Failure:
        if entry["status"] != "ok":
            remedy = entry["stderr"][-1].strip() if entry["signal"] and entry["stderr"] else ""
            said = f"last words of the runtime: {remedy}" if remedy else ""
            cause = PLACE.sub("", entry["cause"])
            return Failure(artifact.candidate, f"measure ({entry['stage']})", cause, said)
        told = entry.get("energy") or {}
        no_energy = (f"no energy: {told['reason']}",) if "reason" in told else ()
        notes = (*self.result["notes"], *entry["notes"], *no_energy)
        environment = read_environment(
            self.result["facts"],
            threads=self.result["threads"],
            cpus=self.result["cpus"],
            notes=notes,
            sensors=self.result["sensors"],
        )
        latency = entry_latency(entry, self._turns(artifact.candidate))
        if self.options.strict and latency and latency.steadiness and latency.steadiness.unsteady:
            return _refused(artifact.candidate, latency.steadiness)
        measurement = Measurement(
            candidate=artifact.candidate,
            origin=self.origin,
            environment=environment,
            load_ms=entry["load_ms"],
            peak_memory_bytes=entry["peak_memory_bytes"],
            latency=latency,
            import_ms=entry["import_ms"],
            energy=entry_energy(entry),
            available_bytes=entry.get("available_bytes"),
        )
        return Measured(
            measurement=measurement,
            signature=read_raw_signature(entry["signature"]),
            outputs=self._pull(entry.get("outputs", {})),
            runtime=dict(entry["runtime_facts"]),
            notes=notes,
            layers=self._layers(entry),
        )

    def _layers(self, entry: Mapping[str, Any]) -> LayersTold | None:
        told = read_told(entry.get("layers"))
        return None if told is None else replace(told, why=PLACE.sub("", told.why))

    def _turns(self, candidate: str) -> list[int]:
        """Its place in each round, 1 for the first."""
        return [order.index(candidate) + 1 for order in self.result["order"]]

    def _pull(self, outputs: Mapping[str, str]) -> dict[str, Path]:
        paths = self.device.pull(list(outputs.values()), self.folder)
        return dict(zip(outputs, paths, strict=True))


def _refused(candidate: str, steadiness: Steadiness) -> Failure:
    """A throttled or drifting run where only steady ones are wanted."""
    runs = "the run" if steadiness.attempts == 1 else f"each of {steadiness.attempts} runs"
    how = "was throttled" if steadiness.state == "throttled" else "drifted"
    return Failure(
        candidate,
        "measure (steadiness)",
        f"{runs} {how}: {'; '.join(steadiness.reasons)}",
        "let the board cool down, or cool it better; without --strict the figures are marked instead",
    )


def read_raw_signature(raw: Mapping[str, Any]) -> Signature:
    """The runner's signature as the typed one."""
    inputs, outputs = (
        tuple(TensorSpec(spec["name"], spec["dtype"], tuple(spec["shape"])) for spec in raw[kind])
        for kind in ("inputs", "outputs")
    )
    return Signature(inputs, outputs)
