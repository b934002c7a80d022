"""Tasks on a real Ray cluster of this machine."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path

import psutil
import pytest

from edgekit.building.cluster import executor as module
from edgekit.building.cluster.executor import RayExecutor
from edgekit.building.executor import make_executor
from edgekit.errors import MissingExtraError, StageError, UserError
from edgekit.testing.building_fakes import FakeFatalTask, FakeReadTask, FakeTask
from tests.ray_cluster import TOKEN, RayCluster, running_cluster


def test_the_slots_are_the_clusters_cpus(ray_executor: RayExecutor) -> None:
    assert ray_executor.slots == 2


def test_a_file_travels_by_its_content_and_paths_come_back_as_they_are_here(
    ray_executor: RayExecutor, tmp_path: Path
) -> None:
    (tmp_path / "made").mkdir()
    (tmp_path / "net.onnx").write_text("weights")
    text, said = ray_executor.run(FakeReadTask(str(tmp_path / "net.onnx")), tmp_path / "made")
    assert text == (tmp_path / "made" / "copy").read_text() == "weights"
    assert said == f"{tmp_path / 'net.onnx'} {tmp_path / 'made' / 'copy'} 1"  # one thread for one CPU
    (tmp_path / "net.onnx").write_text("refuse")
    with pytest.raises(StageError) as caught:
        ray_executor.run(FakeReadTask(str(tmp_path / "net.onnx")), tmp_path)
    assert caught.value.cause == f"{tmp_path / 'net.onnx'} cannot be used"


def test_a_worker_that_cannot_see_a_file_says_which(ray_executor: RayExecutor, tmp_path: Path) -> None:
    (tmp_path / "there").write_text("weights")
    places = (str(tmp_path / "there"), "/nowhere/net.py")
    with pytest.raises(StageError, match=r"cannot see /nowhere/net\.py") as caught:
        ray_executor.run(FakeReadTask(str(tmp_path / "there"), places), tmp_path)
    assert "--executor process" in caught.value.remedy


@pytest.mark.slow
def test_a_worker_that_is_killed_costs_its_task_alone_and_a_task_that_always_kills_it_ends(
    ray_executor: RayExecutor, tmp_path: Path
) -> None:
    once, always = tmp_path / "once", tmp_path / "always"
    once.mkdir()
    always.mkdir()
    answers: list[int] = []
    other = threading.Thread(target=lambda: answers.append(ray_executor.run(FakeTask("answer", 5), tmp_path)))
    other.start()
    assert ray_executor.run(FakeFatalTask(f"in:{once}", 1), tmp_path) == 2
    other.join()
    assert answers == [5]
    with pytest.raises(StageError, match=r"its worker died 3 times"):
        ray_executor.run(FakeFatalTask(f"in:{always}", 99), tmp_path)
    assert len(list(always.iterdir())) == 3
    assert ray_executor.run(FakeTask("answer", 6), tmp_path) == 6


def test_a_task_out_of_time_is_ended_with_its_processes(
    ray_executor: RayExecutor, ray_cluster: RayCluster, tmp_path: Path
) -> None:
    with pytest.raises(StageError, match=r"no answer within 1 s"):
        ray_executor.run(FakeTask("hang"), tmp_path, within_s=1.0)
    assert ray_executor.run(FakeTask("answer", 8), tmp_path) == 8


def test_a_gpu_that_the_cluster_does_not_have_is_not_waited_for(
    ray_executor: RayExecutor, tmp_path: Path
) -> None:
    (tmp_path / "net.onnx").write_text("weights")
    with pytest.raises(StageError, match="the cluster has no GPU"):
        ray_executor.run(FakeReadTask(str(tmp_path / "net.onnx"), trains_on="cuda"), tmp_path)
    assert ray_executor.run(FakeReadTask(str(tmp_path / "net.onnx"), trains_on="auto"), tmp_path)


@pytest.mark.slow
def test_clients_from_elsewhere_get_the_same_and_leave_nothing_running(
    ray_executor: RayExecutor, ray_cluster: RayCluster, tmp_path: Path
) -> None:
    (tmp_path / "net.onnx").write_text("weights")
    executor = make_executor(ray_cluster.client, tmp_path / "log")
    with closing(executor):
        assert executor.run(FakeReadTask(str(tmp_path / "net.onnx")), tmp_path)[0] == "weights"
        waiting = threading.Thread(target=run_until_closed, args=(executor, tmp_path))
        waiting.start()
        time.sleep(2.0)
    waiting.join(60.0)
    assert not waiting.is_alive()
    assert not children_named("cluster.driver")
    with pytest.raises(StageError, match="the executor is closed"):
        executor.run(FakeTask("answer"), tmp_path)


def run_until_closed(executor: RayExecutor, folder: Path) -> None:
    with pytest.raises(StageError):
        executor.run(FakeTask("hang"), folder)


def test_another_edgekit_is_refused_in_one_line(
    ray_executor: RayExecutor, ray_cluster: RayCluster, tmp_path: Path
) -> None:
    package = Path(module.__file__).parents[2]
    shutil.copytree(package, tmp_path / "edgekit", ignore=shutil.ignore_patterns("__pycache__"))
    with (tmp_path / "edgekit" / "quiet.py").open("a") as source:
        source.write("\n# mended\n")
    for folder in ("targets", "calibration", "docker"):
        (tmp_path / folder).symlink_to(package.parent / folder)
    program = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from edgekit.building.executor import make_executor\n"
        "from edgekit.errors import UserError\n"
        "from edgekit.testing.building_fakes import FakeTask\n"
        "from pathlib import Path\n"
        "try:\n    make_executor('ray').run(FakeTask('answer'), Path('.'))\n"
        "except UserError as error:\n    print(error)\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=True)
    assert done.stdout.count("\n") == 1
    assert "is another: it has edgekit" in done.stdout


def test_an_address_that_nobody_answers_is_told_at_once() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    begun = time.monotonic()
    with pytest.raises(UserError, match=rf"nobody answers at ray://127.0.0.1:{port} \(asked for 5 s\)"):
        make_executor(f"ray://127.0.0.1:{port}")
    assert time.monotonic() - begun < 2 * module.ANSWER_S


@pytest.mark.parametrize("address", ["a b:1", "host:port", "host:1/x", "ray://host:1", "-:1:2"])
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(UserError, match="is no address; allowed: ray://HOST"):
        make_executor(f"ray://{address}")


def test_without_ray_the_line_has_the_pip_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r'ray is not installed: pip install "edgekit\[ray\]"'):
        make_executor("ray")


@pytest.mark.parametrize("name", [module.CPUS, module.TASK_CPUS])
def test_a_number_of_cpus_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "two")
    with pytest.raises(UserError, match=f"{name}=two; allowed: a whole number above 0"):
        make_executor("ray")


@pytest.mark.slow
def test_a_cluster_of_our_own_keeps_to_its_cpus_and_is_gone_with_its_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv(module.CPUS, "1")
    folder = tmp_path / "a folder whose name is far too long for the path of a socket" / "ray"
    folder.mkdir(parents=True)
    links = set(Path("/tmp").glob("ek-*"))
    before = set(psutil.Process().children(recursive=True))
    executor = make_executor("ray", tmp_path / "log", lambda: folder)
    with closing(executor):
        assert executor.slots == 1
        assert executor.run(FakeTask("file", 7), tmp_path) == 7
        started = psutil.Process().children(recursive=True)
        assert any("raylet" in process.name() for process in started)
        waiting = threading.Thread(target=run_until_closed, args=(executor, tmp_path))
        waiting.start()
        time.sleep(2.0)
        started = psutil.Process().children(recursive=True)
    waiting.join(60.0)
    left = [process for process in started if process not in before and process.is_running()]
    assert not [process for process in left if process.status() != psutil.STATUS_ZOMBIE]
    assert not folder.exists()
    assert set(Path("/tmp").glob("ek-*")) <= links


@pytest.mark.slow
def test_another_python_is_refused_in_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    changes = "import ray, ray._private.utils as utils; utils.compute_version_info = lambda: (ray.__version__, '3.9.1')"
    for name, value in TOKEN.items():
        monkeypatch.setenv(name, value)
    with running_cluster(1, changes=changes) as cluster:
        monkeypatch.setenv("RAY_ADDRESS", cluster.address)
        with closing(make_executor("ray")) as executor, pytest.raises(UserError) as caught:
            executor.run(FakeTask("answer"), tmp_path)
    assert "\n" not in str(caught.value)
    assert "3.9.1" in str(caught.value)


def children_named(word: str) -> list[psutil.Process]:
    """Processes that this one started a while ago, but for those that other tests keep."""
    kept = 1 if os.environ.get("RAY_ADDRESS") else 0
    found = [process for process in psutil.Process().children() if word in " ".join(process.cmdline())]
    return found[kept:]
