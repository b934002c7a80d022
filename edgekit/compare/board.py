"""One side of a comparison that ran on a device: what it was fed, what came back, and a reader of both.

Samples are drawn twice, when they are written for the device and when they are compared. The reader checks that they
are the same, row by row: outputs never stand beside other samples than their own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from edgekit.board.arrays import new_array
from edgekit.errors import DataError, ModelError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgekit.backends.tensors import Grid, Reader, TensorFacts
    from edgekit.types import Signature

    Feeds = Mapping[str, NDArray[np.generic]]
    Look = dict[str, NDArray[np.float32]]

__all__ = ["BoardRun", "BoardSide", "fed_side", "on_board"]

SHOWN_BYTES = 1 << 28
"""Of tensors between the layers that come back from a device, uncompressed: so many samples as fit are looked at."""

FEWEST_SHOWN = 2


@dataclass(frozen=True)
class BoardSide:
    """What a device gets for one side. `feeds`: the session's input name → .npy file [count, ...].

    `shown`: a file beside them that gives its tensors as outputs, "" where there is none; for `looks` samples.
    """

    feeds: Mapping[str, str]
    count: int
    shown: str
    looks: int


@dataclass(frozen=True)
class BoardRun:
    """What came back. `outputs` and `shown`: output name → .npy file. `looks`: samples in `shown`, 0 for none.

    `where` names the device and its origin; `why` only outputs came, "" where tensors did.
    """

    feeds: Mapping[str, str]
    outputs: Mapping[str, str]
    shown: Mapping[str, str]
    looks: int
    where: str
    why: str = ""


def fed_side(reader: Reader, batches: Iterator[Feeds], count: int, folder: Path, *, shows: bool) -> BoardSide:
    """Write what the device gets into `folder`. `batches`: what the reader is fed, one sample each.

    `shows`: whether the reader's runtime is the artifact's own. Raises ModelError for a network with a fixed batch.
    """
    for spec in reader.signature.inputs:
        if spec.shape and spec.shape[0] not in (1, None):
            raise ModelError(
                f"the network takes {spec.shape[0]} samples at once",
                allowed="a batch of 1, or an open one, for a comparison on a device",
            )
    files: dict[str, Any] = {}
    places: dict[str, str] = {}
    looks = 0
    for index, feeds in enumerate(batches):
        taken = reader.runner_feeds(feeds)
        if index == 0:
            looks = _affordable(reader.look(feeds), count) if shows else 0
            for place, (name, array) in enumerate(taken.items()):
                places[name] = str(folder / f"feed-{place}.npy")
                files[name] = new_array(places[name], array.dtype, (count, *array.shape[1:]))
        for name, array in taken.items():
            files[name][index] = array[0]
    shown = reader.write_shown(folder) if looks else None
    return BoardSide(places, count, shown or "", looks if shown else 0)


def _affordable(look: Look, count: int) -> int:
    size = sum(array.nbytes for array in look.values())
    return min(count, max(FEWEST_SHOWN, SHOWN_BYTES // max(size, 1)))


class BoardReader:
    """See `edgekit.backends.tensors.Reader`: the graph of a reader of this machine, the values of a device.

    `looks`: of so many first samples its tensors are known; `look` gives nothing for others.
    """

    def __init__(self, reader: Reader, run: BoardRun, name: str) -> None:
        self._reader, self._name = reader, name
        self._feeds, self._outputs, self._shown = (
            {key: np.load(path, mmap_mode="r", allow_pickle=False) for key, path in files.items()}
            for files in (run.feeds, run.outputs, run.shown)
        )
        self._where = run.where
        self._looked = self._ran = 0
        self.looks = run.looks
        self.signature: Signature = reader.signature
        self.input_grids: Mapping[str, Grid] = reader.input_grids
        self.tensors: tuple[TensorFacts, ...] = reader.tensors if run.looks else ()
        self.arithmetic: Literal["fp32", "fp16", "bf16", "int8"] = reader.arithmetic
        only = f"{name}: {run.where} gave its outputs only: {run.why}" if run.why else ""
        self.notes: tuple[str, ...] = (only,) if only else reader.notes

    def __enter__(self) -> BoardReader:
        return self

    def __exit__(self, *exc: object) -> None:
        """The reader under it is closed by who has opened it."""

    def look(self, feeds: Feeds) -> Look:
        index, self._looked = self._looked, self._looked + 1
        if index >= self.looks:
            return {}
        self._check(feeds, index)
        like = self._reader.look(feeds)
        raw = {name: array[index : index + 1] for name, array in self._shown.items()}
        return self._as(like, lambda: self._reader.runner_look(feeds, raw))

    def run(self, feeds: Feeds) -> Look:
        index, self._ran = self._ran, self._ran + 1
        self._check(feeds, index)
        given = {name: array[index : index + 1] for name, array in self._outputs.items()}
        like = self._reader.run(feeds)
        return self._as(like, lambda: self._reader.runner_outputs(given))

    def _as(self, like: Look, read: Callable[[], Look]) -> Look:
        """In the shapes that they have here: the runner keeps no axis of the batch. Raises ModelError."""
        remedy = "its runtime there reads the file differently: see the versions of both"
        try:
            came = read()
        except KeyError as missing:
            raise ModelError(f"{self._name} gives no {missing} on {self._where}", remedy=remedy) from missing
        sizes = [{name: value.size for name, value in look.items()} for look in (like, came)]
        if sizes[0] != sizes[1]:
            raise ModelError(
                f"{self._name} gives {sizes[1]} values on {self._where}, {sizes[0]} here", remedy=remedy
            )
        return {name: value.reshape(like[name].shape) for name, value in came.items()}

    def _check(self, feeds: Feeds, index: int) -> None:
        for name, value in self._reader.runner_feeds(feeds).items():
            file = self._feeds[name]
            if index >= len(file) or not np.array_equal(
                file[index], value[0], equal_nan=value.dtype.kind == "f"
            ):
                raise DataError(
                    f"sample {index} of {self._name} is another one than the device was given",
                    allowed="data that gives the same samples each time it is read",
                )

    def runner_feeds(self, feeds: Feeds) -> dict[str, NDArray[np.generic]]:
        return self._reader.runner_feeds(feeds)

    def runner_outputs(self, outputs: Feeds) -> Look:
        return self._reader.runner_outputs(outputs)

    def write_shown(self, folder: Path) -> str | None:
        return self._reader.write_shown(folder)

    def runner_look(self, feeds: Feeds, outputs: Feeds) -> Look:
        return self._reader.runner_look(feeds, outputs)


def on_board(reader: Reader, run: BoardRun | None, name: str) -> Reader:
    """The reader, or the one of what came back from a device."""
    return reader if run is None else BoardReader(reader, run, name)
