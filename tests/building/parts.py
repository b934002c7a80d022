"""Small values of a build: networks, samples, attempts, and the collaborators that run without a runtime."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np

from edgekit.building.cache import Cache
from edgekit.building.measuring import Bench
from edgekit.building.samples import SplitFiles
from edgekit.building.values import Attempt
from edgekit.data import Splits, from_arrays, make_splits
from edgekit.devices import SampleFiles
from edgekit.hardware import Machine
from edgekit.store import Store
from edgekit.testing.example_parts import ENVIRONMENT
from edgekit.testing.fake_board import FakeBoardDevice
from edgekit.types import (
    Accuracy,
    Artifact,
    Budget,
    Candidate,
    Estimate,
    FileHash,
    Latency,
    Measurement,
    Precision,
    Preprocess,
)

__all__ = [
    "MACHINE",
    "attempt",
    "bench",
    "budget",
    "count_entries",
    "digit_splits",
    "measurement",
    "opened_cache",
    "split_files",
]

MACHINE = Machine("a board", "aarch64", "a CPU", frozenset({"asimd"}), 4, 2**30, "Linux", "")


@contextmanager
def opened_cache(folder: Path) -> Iterator[Cache]:
    """A cache on a store of its own."""
    with Store.open(folder) as store, store.begin_run("test", target="a-board", seed=0) as run:
        yield Cache(store, run)


def count_entries(cache: Cache) -> int:
    """How many products its store holds."""
    return len(list(cache.store.folder.glob("objects/*/*")))


def digit_splits(count: int = 320, *, labelled: bool = True) -> Splits:
    """Noise [count, 1, 8, 8] in ten classes, divided as a build does."""
    chance = np.random.default_rng(0)
    images = chance.random((count, 1, 8, 8), dtype=np.float32)
    labels = np.arange(count) % 10 if labelled else None
    return make_splits(from_arrays(images, labels, preprocess=Preprocess()), seed=0)


def split_files(folder: Path, *, count: int = 12, digest: str = "of the samples") -> SplitFiles:
    """A split with input `in`, float32 [count, 2], and labels 0."""
    path = folder / "in.npy"
    values = np.arange(2 * count, dtype=np.float32).reshape(count, 2)
    np.save(path, values)
    labels = np.zeros(count, np.int64)
    return SplitFiles("validation", digest, SampleFiles({"in": path}, {"in": values[:1]}, labels, count))


def attempt(
    name: str = "original-ort-int8",
    *,
    precision: Precision = "int8",
    drop: float = 0.0,
    size_bytes: int = 1000,
    variant: str = "original",
    folder: Path = Path("/nowhere"),
) -> Attempt:
    """A candidate for ONNX Runtime that ran with the drop given."""
    artifact = Artifact(
        name, "onnxruntime", str(folder), "m.onnx", (FileHash("m.onnx", name, size_bytes),), size_bytes, 0.1
    )
    accuracy = Accuracy("top1", "validation", 100, Estimate(0.9, 0.8, 1.0), Estimate(drop, drop, drop))
    return Attempt(Candidate(name, variant, "onnxruntime", precision), artifact, accuracy)


def measurement(
    name: str = "original-ort-int8",
    latency_ms: float | None = 1.0,
    *,
    memory: int = 10**6,
    steady: bool = True,
    width_ms: float = 0.0,
) -> Measurement:
    """As the board would give it; its median's interval is `width_ms` wide."""
    latency = None
    if latency_ms is not None:
        at = Estimate(latency_ms, latency_ms - width_ms / 2, latency_ms + width_ms / 2)
        latency = Latency(at, at, at, ((latency_ms,),), 3, steady)
    return Measurement(name, "device", ENVIRONMENT, 1.0, memory, latency)


def bench(work: Path, latency_ms: Mapping[str, float] | None = None, failing: tuple[str, ...] = ()) -> Bench:
    """A made-up board that answers class 0 to everything."""
    device = FakeBoardDevice(work, latency_ms, failing)
    return Bench(device, device.describe(), 1, "device")


def budget(**limits: object) -> Budget:
    """With no limit but those given."""
    return replace(Budget(max_drop=None), **limits)  # type: ignore[arg-type]
