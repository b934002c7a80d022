"""Full queues, tokens, stops, and what ends `edgekit serve` before it begins."""

from __future__ import annotations

import base64
import concurrent.futures
import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.bundle import BoardIdentity, CandidateFacts, Offer, write_candidates
from edgekit.cli import main
from edgekit.serving.service import ServiceLimits
from edgekit.types import Budget
from tests.bundles import CLASSES, artifact_of, bundle_parts
from tests.serving.services import Asked, Reply, served
from tests.serving.test_predict import IMAGES, npy

NPY = "application/x-npy"


@pytest.fixture
def held(tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Asked, threading.Event]]:
    """A service with room for three requests, whose model waits for the event."""
    leave = threading.Event()
    with served(tiny_bundle, ServiceLimits(200_000, queue=3)) as asked:
        model = asked.service.model
        run = model.run

        def slow(arrays: Any) -> Any:
            leave.wait(60)
            return run(arrays)

        monkeypatch.setattr(model, "run", slow)
        try:
            yield asked, leave
        finally:
            leave.set()


def wait_until(condition: Any) -> None:
    until = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.01)


def test_a_full_queue_is_told_and_empties(held: tuple[Asked, threading.Event]) -> None:
    asked, leave = held
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        waiting = [pool.submit(asked.ask, npy(IMAGES[0]), NPY) for _ in range(3)]
        wait_until(lambda: asked.service._counts.open == 3)
        refused = asked.ask(npy(IMAGES[0]), NPY)
        assert refused.status == 503
        assert int(refused.headers["retry-after"]) >= 1
        assert "3 requests are waiting" in refused.error
        assert asked.get("/health").status == 200
        leave.set()
        assert [future.result().status for future in waiting] == [200] * 3
    assert asked.ask(npy(IMAGES[0]), NPY).status == 200
    assert 'edgekit_requests_total{status="503"} 1.0' in asked.get("/metrics").body.decode()


def test_a_model_that_no_longer_answers_is_told(tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(arrays: Any) -> Any:
        raise RuntimeError("the accelerator is gone")

    with served(tiny_bundle) as asked:
        monkeypatch.setattr(asked.service.model, "run", broken)
        reply = asked.ask(npy(IMAGES[0]), NPY)
        assert reply.status == 500  # not the client's mistake
        assert asked.get("/health").status == 503


@pytest.mark.parametrize(
    ("header", "status"),
    [
        ("", 401),
        ("Bearer wrong", 401),
        ("Bearer", 401),
        ("Basic !!!", 401),
        ("Digest sésame", 401),
        ("Bearer sésame", 200),
        ("Basic " + base64.b64encode("anybody:sésame".encode()).decode(), 200),
        ("Basic " + base64.b64encode(b"anybody:wrong").decode(), 401),
    ],
)
def test_a_token_is_asked_for(tiny_bundle: Path, header: str, status: int) -> None:
    with served(tiny_bundle, token="sésame") as asked:
        given = {"Authorization": header.encode().decode("latin-1")} if header else {}
        for path in ("/", "/docs", "/metrics", "/openapi.json"):
            assert asked.get(path, **given).status == status
        reply = asked.ask(npy(IMAGES[0]), NPY, **given)
        assert reply.status == status
        if status == 401:
            assert "token" in reply.error
            assert (
                "Bearer" in reply.headers["www-authenticate"] or "Basic" in reply.headers["www-authenticate"]
            )
        assert asked.get("/health").status == 200


# ---- the command


@contextlib.contextmanager
def command(bundle: Path, *options: str) -> Iterator[tuple[subprocess.Popen[str], int, list[str]]]:
    """`edgekit serve` as a process of its own, its port, and its opening lines."""
    words = [sys.executable, "-m", "edgekit", "serve", str(bundle), "--port", "0", *options]
    process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    try:
        lines = [process.stderr.readline(), process.stderr.readline()]
        match = re.search(r"http://[^ ]*:([0-9]+) ", lines[0])
        assert match, lines + process.stderr.readlines()
        yield process, int(match[1]), lines
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


def ask(port: int, body: bytes) -> Reply:
    return Asked(port, None).ask(body, NPY)  # type: ignore[arg-type]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_finishes_what_came_and_refuses_what_is_new(tiny_bundle: Path, number: int) -> None:
    with command(tiny_bundle) as (process, port, lines):
        assert "one by one: the first axis of image, scores is fixed" in lines[1]
        assert "16 MB" in lines[1]
        many = npy(np.concatenate([IMAGES] * 300))
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            with socket.create_connection(("127.0.0.1", port), timeout=60) as half:
                head = f"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Type: {NPY}\r\n"
                head += f"Content-Length: {len(many)}\r\n\r\n"
                half.sendall(head.encode() + many[:100])
                assert (
                    pool.submit(ask, port, npy(IMAGES[0])).result().status == 200
                )  # so the half one has come too
                process.send_signal(number)
                wait_until(lambda: refuses(port))
                half.sendall(many[100:])
                answer = b""
                while chunk := half.recv(65536):
                    answer += chunk
            assert answer.startswith(b"HTTP/1.1 200 ")
            assert answer.count(CLASSES[0].encode()) + answer.count(CLASSES[1].encode()) > 0
        assert process.wait(60) == 0
        assert process.stderr is not None
        assert process.stderr.read() == "stopped; 2 requests were answered\n"


def refuses(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except ConnectionRefusedError:
        return True
    return False


def test_elsewhere_without_a_token_is_warned_of(tiny_bundle: Path) -> None:
    with command(tiny_bundle, "--host", "0.0.0.0") as (process, _, _):
        assert process.stderr is not None
        line = process.stderr.readline()
    assert line == "warning: everybody who reaches 0.0.0.0 can ask; --token keeps others out\n"


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """The one line with which the command ends, exit code 2."""
    with pytest.raises(SystemExit) as ended:
        main(["serve", *words])
    assert ended.value.code == 2
    told = capsys.readouterr().err.strip()
    assert "\n" not in told
    return told


def test_a_port_in_use_is_told(tiny_bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert f"port {port} is in use; --port takes another" in refused(
            capsys, str(tiny_bundle), "--port", port
        )


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (("--host", "no.such.host.invalid"), "no.such.host.invalid is no address of this machine"),
        (("--host", "203.0.113.7"), "203.0.113.7 port 0 cannot be bound"),
        (("--token", ""), "--token is empty"),
        (("--max-request", "much"), "'much' is not a size"),
        (("--max-wait-ms", "soon"), "'soon' is not a latency"),
    ],
)
def test_options_that_cannot_be_are_told(
    tiny_bundle: Path, capsys: pytest.CaptureFixture[str], options: tuple[str, ...], line: str
) -> None:
    assert line in refused(capsys, str(tiny_bundle), "--port", "0", *options)


def test_no_bundle_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "manifest.json is missing" in refused(capsys, str(tmp_path), "--port", "0")
    assert "manifest.json" in refused(capsys, str(tmp_path / "nothing"), "--port", "0")


def test_a_changed_bundle_is_told(
    tiny_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(tiny_bundle, tmp_path / "bundle")
    (tmp_path / "bundle" / "labels.txt").write_text("cow\n")
    assert "labels.txt was changed" in refused(capsys, str(tmp_path / "bundle"), "--port", "0")


def test_a_bundle_of_several_candidates_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    artifact = artifact_of("onnxruntime", tmp_path / "artifact")
    facts = CandidateFacts(
        "a", "candidates/a", "original", "onnxruntime", "fp32", "", None, "top-1", 0.9, 0.0, 1
    )
    write_candidates(
        tmp_path / "bundle", [Offer(facts, bundle_parts(artifact))], target="t", threads=1, budget=Budget(),
        identity=BoardIdentity("x86_64"), edgekit_version="0",
    )  # fmt: skip
    line = refused(capsys, str(tmp_path / "bundle"), "--port", "0")
    assert "holds several candidates; give one of them, such as" in line


def test_a_missing_extra_is_told(
    tiny_bundle: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "edgekit.cli.serve.find_spec",
        lambda name: None if name == "uvicorn" else find_spec(name),
    )
    assert (
        refused(capsys, str(tiny_bundle)) == 'edgekit: uvicorn is not installed: pip install "edgekit[serve]"'
    )


def test_the_token_may_stand_in_the_environment(tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environ, "EDGEKIT_TOKEN", "open sesame")
    with command(tiny_bundle) as (_, port, _):
        assert ask(port, npy(IMAGES[0])).status == 401
        own = Asked(port, None).ask(npy(IMAGES[0]), NPY, Authorization="Bearer open sesame")  # type: ignore[arg-type]
        assert own.status == 200
