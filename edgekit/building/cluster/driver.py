"""The process that speaks with Ray: it connects, hands tasks over, writes what comes back, and ends what it began.

It is a process of its own because Ray rules the process that it lives in: signals, logs, threads, one cluster at a
time; and so that what workers answer is unpickled (Ray does that, `carried` does not) away from the build. It reads one
message a line and answers in lines; when its standard input ends, it cancels what is running and leaves.
"""

from __future__ import annotations

import logging
import os
import secrets
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from edgekit.building.cluster import sameness
from edgekit.building.cluster.carried import Request, content_of, unpack
from edgekit.errors import StageError, in_one_line

__all__ = ["Cancel", "Done", "Joined", "Joining", "Order"]

RETRIES = 2
"""How often a task is begun again whose worker died."""

PROBE_S = 90.0
"""For one worker to start and say what it is."""

OBJECT_STORE_BYTES = 512 << 20
"""Of a cluster of our own; what is more goes to disk."""


@dataclass(frozen=True)
class Joining:
    """The first line. `address`: Ray's; "": a cluster of our own, with so many `cpus`, in `folder`, ended with this.

    `task_cpus`: what each task declares.
    """

    address: str
    folder: str
    cpus: int
    task_cpus: int


@dataclass(frozen=True)
class Joined:
    """The answer to it. `refused`: why the cluster cannot be used."""

    cpus: float = 0.0
    gpus: float = 0.0
    refused: str = ""


@dataclass(frozen=True)
class Order:
    """One task. `folder`: where its files go on this machine."""

    number: int
    request: Request
    gpus: int
    folder: str


@dataclass(frozen=True)
class Cancel:
    """The task of that number is to be ended."""

    number: int


@dataclass(frozen=True)
class Done:
    """What became of an order: a worker's reply, and what libraries said there; or a failure of the cluster's."""

    number: int
    reply: msgspec.Raw
    log: str = ""
    failure: tuple[str, str] | None = None


@dataclass(frozen=True)
class Line:
    """One line to this process."""

    order: Order | None = None
    cancel: Cancel | None = None


NOTHING = msgspec.Raw(b"null")


class Cluster:
    """A connection to Ray. One thread for each task; what they share is behind `lock`."""

    def __init__(self, opening: Joining) -> None:
        import ray

        self.opening = opening
        self.ray = ray
        self.here = sameness.sameness()
        self.lock = threading.Lock()
        self.running: dict[int, Any] = {}
        self.cancelled: set[int] = set()
        self.put: dict[str, Any] = {}
        ray.cloudpickle.register_pickle_by_value(sameness)

    def connect(self) -> Joined:
        """Find a cluster that can be used, or say why there is none. May raise anything of Ray's."""
        ray, opening = self.ray, self.opening
        given: dict[str, Any] = {"address": opening.address}
        if not opening.address:
            given = {
                "address": "local",
                "num_cpus": opening.cpus,
                "include_dashboard": False,
                "_temp_dir": opening.folder,
                "_node_ip_address": "127.0.0.1",
                "object_store_memory": OBJECT_STORE_BYTES,
            }
        join = partial(ray.init, **given, log_to_driver=False, logging_level=logging.ERROR)
        try:
            join()
        except ConnectionAbortedError:  # a busy head did not start the client's own server in its time
            join()
        nodes = [node for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU", 0) > 0]
        cpus = sum(node["Resources"]["CPU"] for node in nodes)
        if cpus < opening.task_cpus:
            return Joined(refused=f"it has {cpus:g} CPUs, and a task asks for {opening.task_cpus}")
        for node in nodes:
            problem = sameness.difference(self.here, self.seen_on(node))
            if problem:
                return Joined(refused=f"its worker {node['NodeManagerAddress']} is another: {problem}")
        return Joined(cpus, sum(node["Resources"].get("GPU", 0) for node in nodes))

    def seen_on(self, node: Mapping[str, Any]) -> dict[str, str]:
        """What a worker on that node says of itself."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        where = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        ask = self.ray.remote(sameness.sameness).options(num_cpus=1, scheduling_strategy=where)
        said: dict[str, str] = self.ray.get(ask.remote(tuple(self.here)), timeout=PROBE_S)
        return said

    def do(self, order: Order) -> Done:
        """One task, from the files that it takes to the files that it gives."""
        stage = order.request.message.stage
        try:
            reference = self.begun(order)
            packed = self.ray.get(reference)
            if not isinstance(packed, bytes) or packed[:1] not in (b"A", b"R"):
                raise StageError(stage, "what a worker of the cluster sent cannot be read")
            if packed[:1] == b"R":
                raise StageError(stage, f"a worker of the cluster is another: {packed[1:].decode()}")
            reply, log = unpack(packed[1:], Path(order.folder), stage)
            return Done(order.number, msgspec.Raw(reply), log)
        except StageError as error:
            return Done(order.number, NOTHING, failure=(error.cause, error.remedy))
        except OSError as error:
            return Done(order.number, NOTHING, failure=(f"{error.strerror}: {error.filename}", ""))
        except Exception as error:  # noqa: BLE001 Ray has many, and a lost connection has others
            return Done(order.number, NOTHING, failure=told(error))
        finally:
            with self.lock:
                self.running.pop(order.number, None)

    def begun(self, order: Order) -> Any:
        """Ray's reference to the result of a task that it has taken over."""
        contents = [
            self.content(Path(folder.path) / file.path, file)
            for folder in order.request.folders
            for file in folder.files
        ]
        task = self.ray.remote(sameness.performed).options(
            num_cpus=self.opening.task_cpus, num_gpus=order.gpus, max_retries=RETRIES, retry_exceptions=False
        )
        request = msgspec.json.encode(order.request)
        with self.lock:
            if order.number in self.cancelled:
                raise StageError(order.request.message.stage, "it was cancelled")
            reference = self.running[order.number] = task.remote(self.here, request, *contents)
        return reference

    def content(self, path: Path, file: Any) -> Any:
        """Ray's reference to a file's content, put there once for all tasks."""
        with self.lock:
            if file.sha256 not in self.put:
                content = content_of(file, path.read_bytes(), "carrying")
                self.put[file.sha256] = self.ray.put(bytes(content))
            return self.put[file.sha256]

    def cancel(self, number: int) -> None:
        """End a task, with its worker's process."""
        with self.lock:
            self.cancelled.add(number)
            reference = self.running.get(number)
        if reference is not None:
            self.ray.cancel(reference, force=True)

    def close(self) -> None:
        """End all tasks, and the cluster where it is ours."""
        with self.lock:
            numbers = list(self.running)
        for number in numbers:
            self.cancel(number)
        self.ray.shutdown()


def told(error: Exception) -> tuple[str, str]:
    """What Ray says of a task that it gave up, in a line, and the remedy."""
    kind = type(error).__name__
    if kind in (
        "WorkerCrashedError",
        "NodeDiedError",
        "OutOfMemoryError",
        "ObjectLostError",
        "OwnerDiedError",
    ):
        return f"its worker died {RETRIES + 1} times ({kind})", "see the cluster's own logs"
    if kind == "TaskCancelledError":
        return "it was cancelled", ""
    return f"Ray gave it up: {kind}: {in_one_line(error)}", ""


def refusal(error: BaseException) -> str:
    """Why Ray did not connect, in one line."""
    cause = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    if "uthenticat" in type(cause).__name__ or "uthentication token" in str(cause):
        return "it asks for a token: set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN as there"
    return in_one_line(error) or type(error).__name__


def quiet_ray(opening: Joining) -> None:
    """Ray's settings, which it reads when it is imported."""
    settings = {
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
        "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
        "RAY_task_oom_retries": str(RETRIES),
    }
    os.environ.update(settings)
    # Ray gives the working folder to its workers as a place of modules: no onnx.py of a user may stand for the package.
    os.chdir(opening.folder or os.sep)
    if not opening.address:
        os.environ.pop("RAY_ADDRESS", None)
        # Ray listens on every network of the machine: only who has this build's token is answered.
        os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=secrets.token_hex(32))
        source = str(Path(__file__).resolve().parents[3])
        if Path(source).name not in ("site-packages", "dist-packages"):
            places = [source, *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
            os.environ["PYTHONPATH"] = os.pathsep.join(place for place in places if place)


def main(parent: int) -> None:
    """Serve one build until standard input ends. What Ray prints goes to standard error."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    writing = threading.Lock()

    def say(what: object) -> None:
        with writing:
            answers.write(msgspec.json.encode(what) + b"\n")
            answers.flush()

    opening = msgspec.json.decode(sys.stdin.buffer.readline(), type=Joining)
    quiet_ray(opening)
    cluster = Cluster(opening)
    try:
        try:
            opened = cluster.connect()
        except Exception as error:  # noqa: BLE001 whatever keeps Ray from connecting is told in one line
            opened = Joined(refused=refusal(error))
        say(opened)
        if opened.refused:
            return
        for line in sys.stdin.buffer:
            asked = msgspec.json.decode(line, type=Line)
            if asked.cancel is not None:
                cluster.cancel(asked.cancel.number)
            if asked.order is not None:
                order = asked.order
                threading.Thread(target=lambda order=order: say(cluster.do(order)), daemon=True).start()
    finally:
        cluster.close()
