"""The worker: one candidate's crash is that candidate's failure."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from edgekit.building.worker import ExportTask, LintTask, Worker, stream_samples
from edgekit.errors import StageError
from edgekit.files import sha256_file
from edgekit.graph import onnx_cost
from edgekit.model import export_onnx
from edgekit.types import Candidate, Variant


@pytest.fixture
def task(tmp_path: Path) -> ExportTask:
    import torch

    from edgekit.testing.networks import TinyConvNet

    torch.manual_seed(0)
    path = tmp_path / "net.onnx"
    signature = export_onnx(TinyConvNet().eval(), (np.zeros((1, 1, 8, 8), np.float32),), path)
    variant = Variant(
        "original", "original", None, "", str(path), sha256_file(path), signature, onnx_cost(path)
    )
    folder = tmp_path / "artifact"
    folder.mkdir()
    candidate = Candidate("original-ort-fp32", "original", "onnxruntime", "fp32")
    return ExportTask(variant, candidate, "generic-cpu", (), str(folder), str(tmp_path), (), "", 1)


def test_a_worker_killed_by_a_signal_is_told_and_the_next_export_works(
    task: ExportTask, tmp_path: Path
) -> None:
    worker = Worker(tmp_path / "log")
    try:
        first = worker.export(task)
        assert Path(first.folder, first.entry).exists()
        killer = threading.Thread(target=kill_soon, args=(worker,))
        killer.start()
        with pytest.raises(StageError, match="SIGSEGV"):
            export_for_ever(worker, task)
        killer.join()
        assert worker.export(task).files == first.files
    finally:
        worker.close()


def test_a_runtime_s_lint_says_what_was_asked(task: ExportTask, tmp_path: Path) -> None:
    worker = Worker(tmp_path / "log")
    try:
        found = worker.lint(LintTask(task.variant, "openvino", "generic-cpu", str(tmp_path)))
    finally:
        worker.close()
    assert found.issues == ()
    assert "OpenVINO" in found.done


def test_a_process_that_dies_while_it_lints_is_told(task: ExportTask, tmp_path: Path) -> None:
    worker = Worker()
    try:
        worker.export(task)
        process = worker._process
        assert process is not None
        os.kill(process.pid, signal.SIGSTOP)  # it shall not answer before it is killed
        killer = threading.Thread(target=kill_soon, args=(worker,))
        killer.start()
        with pytest.raises(StageError, match="the lint process was killed by SIGSEGV") as caught:
            worker.lint(LintTask(task.variant, "onnxruntime", "generic-cpu", str(tmp_path)))
        killer.join()
        assert caught.value.remedy == ""  # there is no log to look into
        assert worker.lint(LintTask(task.variant, "onnxruntime", "generic-cpu", str(tmp_path))).done
    finally:
        worker.close()


def export_for_ever(worker: Worker, task: ExportTask) -> None:
    while True:
        worker.export(task)


def kill_soon(worker: Worker) -> None:
    time.sleep(0.2)
    process = worker._process
    assert process is not None
    os.kill(process.pid, signal.SIGSEGV)
    with contextlib.suppress(ProcessLookupError):
        os.kill(process.pid, signal.SIGCONT)  # a stopped process dies of it only then


def test_an_export_that_raises_says_so_with_its_stage(task: ExportTask, tmp_path: Path) -> None:
    from dataclasses import replace

    worker = Worker(tmp_path / "log")
    try:
        with pytest.raises(StageError) as caught:
            worker.export(replace(task, variant=replace(task.variant, onnx_path=str(tmp_path / "gone"))))
        assert caught.value.stage
        assert "gone" in caught.value.cause
    finally:
        worker.close()


def test_calibration_samples_stream_in_batches_and_can_be_read_again(tmp_path: Path) -> None:
    samples = np.arange(70 * 3, dtype=np.float32).reshape(70, 3)
    np.save(tmp_path / "x.npy", samples)
    batches = stream_samples((str(tmp_path / "x.npy"),))
    for _ in range(2):
        read = [batch[0] for batch in batches()]
        assert max(map(len, read)) <= 32
        np.testing.assert_array_equal(np.concatenate(read), samples)
