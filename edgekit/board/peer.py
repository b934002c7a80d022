"""A worker seen from the coordinator: one question at a time, a time limit, and what is left when it dies."""

import contextlib
import json
import os
import select
import signal
import subprocess
import time
from typing import Any, Callable, Dict, Iterator, Optional

from .process import command

STDERR_LINES = 20


class EntryError(Exception):
    """A worker that answered with an error, died or took too long. `details` is the entry's result."""

    def __init__(self, details: Dict[str, Any]) -> None:
        Exception.__init__(self, details["cause"])
        self.details = details


class Peer(object):
    """A worker process seen from the coordinator."""

    def __init__(self, entry: Dict[str, Any], job: Dict[str, Any], errors: Any) -> None:
        self.entry = entry
        self.left_s = float(job["timeout_s"])
        self.result: Dict[str, Any] = {"status": "ok", "notes": []}
        self.errors = errors
        cpus, threads = entry.get("cpus", job["cpus"]), entry.get("threads", job["threads"])
        environment = dict(os.environ, PYTHONUNBUFFERED="1")
        for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
            environment[name] = str(threads)
        arguments = ["worker", "--parent", str(os.getpid())]
        if cpus:
            arguments += ["--cpus", ",".join(str(cpu) for cpu in cpus)]
        self.process = subprocess.Popen(
            command(*arguments),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            bufsize=0,
            env=environment,
        )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.stdin, self.stdout = self.process.stdin, self.process.stdout
        self.buffer = b""

    def ask(self, stage: str, progress: Optional[Callable[[int, int], None]] = None, **arguments: Any) -> Any:
        """One request and its answer. Raises EntryError; the time counts against the entry's own limit."""
        begin = time.perf_counter()
        request = json.dumps({"do": stage, "with": arguments}) + "\n"
        # Of a worker that died while it waited, the end of its answers tells below.
        with contextlib.suppress(BrokenPipeError):
            self.stdin.write(request.encode())
        for message in self._messages(stage, begin + self.left_s):
            if "answer" in message:
                self.left_s -= time.perf_counter() - begin
                return message["answer"]
            if "error" in message:
                self._fail(stage, _one_line(message["error"]))
            elif progress:
                progress(*message["progress"])
        raise AssertionError("unreachable: answers end by an answer or by _fail")

    def _messages(self, stage: str, deadline: float) -> Iterator[Dict[str, Any]]:
        pipe = self.stdout.fileno()
        while True:
            while b"\n" in self.buffer:
                line, self.buffer = self.buffer.split(b"\n", 1)
                yield json.loads(line.decode())
            if not select.select([pipe], [], [], max(0.0, deadline - time.perf_counter()))[0]:
                self.process.kill()
                self._fail(stage, "no answer within the entry's time limit")
            chunk = os.read(pipe, 1 << 20)
            if not chunk:
                self._fail(stage, "")
            self.buffer += chunk

    def _fail(self, stage: str, cause: str) -> None:
        if cause and not cause.startswith("no answer"):
            self._wait(2.0)
        code = self.process.wait() if not cause else self._wait(2.0)
        name = ""
        if code is not None and code < 0:
            known = {item.value: item.name for item in signal.Signals}
            name = known.get(-code, "signal %d" % -code)
        self.errors.seek(0)
        lines = self.errors.read().decode(errors="replace").splitlines()[-STDERR_LINES:]
        if not cause:
            cause = (
                "the runtime was ended by %s" % name if name else "the runtime ended with exit code %s" % code
            )
        details = {
            "status": "failed",
            "stage": stage,
            "cause": cause,
            "signal": name or None,
        }
        raise EntryError(dict(details, stderr=lines))

    def _wait(self, seconds: float) -> Optional[int]:
        try:
            return self.process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()

    def close(self) -> None:
        """End the worker: it leaves when its stdin ends."""
        self.stdin.close()
        self.stdout.close()
        self._wait(5.0)


def _one_line(text: str) -> str:
    """An exception's text without the source positions that OpenVINO puts before it."""
    kind, _, message = text.partition(": ")
    lines = [line.strip() for line in message.splitlines()]
    kept = [line for line in lines if line and not line.startswith(("Exception from ", "Check '"))]
    return "%s: %s" % (kind, " ".join(kept)[:500])
