"""Models from files are opened in a worker: one that fills the memory or never ends costs a line, not the machine."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import torch

from edgekit.building.reading import ReadTask, read_network, read_weights
from edgekit.building.worker import ProcessExecutor
from edgekit.cli import main
from edgekit.errors import ModelError, StageError, UserError
from edgekit.files import sha256_file
from edgekit.limits import HOURS, MEMORY, WorkerLimits, resident_bytes, worker_limits
from edgekit.testing.building_fakes import FakeGreedyTask, FakeTask
from edgekit.testing.onnx_networks import residual_network
from tests.hostile import endless_loop, large_constant, large_tile

EXAMPLE = (np.zeros((1, 4), np.float32),)


@pytest.fixture
def executor(monkeypatch: pytest.MonkeyPatch) -> Iterator[ProcessExecutor]:
    """One that allows 1.5 GB and 20 s."""
    monkeypatch.setenv(MEMORY, "1.5")
    monkeypatch.setenv(HOURS, str(20 / 3600))
    with closing(ProcessExecutor()) as made:
        yield made


@pytest.mark.skipif(sys.platform != "linux", reason="memory is limited where there is /proc")
@pytest.mark.parametrize("make", [large_constant, large_tile])
def test_a_network_that_fills_the_memory_is_refused(
    executor: ProcessExecutor, tmp_path: Path, make: object
) -> None:
    path = make(tmp_path / "net.onnx")  # type: ignore[operator]
    with pytest.raises(ModelError, match=r"net\.onnx cannot be read") as caught:
        read_network(executor, "onnx", path, sha256_file(path), (), tmp_path)
    told = str(caught.value)
    assert "\n" not in told
    assert f"more than 1.5 GB of memory; {MEMORY} raises the limit" in told


def test_a_network_that_never_ends_is_refused_and_the_next_one_is_read(
    executor: ProcessExecutor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    executor.run(ReadTask("onnx", str(residual_network(tmp_path / "good.onnx")), ""), tmp_path)
    monkeypatch.setenv(HOURS, str(4 / 3600))
    with closing(ProcessExecutor()) as quick:
        path = endless_loop(tmp_path / "net.onnx")
        with pytest.raises(ModelError, match=rf"no answer within 4 s; {HOURS}="):
            read_network(quick, "onnx", path, sha256_file(path), (), tmp_path)
    good = tmp_path / "good.onnx"
    assert read_network(executor, "onnx", good, sha256_file(good), (), tmp_path).inputs
    assert (tmp_path / "network.onnx").exists()


def test_a_refusal_of_the_worker_is_the_users_line(executor: ProcessExecutor, tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(b"\x08\x07" + b"nothing" * 9)
    with pytest.raises(ModelError, match="is not a readable ONNX file"):
        read_network(executor, "onnx", path, sha256_file(path), (), tmp_path)
    weights = tmp_path / "w.safetensors"
    weights.write_bytes(b"\xff" * 64)
    with pytest.raises(ModelError, match=r"not a readable \.safetensors"):
        read_weights(executor, weights)


def test_a_pt2_is_exported_by_the_worker_and_a_changed_one_is_noticed(
    executor: ProcessExecutor, tmp_path: Path
) -> None:
    path = tmp_path / "net.pt2"
    torch.export.save(torch.export.export(torch.nn.Linear(4, 2).eval(), (torch.zeros(1, 4),)), path)
    signature = read_network(executor, "pt2", path, sha256_file(path), EXAMPLE, tmp_path)
    assert signature.outputs[0].shape == (1, 2)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["net.pt2", "network.onnx"]
    with pytest.raises(ModelError, match="was changed while it was read"):
        read_network(executor, "pt2", path, "0" * 64, EXAMPLE, tmp_path)


@pytest.mark.skipif(sys.platform != "linux", reason="memory is limited where there is /proc")
def test_any_task_that_takes_too_much_memory_is_ended_and_told(
    executor: ProcessExecutor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(MEMORY, "0.3")
    with closing(ProcessExecutor()) as small:
        with pytest.raises(StageError, match=r"greedy: it took more than 0\.3 GB") as caught:
            small.run(FakeGreedyTask(gigabytes=1), tmp_path)
        assert MEMORY in caught.value.remedy
        assert small.run(FakeTask("answer", 3), tmp_path) == 3
    assert executor.run(FakeGreedyTask(gigabytes=0), tmp_path) is None


@pytest.mark.skipif(sys.platform != "linux", reason="memory is limited where there is /proc")
def test_a_command_ends_with_a_line_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(MEMORY, "0.7")
    with pytest.raises(SystemExit) as ended:
        main(["profile", "--model", str(large_tile(tmp_path / "net.onnx"))])
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "more than 0.7 GB of memory" in line


@pytest.mark.parametrize("text", ["0", "-1", "nan", "much", "1e9"])
@pytest.mark.parametrize("name", [MEMORY, HOURS])
def test_a_limit_that_is_no_number_is_refused(monkeypatch: pytest.MonkeyPatch, name: str, text: str) -> None:
    monkeypatch.setenv(name, text)
    with pytest.raises(UserError, match=name):
        worker_limits()


def test_limits_are_generous_where_nothing_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(MEMORY, raising=False)
    monkeypatch.delenv(HOURS, raising=False)
    limits = worker_limits()
    assert limits.memory_bytes > 0
    assert limits.seconds_of(None) >= 3600
    assert limits.seconds_of(5.0) == 5.0
    assert WorkerLimits(1, 7.0).seconds_of(5.0) == 7.0


def test_a_process_that_is_gone_takes_no_memory() -> None:
    assert resident_bytes(2**22 + signal.SIGTERM) == 0
