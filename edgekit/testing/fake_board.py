"""A made-up board, to try what stands above devices without a board or a runtime."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.devices.base import JobProgress
from edgekit.types import BackendName, Origin

__all__ = ["FakeBoardDevice"]

FACTS: Mapping[str, Any] = {
    "machine": "Fake Board Rev 1",
    "arch": "aarch64",
    "cpu": "Fake-A53",
    "features": ["asimd", "fp"],
    "cores": 4,
    "cpus": [0, 1, 2, 3],
    "cpu_quota": None,
    "memory_bytes": 1_000_000_000,
    "os": "Fake Linux 1.0",
    "governor": "performance",
    "python": "3.6.9",
    "load_1m": 0.0,
    "versions": {"numpy": "1.19.5"},
}
Arrays = Mapping[str, NDArray[Any]]
JITTER = 0.02  # relative, of the made-up latencies
SENSORS = {
    "before": {"temperature_c": {"fake-thermal": 40.0}, "clock_mhz": {"0": 1400.0}},
    "after": {"temperature_c": {"fake-thermal": 48.5}, "clock_mhz": {"0": 1200.0}},
}


def class_zero(path: Path, feeds: Arrays) -> Arrays:
    """Whatever lies at `path`: class 0 of ten comes first."""
    return {"out": np.eye(1, 10, dtype=np.float32)}


class FakeBoardDevice:
    """Times nothing: entries take the latency that was said of them, and answer by `answer`.

    `latency_ms`: entry id → milliseconds (1 for others). An entry is `failing` if its id is there or its file is
    empty. `runtimes`: those that it says it has. `answer`: (an artifact's file, input name → [1, ...]) → output name
    → [1, ...]. `tells`: entry id → further keys of its result (a certificate, energy). Its
    measurements carry the origin `emulated`.
    """

    def __init__(
        self,
        work: Path,
        latency_ms: Mapping[str, float] | None = None,
        failing: Sequence[str] = (),
        runtimes: Sequence[BackendName] = ("onnxruntime",),
        answer: Callable[[Path, Arrays], Arrays] = class_zero,
        tells: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        self.work = work
        self._runtimes = tuple(runtimes)
        self._answer = answer
        self._tells = dict(tells or {})
        self._latency_ms = dict(latency_ms or {})
        self._failing = frozenset(failing)
        work.mkdir(parents=True, exist_ok=True)

    @property
    def name(self) -> str:
        return "fake-board"

    @property
    def is_here(self) -> bool:
        return False

    @property
    def origin(self) -> Origin:
        return "emulated"

    def describe(self) -> Mapping[str, Any]:
        return {**FACTS, "runtimes": self._runtimes}

    def push(self, files: Sequence[tuple[Path, str]]) -> None:
        for path, name in files:
            target = self._place(name)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)

    def pull(self, names: Sequence[str], folder: Path) -> tuple[Path, ...]:
        for name in names:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(self._place(name), folder / name)
        return tuple(folder / name for name in names)

    def run(
        self, job: Mapping[str, Any], *, timeout_s: float, progress: JobProgress | None = None
    ) -> Mapping[str, Any]:
        entries = {}
        for done, entry in enumerate(job["entries"]):
            if progress:
                progress("load", entry["id"], done, len(job["entries"]))
            entries[entry["id"]] = self._entry(entry, job)
        return {
            "schema": 1,
            "facts": FACTS,
            "threads": job.get("threads", 1),
            "cpus": job.get("cpus") or [],
            "notes": ["a fake board: nothing was run"],
            "sensors": SENSORS,
            "order": [[entry["id"] for entry in job["entries"] if self._runs(entry)]] * job.get("rounds", 12),
            "entries": entries,
        }

    def _runs(self, entry: Mapping[str, Any]) -> bool:
        return entry["id"] not in self._failing and self._place(entry["path"]).stat().st_size > 0

    def _entry(self, entry: Mapping[str, Any], job: Mapping[str, Any]) -> dict[str, Any]:
        if not self._runs(entry):
            failed = {"status": "failed", "stage": "load", "cause": "said to fail", "stderr": []}
            return {**failed, "signal": None}
        shape = {"name": "out", "dtype": "float32", "shape": [1, 10]}
        rng = np.random.default_rng(job.get("seed", 0))
        center = self._latency_ms.get(entry["id"], 1.0)
        rounds = [list(center * (1 + JITTER * rng.random(20))) for _ in range(job.get("rounds", 12))]
        result: dict[str, Any] = {
            "status": "ok",
            "notes": [],
            "signature": {"inputs": [{**shape, "name": "in"}], "outputs": [shape]},
            "runtime_facts": {},
            "import_ms": 0.0,
            "load_ms": 1.0,
            "peak_memory_bytes": 1_000_000,
        }
        if job.get("seconds", 5.0) > 0:
            result.update(rounds_ms=rounds, warmup_runs=10, steady=True, preemptions=0)
        result.update(self._tells.get(entry["id"], {}))
        if entry.get("evaluate"):
            result.update(self._evaluate(self._place(entry["path"]), entry["evaluate"]))
        return result

    def _evaluate(self, path: Path, wanted: Mapping[str, Any]) -> dict[str, Any]:
        inputs = {name: np.load(self._place(file), mmap_mode="r") for name, file in wanted["inputs"].items()}
        count = min(len(array) for array in inputs.values())
        answers = [
            self._answer(path, {name: array[index : index + 1] for name, array in inputs.items()})
            for index in range(count)
        ]
        files = {name: f"{wanted['outputs']}/{place}.npy" for place, name in enumerate(answers[0])}
        for name, file in files.items():
            self._place(file).parent.mkdir(parents=True, exist_ok=True)
            np.save(self._place(file), np.concatenate([answer[name] for answer in answers]))
        return {"outputs": files, "samples": count}

    def _place(self, name: str) -> Path:
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise ValueError(f"{name!r} is not a relative name inside the work folder")
        return self.work / name
