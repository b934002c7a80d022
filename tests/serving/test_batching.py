"""Samples share a run only where it is proved that it changes no answer; the queue keeps order and bounds."""

from __future__ import annotations

import concurrent.futures
import json
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import edgekit
from edgekit.board import Model
from edgekit.serving.batching import QueuedSample, SampleAnswer, SampleQueue, batching_refusal, work
from edgekit.serving.service import ServiceLimits, default_max_request_bytes
from tests.serving.services import dense_bundle, served
from tests.serving.test_predict import npy

NPY = "application/x-npy"


def row(values: Any, width: int = 8, deliver: Any = None) -> QueuedSample:
    return QueuedSample([np.full((1, width), values, np.float32)], deliver or (lambda answer: None))


def test_a_free_first_axis_lets_samples_share_a_run(dense_folder: Path) -> None:
    with edgekit.load(dense_folder) as model:
        assert batching_refusal(model, 8) == ""


def test_a_fixed_first_axis_does_not(tiny_bundle: Path) -> None:
    with edgekit.load(tiny_bundle) as model:
        assert batching_refusal(model, 8) == "the first axis of image, scores is fixed"


def test_integers_whose_range_is_taken_over_the_batch_are_answered_one_by_one(tmp_path: Path) -> None:
    with edgekit.load(dense_bundle(tmp_path, dynamic=True)) as model:
        assert "depends on what lies beside it" in batching_refusal(model, 8)


def test_a_sample_is_not_refused_for_its_neighbour(dense_folder: Path) -> None:
    """One row of another width would break the run that it shares: then each is answered by itself."""
    given: list[SampleAnswer] = []
    queue = SampleQueue(8, 0)
    rows = [row(1.0), row(2.0, 9), row(3.0)]
    with edgekit.load(dense_folder) as model:
        wanted = [model.run([item.arrays[0]])[0][0] for item in (rows[0], rows[2])]
        queue.put(rows)
        queue.close()
        work(model, queue, lambda _rows, answers: given.extend(answers))
    assert [bool(answer.problem) for answer in given] == [False, True, False]
    np.testing.assert_allclose(given[0].outputs[0], wanted[0], rtol=1e-6)
    np.testing.assert_allclose(given[2].outputs[0], wanted[1], rtol=1e-6)


def test_a_run_that_fails_as_a_whole_is_repeated_one_by_one() -> None:
    class FakeModel(Model):
        """Refuses batches, and the sample 2 alone."""

        def __init__(self) -> None:
            self.outputs = [{"name": "y", "dtype": "float32", "shape": [None, 8]}]

        def run(self, arrays: Any) -> Any:
            if len(arrays[0]) > 1 or arrays[0][0, 0] == 2:
                raise RuntimeError("no")
            return [arrays[0] * 2]

    given: list[SampleAnswer] = []
    queue = SampleQueue(8, 0)
    queue.put([row(1.0), row(2.0), row(3.0)])
    queue.close()
    work(FakeModel(), queue, lambda _rows, answers: given.extend(answers))
    assert [answer.problem for answer in given] == ["", "RuntimeError: no", ""]
    assert [float(given[index].outputs[0][0]) for index in (0, 2)] == [2.0, 6.0]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 3), max_size=30), st.integers(1, 5))
def test_batches_keep_the_order_and_mix_no_forms(widths: list[int], most: int) -> None:
    queue = SampleQueue(most, 0)
    rows = [row(float(number), width) for number, width in enumerate(widths)]
    queue.put(rows)
    queue.close()
    batches = []
    while batch := queue.take():
        batches.append(batch)
    assert [id(item) for batch in batches for item in batch] == [id(item) for item in rows]
    for batch in batches:
        assert len(batch) <= most
        assert len({item.form for item in batch}) == 1


def test_a_sample_waits_for_others_no_longer_than_it_is_told() -> None:
    queue = SampleQueue(2, 60_000)
    taken: list[int] = []
    thread = threading.Thread(target=lambda: taken.append(len(queue.take())))
    thread.start()
    queue.put([row(1.0)])
    queue.put([row(2.0)])
    thread.join(30)
    assert taken == [2]


def test_all_threads_end_when_the_queue_is_closed() -> None:
    queue = SampleQueue(4, 5)
    taken: list[QueuedSample] = []

    def take() -> None:
        while rows := queue.take():
            taken.extend(rows)

    threads = [threading.Thread(target=take) for _ in range(3)]
    for thread in threads:
        thread.start()
    queue.put([row(float(number)) for number in range(50)])
    queue.close()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()
    assert len(taken) == 50


@pytest.mark.parametrize("workers", [1, 2])
def test_each_of_many_clients_gets_its_own_answer(dense_folder: Path, workers: int) -> None:
    samples = np.random.default_rng(6).normal(size=(120, 8)).astype(np.float32)
    with edgekit.load(dense_folder) as model:
        wanted = model.predict(samples)["y"]
    limits = ServiceLimits(200_000, queue=64, max_batch=8, max_wait_ms=20)
    with (
        served(dense_folder, limits, workers=workers) as asked,
        concurrent.futures.ThreadPoolExecutor(12) as pool,
    ):
        replies = list(pool.map(lambda sample: asked.ask(npy(sample), NPY), samples))
    assert {reply.status for reply in replies} == {200}
    for reply, own in zip(replies, wanted, strict=True):
        np.testing.assert_allclose(np.float32(reply.content["outputs"]["y"]), own, rtol=1e-4, atol=1e-5)
    assert max(reply.content["time_ms"]["batch"] for reply in replies) > 1


def test_a_batch_of_one_request_is_answered_in_order(dense_folder: Path) -> None:
    samples = np.random.default_rng(7).normal(size=(37, 8)).astype(np.float32)
    with edgekit.load(dense_folder) as model, served(dense_folder) as asked:
        wanted = model.predict(samples)["y"]
        outputs = asked.ask(json.dumps({"inputs": samples.tolist()}).encode(), "application/json").content
    np.testing.assert_allclose(np.float32(outputs["outputs"]["y"]), wanted, rtol=1e-4, atol=1e-5)


def test_the_largest_request_follows_the_model(tiny_bundle: Path, dense_folder: Path) -> None:
    with edgekit.load(tiny_bundle) as model:
        assert default_max_request_bytes(model) == 16_000_000  # it is fed images
    with edgekit.load(dense_folder) as model:
        assert default_max_request_bytes(model) == 1_000_000
        model.inputs[0]["shape"] = [1, 3, 1000, 1000]
        assert default_max_request_bytes(model) == 64_000_000
