"""The queue of samples, the threads that answer them, and whether samples may share one inference."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit.errors import in_one_line

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgekit.board import Model

    Arrays = list[NDArray[Any]]

__all__ = ["QueuedSample", "SampleAnswer", "SampleQueue", "batching_refusal", "work"]

NEIGHBOUR = 1000.0
"""By how much the neighbours of a sample are scaled in the proof that they do not change its answer."""
AGREEMENT = 1e-5
"""Of the largest output: sums in another order differ by less, ranges over the whole batch by far more."""


@dataclass(frozen=True)
class SampleAnswer:
    """One sample's outputs, as the network gave them without the batch's axis; or the line that says why not."""

    outputs: tuple[NDArray[Any], ...]
    queued_ms: float
    inference_ms: float
    batch: int
    problem: str = ""


@dataclass
class QueuedSample:
    """One sample on its way: network inputs [1, ...] in order, and who is told of the answer."""

    arrays: Arrays
    deliver: Callable[[SampleAnswer], None]
    since: float = field(default_factory=time.perf_counter)

    @property
    def form(self) -> tuple[tuple[int, ...], ...]:
        """Rows of one form can be answered together."""
        return tuple(array.shape for array in self.arrays)


class SampleQueue:
    """Rows in the order in which they came. Who puts bounds their number; several threads may take."""

    def __init__(self, max_batch: int, max_wait_ms: float) -> None:
        self.max_batch = max_batch
        self.max_wait_s = max_wait_ms / 1000
        self._rows: deque[QueuedSample] = deque()
        self._changed = threading.Condition()
        self._closed = False

    def __len__(self) -> int:
        return len(self._rows)

    def put(self, rows: Sequence[QueuedSample]) -> None:
        with self._changed:
            self._rows.extend(rows)
            self._changed.notify(len(rows))

    def close(self) -> None:
        """What is queued is still handed out; then `take` gives nothing to anybody."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def take(self) -> list[QueuedSample]:
        """The next rows of one form, at most `max_batch`; waits for the first one. Empty: closed, and all is done."""
        with self._changed:
            while not self._rows:
                if self._closed:
                    return []
                self._changed.wait()
            until = self._rows[0].since + self.max_wait_s
            while len(self._rows) < self.max_batch and not self._closed:
                left = until - time.perf_counter()
                if left <= 0 or not self._changed.wait(left):
                    break
            return self._next_rows()

    def _next_rows(self) -> list[QueuedSample]:
        if not self._rows:  # another thread took them while this one waited for more
            return self.take()
        rows = [self._rows.popleft()]
        while self._rows and len(rows) < self.max_batch and self._rows[0].form == rows[0].form:
            rows.append(self._rows.popleft())
        return rows


def work(
    model: Model, queue: SampleQueue, done: Callable[[list[QueuedSample], list[SampleAnswer]], None]
) -> None:
    """SampleAnswer rows by this model until the queue is closed and empty; `done` gets each batch with its answers."""
    while rows := queue.take():
        done(rows, _answered(model, rows))


def _answered(model: Model, rows: list[QueuedSample]) -> list[SampleAnswer]:
    """A batch that the runtime refuses is answered one by one: a sample is not refused for its neighbour."""
    started = time.perf_counter()
    try:
        outputs = _run(model, [row.arrays for row in rows])
    except Exception as problem:  # noqa: BLE001 - each runtime has exceptions of its own, derived from nothing else
        if len(rows) > 1:
            return [_answered(model, [row])[0] for row in rows]
        took_ms = 1000 * (time.perf_counter() - started)
        return [SampleAnswer((), 0.0, took_ms, 1, f"{type(problem).__name__}: {in_one_line(problem)}")]
    took_ms = 1000 * (time.perf_counter() - started)
    return [
        SampleAnswer(tuple(given), 1000 * (started - row.since), took_ms, len(rows))
        for row, given in zip(rows, outputs, strict=True)
    ]


def _run(model: Model, samples: Sequence[Arrays]) -> list[Arrays]:
    """Outputs of each sample, without the batch's axis, in memory of their own. Raises what the runtime raises."""
    from edgekit.board.session import sample_row

    if len(samples) == 1:
        return [[np.array(sample_row(output)) for output in model.run(samples[0])]]
    together = [np.concatenate(arrays) for arrays in zip(*samples, strict=True)]
    outputs = model.run(together)
    if any(output.ndim == 0 or len(output) != len(samples) for output in outputs):
        raise ValueError(f"outputs of a batch of {len(samples)} came as {[o.shape for o in outputs]}")
    return [[np.array(output[index]) for output in outputs] for index in range(len(samples))]


def batching_refusal(model: Model, max_batch: int) -> str:
    """Why samples of this model may not share one inference; empty where they may.

    The first axis of all inputs and outputs has to be free, and the golden samples have to be answered in a batch as
    alone, whatever lies beside them: integers whose ranges are taken over the whole batch (dynamic quantization), and
    outputs that list what was found, fail here.
    """
    fixed = [
        spec["name"] for spec in (*model.inputs, *model.outputs) if not spec["shape"] or spec["shape"][0]
    ]
    if fixed:
        return f"the first axis of {', '.join(fixed)} is fixed"
    inputs, _ = model.golden_samples()
    count = min(max_batch, len(inputs[0]))
    rows = [[array[index % count : index % count + 1] for array in inputs] for index in range(max_batch)]
    loud = [[_scaled(array) for array in row] for row in rows]
    try:
        alone = [_run(model, [rows[index]])[0] for index in range(count)]
        beside = _run(model, rows)
        shouted = _run(model, [rows[0], *loud[1:]])
    except Exception as problem:  # noqa: BLE001 - as above
        return f"a batch of {max_batch} does not run: {in_one_line(problem)}"
    pairs = [(alone[index % count], beside[index]) for index in range(max_batch)]
    if all(_agree(one_by_one, batched) for one_by_one, batched in [*pairs, (alone[0], shouted[0])]):
        return ""
    return "a sample's answer depends on what lies beside it in a batch"


def _scaled(array: NDArray[Any]) -> NDArray[Any]:
    return array * array.dtype.type(NEIGHBOUR) if array.dtype.kind == "f" else array


def _agree(alone: Arrays, batched: Arrays) -> bool:
    for one_by_one, other in zip(alone, batched, strict=True):
        if one_by_one.shape != other.shape:
            return False
        if one_by_one.dtype.kind != "f":
            if not np.array_equal(one_by_one, other):
                return False
            continue
        largest = float(np.abs(one_by_one).max(initial=0.0))
        if not np.allclose(one_by_one, other, rtol=0.0, atol=AGREEMENT * largest):
            return False
    return True
