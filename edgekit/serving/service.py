"""What is served: models on threads, the queue before them, and its bounds."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import math
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from edgekit.errors import BundleError, in_one_line
from edgekit.serving.batching import QueuedSample, SampleAnswer, SampleQueue, batching_refusal, work
from edgekit.serving.metrics import Metrics
from edgekit.serving.problems import RequestProblem

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgekit.board import Model

__all__ = ["Service", "ServiceLimits", "default_max_request_bytes"]

SMALLEST_REQUEST, LARGEST_REQUEST = 10**6, 64 * 10**6
PICTURE_BYTES = 16 * 10**6
"""What a camera's JPEG may have."""
FREE_AXIS = 512
"""What an axis counts as whose size the network leaves open."""
JSON_BYTES = 25
"""One float as text, with its comma and brackets."""
BATCH = 32


def default_max_request_bytes(model: Model) -> int:
    """Room for 32 samples as float32 or one as JSON, and for a photograph where images are taken; 1 to 64 MB."""
    values = 0
    for spec in model.inputs:
        values += math.prod(size or FREE_AXIS for size in spec["shape"][1:])
    most = max(SMALLEST_REQUEST, 4 * BATCH * values, JSON_BYTES * values)
    if model.how(0)["input_layout"] != "as-is":
        most = max(most, PICTURE_BYTES)
    return min(most, LARGEST_REQUEST)


@dataclass(frozen=True)
class ServiceLimits:
    """`queue`: requests that are read or wait at one time; `max_samples`: of one request."""

    max_request_bytes: int
    queue: int = 128
    max_samples: int = 1024
    max_batch: int = 8
    max_wait_ms: float = 0.0


@dataclass
class _Counts:
    """Of requests; the event loop alone changes them."""

    open: int = 0
    answered: int = 0
    sample_s: float = 0.0  # smoothed time of one sample on one worker


@dataclass
class Service:
    """Samples in, answers out: `admit` a request, `answer` its rows. All but the workers runs in one event loop.

    `models` must not be shared with others: each answers in a thread of its own, since its calls must not overlap.
    """

    models: Sequence[Model]
    name: str
    limits: ServiceLimits
    is_stopping: bool = False
    is_broken: bool = False
    alone: str = field(init=False)
    """Why samples do not share an inference; empty where they do."""

    def __post_init__(self) -> None:
        """Raises BundleError where a model does not give its golden outputs on this machine."""
        for model in self.models:
            _prove(model, self.name)
        if self.model.how(0)["input_layout"] != "as-is":
            with contextlib.suppress(ImportError):  # arrays can still be sent
                importlib.import_module(
                    "PIL.Image"
                ).init()  # a third of a second, which the first image would pay
        limits = self.limits
        self.alone = (
            batching_refusal(self.models[0], limits.max_batch) if limits.max_batch > 1 else "--max-batch is 1"
        )
        self._queue = SampleQueue(1 if self.alone else limits.max_batch, limits.max_wait_ms)
        self._counts = _Counts()
        self.metrics = Metrics(lambda: float(len(self._queue)), {"bundle": self.name})
        self._threads: list[threading.Thread] = []

    @property
    def model(self) -> Model:
        """Whose names, shapes and preprocessing count; its session belongs to a worker."""
        return self.models[0]

    @property
    def answered(self) -> int:
        """Requests that got their outputs."""
        return self._counts.answered

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin to answer; results are handed to `loop`."""

        def done(rows: list[QueuedSample], answers: list[SampleAnswer]) -> None:
            loop.call_soon_threadsafe(self._deliver, rows, answers)

        self._threads = [
            threading.Thread(
                target=work, args=(model, self._queue, done), name=f"model-{number}", daemon=True
            )
            for number, model in enumerate(self.models)
        ]
        for thread in self._threads:
            thread.start()

    async def stop(self) -> None:
        """SampleAnswer what is queued, then let go of the models."""
        self.is_stopping = True
        self._queue.close()
        for thread in self._threads:
            await asyncio.to_thread(thread.join)
        for model in self.models:
            model.close()

    def admit(self) -> Callable[[], None]:
        """A place for one request, before its body is read; gives what frees it. Raises RequestProblem, status 503."""
        counts = self._counts
        if self.is_stopping:
            raise RequestProblem(503, "the service is stopping", headers={"Retry-After": "5"})
        if counts.open >= self.limits.queue:
            raise RequestProblem(
                503,
                f"{counts.open} requests are waiting, which is all that may",
                remedy="come again after Retry-After seconds",
                headers={"Retry-After": str(self._retry_after_s())},
            )
        counts.open += 1

        def leave() -> None:
            counts.open -= 1

        return leave

    async def answer(self, samples: list[list[NDArray[Any]]]) -> list[SampleAnswer]:
        """Each sample's answer, in order. Raises RequestProblem where the runtime refuses one, status 422."""
        loop = asyncio.get_running_loop()
        futures: list[asyncio.Future[SampleAnswer]] = [loop.create_future() for _ in samples]
        self._queue.put(
            [QueuedSample(arrays, future.set_result) for arrays, future in zip(samples, futures, strict=True)]
        )
        # One after the other: they are answered in order, and a task for each would cost more than waiting does.
        answers = [await asyncio.shield(future) for future in futures]
        problem = next((answer.problem for answer in answers if answer.problem), "")
        if problem:
            await self._look_again()
            raise RequestProblem(
                422,
                f"the runtime refuses this input: {problem}",
                remedy="are its values those that the network knows?",
            )
        self._counts.answered += 1
        return answers

    async def _look_again(self) -> None:
        """After a refusal: does the model still answer its golden sample? If not, the fault is not the client's."""
        inputs, _ = self.model.golden_samples()
        future: asyncio.Future[SampleAnswer] = asyncio.get_running_loop().create_future()
        self._queue.put([QueuedSample([array[:1] for array in inputs], future.set_result)])
        self.is_broken = bool((await future).problem)
        if self.is_broken:
            raise RuntimeError("the model no longer answers its own golden sample")

    def _deliver(self, rows: list[QueuedSample], answers: list[SampleAnswer]) -> None:
        counts, metrics = self._counts, self.metrics
        for row, answer in zip(rows, answers, strict=True):
            row.deliver(answer)
            metrics.queued_s.observe(answer.queued_ms / 1000)
        metrics.samples.inc(len(rows))
        metrics.batch.observe(answers[0].batch)
        metrics.inference_s.observe(answers[0].inference_ms / 1000)
        each_s = answers[0].inference_ms / 1000 / answers[0].batch
        counts.sample_s = each_s if counts.sample_s == 0 else 0.9 * counts.sample_s + 0.1 * each_s

    def _retry_after_s(self) -> int:
        """When what waits now will be answered, in whole seconds as HTTP has them."""
        waiting = max(len(self._queue), self._counts.open)
        return max(1, math.ceil(waiting * self._counts.sample_s / len(self.models)))


def _prove(model: Model, name: str) -> None:
    try:
        off = model.golden_deviation()
    except Exception as problem:  # each runtime has exceptions of its own
        raise BundleError(f"{name} does not run here: {in_one_line(problem)}") from problem
    if not off <= model.tolerance:
        raise BundleError(
            f"{name} does not give its golden outputs here: off by {off:.3g}", allowed=f"{model.tolerance:g}"
        )
