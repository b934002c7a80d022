"""The process executor: a task that takes its process with it is that task's failure alone."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgekit.building.worker import ProcessExecutor
from edgekit.errors import StageError
from edgekit.testing.building_fakes import FakeEndlessTask, FakeTask


@pytest.fixture
def executor(tmp_path: Path) -> Iterator[ProcessExecutor]:
    made = ProcessExecutor(tmp_path / "log")
    yield made
    made.close()


def test_a_task_that_kills_its_process_is_told_and_the_next_one_works(
    executor: ProcessExecutor, tmp_path: Path
) -> None:
    with pytest.raises(StageError, match="the fake process was killed by SIGSEGV") as caught:
        executor.run(FakeTask("die"), tmp_path)
    assert str(tmp_path / "log") in caught.value.remedy
    assert executor.run(FakeTask("answer", 5), tmp_path) == 5


def test_a_process_killed_from_outside_is_told_without_a_log_that_is_not_there(tmp_path: Path) -> None:
    executor = ProcessExecutor()
    executor.run(FakeTask("answer"), tmp_path)
    process = executor._process
    assert process is not None
    os.kill(process.pid, signal.SIGSTOP)  # it shall not answer before it is killed
    killer = threading.Thread(target=kill_soon, args=(process.pid,))
    killer.start()
    with pytest.raises(StageError, match="was killed by SIGSEGV") as caught:
        executor.run(FakeTask("answer"), tmp_path)
    killer.join()
    assert caught.value.remedy == ""
    assert executor.run(FakeTask("answer", 2), tmp_path) == 2
    executor.close()


def kill_soon(process: int) -> None:
    time.sleep(0.1)
    os.kill(process, signal.SIGSEGV)
    os.kill(process, signal.SIGCONT)  # a stopped process dies of it only then


def test_a_task_that_does_not_answer_in_time_is_ended(executor: ProcessExecutor, tmp_path: Path) -> None:
    executor.run(FakeTask("answer"), tmp_path)  # the process is up: its start is not counted
    process = executor._process
    with pytest.raises(StageError, match=r"no answer within 0\.2 s"):
        executor.run(FakeEndlessTask(), tmp_path)
    assert process is not None
    assert process.poll() == -signal.SIGKILL


def test_a_process_that_ends_on_its_own_is_told_with_its_exit_code(
    executor: ProcessExecutor, tmp_path: Path
) -> None:
    with pytest.raises(StageError, match="the fake process ended with exit code 7"):
        executor.run(FakeTask("leave"), tmp_path)
