"""A real Ray cluster of one node on this machine, as an administrator starts it."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

if TYPE_CHECKING:
    from edgekit.building.cluster.executor import RayExecutor

__all__ = ["TOKEN", "RayCluster", "ray_cluster", "ray_executor", "running_cluster"]

TOKEN = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": 64 * "7"}
"""What its drivers and clients have to set."""

START_S = 120.0

HEAD = """
import sys
changes, arguments = sys.argv[1], sys.argv[2:]
exec(changes)
from ray.scripts.scripts import main
sys.argv = ["ray", "start", "--head", "--block", *arguments]
main()
"""


@dataclass(frozen=True)
class RayCluster:
    """`address`: for drivers on this machine, host:port. `client`: for clients, as --executor takes it."""

    address: str
    client: str
    process: psutil.Process

    def workers(self) -> list[psutil.Process]:
        """Ray's processes that run tasks."""
        found = []
        for process in self.process.children(recursive=True):
            with contextlib.suppress(psutil.Error):
                if process.cmdline()[:1] and process.cmdline()[0].startswith("ray::"):
                    found.append(process)
        return found


@contextlib.contextmanager
def running_cluster(
    cpus: int = 1, environment: Mapping[str, str] | None = None, changes: str = "pass"
) -> Iterator[RayCluster]:
    """Up until the block ends. `changes`: Python that the head runs before it begins."""
    port, client = free_ports(2)
    folder = Path(tempfile.mkdtemp(prefix="ek-", dir="/tmp"))
    options = {
        "--port": port,
        "--ray-client-server-port": client,
        "--num-cpus": cpus,
        "--temp-dir": folder,
        "--include-dashboard": "false",
        "--object-store-memory": 150_000_000,
    }
    command = [sys.executable, "-c", HEAD, changes, *(f"{name}={value}" for name, value in options.items())]
    source = str(Path(__file__).resolve().parents[1])
    settings = {"RAY_USAGE_STATS_ENABLED": "0", "PYTHONPATH": source, **TOKEN, **(environment or {})}
    with (folder / "said").open("wb") as said:
        process = subprocess.Popen(
            command,
            stdout=said,
            stderr=said,
            env={**os.environ, **settings},
            start_new_session=True,
            cwd=folder,
        )
    try:
        for listening in (port, client):
            wait_for_port(listening, process, folder / "said")
        yield RayCluster(f"127.0.0.1:{port}", f"ray://127.0.0.1:{client}", psutil.Process(process.pid))
    finally:
        with contextlib.suppress(psutil.Error):
            started = psutil.Process(process.pid).children(recursive=True)
            for one in started:
                with contextlib.suppress(psutil.Error):
                    one.kill()
        process.kill()
        process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def wait_for_port(port: int, process: subprocess.Popen[bytes], said: Path) -> None:
    """Until somebody listens there."""
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        assert process.poll() is None, said.read_text()
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1.0):
            return
        time.sleep(0.2)
    raise AssertionError(said.read_text())


def free_ports(count: int) -> list[int]:
    """Ports of this machine that nobody uses."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[RayCluster]:
    """One of two CPUs for all tests."""
    pytest.importorskip("ray")
    with running_cluster(2) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def ray_executor(ray_cluster: RayCluster) -> Iterator[RayExecutor]:
    """Connected as a driver on one of its nodes is; the environment names the cluster until all tests are done."""
    from edgekit.building.cluster.executor import RayExecutor

    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**TOKEN, "RAY_ADDRESS": ray_cluster.address}.items():
            patch.setenv(name, value)
        with contextlib.closing(RayExecutor()) as executor:
            assert executor.slots == 2  # it is connected: who copies it takes the same connection
            yield executor
