"""Splits as files, written once: what the runner and the tasks read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from edgekit.building.cache import Cache
from edgekit.data import Split
from edgekit.devices import SampleFiles, write_samples
from edgekit.types import Signature, TensorSpec

__all__ = ["SampleStore", "SplitFiles"]

READ_BATCH = 64


@dataclass(frozen=True)
class SplitFiles:
    """One split as .npy files. `digest`: SHA-256 of the split (samples, labels, preprocessing, order)."""

    split: str
    digest: str
    files: SampleFiles

    @property
    def paths(self) -> tuple[str, ...]:
        """The files [N, ...] in the order of the network's inputs."""
        return tuple(str(path) for path in self.files.inputs.values())


@dataclass(frozen=True)
class SampleStore:
    """Splits → files. `opened`: those of this run; checking their hashes again would take as long as writing them."""

    cache: Cache
    opened: dict[tuple[str, tuple[TensorSpec, ...]], SplitFiles] = field(default_factory=dict)

    def files(self, split: Split, signature: Signature) -> SplitFiles:
        """The preprocessed samples of a split for networks that take `signature.inputs`."""
        digest = split.digest
        if (digest, signature.inputs) not in self.opened:
            self.opened[digest, signature.inputs] = self._open(split, digest, signature)
        return self.opened[digest, signature.inputs]

    def _open(self, split: Split, digest: str, signature: Signature) -> SplitFiles:
        def make(folder: Path) -> Mapping[str, Any]:
            files = write_samples(split.batches(READ_BATCH), signature.inputs, folder, count=len(split))
            if files.labels is not None:
                np.save(folder / "labels.npy", files.labels)
            return {"inputs": {name: path.name for name, path in files.inputs.items()}}

        parts = {"split": digest, "inputs": msgspec.to_builtins(signature.inputs)}
        entry = self.cache.entry("samples", parts, make)
        inputs = {spec.name: entry.path / entry.meta["inputs"][spec.name] for spec in signature.inputs}
        labels = entry.path / "labels.npy"
        first = {name: np.array(np.load(path, mmap_mode="r")[:1]) for name, path in inputs.items()}
        files = SampleFiles(inputs, first, np.load(labels) if labels.exists() else None, len(split))
        return SplitFiles(split.name, digest, files)
