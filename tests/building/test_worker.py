"""The process executor: a task that takes its process with it is that task's failure alone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgekit.building import worker
from edgekit.building.worker import ProcessExecutor
from edgekit.errors import StageError
from edgekit.testing.building_fakes import FakeEndlessTask, FakeImportTask, FakeTask
from edgekit.testing.onnx_networks import residual_network


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


SHADOWING = "from pathlib import Path\nPath(__file__).with_suffix('.ran').touch()\n"


@pytest.fixture
def shadowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with modules that are named like packages."""
    for module in ("onnx", "numpy", "msgspec", "selectors", "edgekit"):
        (tmp_path / f"{module}.py").write_text(SHADOWING)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("places", ["", "{0}", ":{0}", "{0}::{0}/more"])
def test_a_module_in_the_working_folder_does_not_stand_for_a_package(
    executor: ProcessExecutor, shadowed: Path, monkeypatch: pytest.MonkeyPatch, places: str
) -> None:
    import edgekit

    own = os.environ.get("PYTHONPATH") or str(Path(edgekit.__file__).parents[1])
    monkeypatch.setenv("PYTHONPATH", places.format(own))
    for module in ("onnx", "numpy"):
        assert not executor.run(FakeImportTask(module), shadowed).startswith(str(shadowed))
    assert executor.run(FakeImportTask("edgekit.building.worker"), shadowed) == worker.__file__
    assert not list(shadowed.glob("*.ran"))


def test_nor_does_it_for_the_command_itself(shadowed: Path) -> None:
    (shadowed / "edgekit.py").unlink()
    model = residual_network(shadowed / "net.onnx")
    command = [sys.executable, "-m", "edgekit", "lint", str(model), "--target", "generic-cpu"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not list(shadowed.glob("*.ran"))


PARENT = """
from pathlib import Path
from edgekit.building.worker import ProcessExecutor
from edgekit.testing.building_fakes import FakeEndlessTask, FakeTask
executor = ProcessExecutor()
executor.run(FakeTask("answer"), Path())
print(executor._process.pid, flush=True)
FakeEndlessTask.timeout_s = None
executor.run(FakeEndlessTask(), Path())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a process with its parent")
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP])
def test_a_process_in_the_midst_of_a_task_ends_with_its_parent(how: signal.Signals) -> None:
    parent = subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    assert Path(f"/proc/{child}").exists()
    parent.send_signal(how)
    parent.communicate()
    deadline = time.monotonic() + 30
    while running(child) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not running(child)


def running(process: int) -> bool:
    """Whether there is such a process; one that ended and was not yet collected counts as gone."""
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "ZX"
