"""`edgekit serve` against the same bundle's bare inference: throughput, wrong answers, and a body that is too large.

Rounds are interleaved: so many inferences in one process, then as many requests by 64 clients in processes of their
own. Every answer is compared with the bare answer of its own sample. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import io
import json
import multiprocessing
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
from common import edgekit

SAMPLES = 64
LARGE = 100 * 10**6


def make_bundle(work: Path, size: int) -> Path:
    """mobilenet.py's network as float32 in ONNX Runtime, untrained: what is timed does not depend on its weights.

    Its images are `size` pixels wide and high.
    """
    out = work / f"out-{size}"
    if not (out / "bundle" / "manifest.json").exists():
        import torch
        from mobilenet import make
        from safetensors.torch import save_file

        work.mkdir(parents=True, exist_ok=True)
        rng = np.random.default_rng(0)
        images = rng.normal(size=(400, 1, size, size)).astype(np.float32)
        np.savez(work / f"noise-{size}.npz", x=images, y=np.arange(400) % 10)
        torch.manual_seed(0)
        save_file(make().state_dict(), work / "net.safetensors")
        edgekit(
            "build", "--target", "generic-cpu", "--model", f"{Path(__file__).parent / 'mobilenet.py'}:make",
            "--weights", str(work / "net.safetensors"),
            "--data", str(work / f"noise-{size}.npz"), "--precision", "fp32", "--runtime", "onnxruntime", "--no-prune",
            "--allow-weak-original", "--max-latency", "1s", "--max-drop", "100%",
            "--out", str(out), "--store", str(work / "store"),
        )  # fmt: skip
    return out / "bundle"


def make_samples(model: Any) -> np.ndarray:
    """Stored samples of the first input, as the build was fed: uint8 where an image is declared, else floats."""
    spec, rng = model.inputs[0], np.random.default_rng(1)
    shape = [SAMPLES, *(size or 8 for size in spec["shape"][1:])]
    if model.how(0)["input_layout"] == "nhwc":
        shape = [shape[0], *shape[2:], shape[1]]
        return rng.integers(0, 256, shape).astype(np.uint8)
    return rng.normal(size=shape).astype(np.float32)


def bare(bundle: str, folder: str, link: Connection) -> None:
    """A process that answers `count` with the seconds of so many inferences at batch 1, and those of its CPU."""
    import edgekit as package

    samples = np.load(f"{folder}/samples.npy")
    with package.load(bundle) as model:
        prepared = [model.prepare(sample)[0] for sample in samples]
        np.savez(f"{folder}/wanted.npz", *[model.run(arrays)[0][0] for arrays in prepared])
        link.send(0.0)
        while count := link.recv():
            since, since_cpu = time.perf_counter(), time.process_time()
            for index in range(count):
                model.run(prepared[index % SAMPLES])
            link.send((time.perf_counter() - since, time.process_time() - since_cpu))


def ask_many(port: int, folder: str, clients: int, link: Connection) -> None:
    """A process of so many clients that answers `count` with what became of so many requests."""
    samples = np.load(f"{folder}/samples.npy")
    with np.load(f"{folder}/wanted.npz") as stored:
        wanted = [stored[f"arr_{index}"] for index in range(SAMPLES)]
    requests = []
    for sample in samples:
        stream = io.BytesIO()
        np.save(stream, sample)
        body = stream.getvalue()
        head = (
            "POST /predict HTTP/1.1\r\nHost: here\r\nContent-Type: application/x-npy\r\n"
            f"Accept: application/x-npy\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        requests.append(head.encode() + body)
    while count := link.recv():
        link.send(asyncio.run(_all_clients(port, requests, wanted, count, clients)))


async def _all_clients(
    port: int, requests: list[bytes], wanted: list[np.ndarray], count: int, clients: int
) -> dict[str, Any]:
    numbers = iter(range(count))
    told: dict[str, Any] = {"statuses": Counter(), "wrong": 0, "largest_deviation": 0.0, "ms": []}
    await asyncio.gather(*(_client(port, requests, wanted, numbers, told) for _ in range(clients)))
    return told


async def _client(
    port: int, requests: list[bytes], wanted: list[np.ndarray], numbers: Iterator[int], told: dict[str, Any]
) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for number in numbers:
        index = number % SAMPLES
        while True:
            since = time.perf_counter()
            writer.write(requests[index])
            head = await reader.readuntil(b"\r\n\r\n")
            status = int(head.split(b" ", 2)[1])
            length = re.search(rb"content-length: ([0-9]+)", head.lower())
            assert length is not None
            body = await reader.readexactly(int(length[1]))
            told["statuses"][status] += 1
            if status != 503:
                break
            await asyncio.sleep(1)
        if status == 200:
            told["ms"].append(1000 * (time.perf_counter() - since))
            answer = np.load(io.BytesIO(body), allow_pickle=False)
            own = wanted[index]
            off = float(np.abs(answer - own).max()) / max(float(np.abs(own).max()), 1e-6)
            told["largest_deviation"] = max(told["largest_deviation"], off)
            told["wrong"] += answer.shape != own.shape or off > 1e-4
    writer.close()
    await writer.wait_closed()


def memory_bytes(pid: int) -> tuple[int, int]:
    """Of a process: resident now, and its peak."""
    text = Path(f"/proc/{pid}/status").read_text()
    now, peak = (re.search(rf"{name}:\s+([0-9]+) kB", text) for name in ("VmRSS", "VmHWM"))
    assert now is not None
    assert peak is not None
    return 1024 * int(now[1]), 1024 * int(peak[1])


def cpu_seconds(pid: int) -> tuple[float, float]:
    """Of a process: its first thread, which is the server's event loop, and all others, which run the network."""
    seconds = {True: 0.0, False: 0.0}
    for task in Path(f"/proc/{pid}/task").iterdir():
        fields = (task / "stat").read_text().rpartition(")")[2].split()
        seconds[int(task.name) == pid] += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return seconds[True], seconds[False]


def send_large(port: int, pid: int, declared: bool) -> dict[str, Any]:
    """A body of 100 MB, with Content-Length or chunked; by how much the server's peak grew."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")  # the peak begins anew
    before, _ = memory_bytes(pid)
    chunk = bytes(10**6)
    headers = {"Content-Type": "application/x-npy", **({"Content-Length": str(LARGE)} if declared else {})}
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    connection.request("POST", "/predict", (chunk for _ in range(LARGE // len(chunk))), headers)
    answer = connection.getresponse()
    told = json.loads(answer.read())
    connection.close()
    _, peak = memory_bytes(pid)
    return {"status": answer.status, "error": told["error"], "peak_growth_bytes": max(0, peak - before)}


def start_server(bundle: Path, workers: int) -> tuple[subprocess.Popen[str], int]:
    """`edgekit serve` and its port."""
    words = [sys.executable, "-m", "edgekit", "serve", str(bundle), "--port", "0", "--workers", str(workers)]
    process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    line = process.stderr.readline()
    match = re.search(r":([0-9]+) \(/predict", line)
    if match is None:
        raise SystemExit(line + process.stderr.read())
    return process, int(match[1])


def processes(target: Any, arguments: list[tuple[Any, ...]]) -> tuple[list[Any], list[Connection]]:
    context = multiprocessing.get_context("spawn")
    started, links = [], []
    for given in arguments:
        ours, theirs = context.Pipe()
        process = context.Process(target=target, args=(*given, theirs), daemon=True)
        process.start()
        started.append(process)
        links.append(ours)
    return started, links


def asked(links: list[Connection], count: int) -> list[Any]:
    for link in links:
        link.send(count // len(links))
    return [link.recv() for link in links]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", type=Path, help="of one input; without it one is built of mobilenet.py")
    parser.add_argument("--size", type=int, default=96, help="of its images; larger ones take longer")
    parser.add_argument("--work", type=Path, default=Path("serve-work"))
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--client-processes", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=10)
    options = parser.parse_args()
    bundle = options.bundle or make_bundle(options.work, options.size)
    each = options.requests // options.rounds
    with tempfile.TemporaryDirectory() as folder:
        import edgekit as package

        with package.load(bundle) as model:
            told = {"inputs": model.inputs, "outputs": model.outputs}
            np.save(f"{folder}/samples.npy", make_samples(model))
        _, bare_links = processes(bare, [(str(bundle), folder)])
        bare_links[0].recv()
        server, port = start_server(bundle, 1)
        count = options.client_processes
        _, links = processes(ask_many, [(port, folder, options.clients // count)] * count)
        asked(links, count * SAMPLES)  # warm
        bare_rates, served_rates, outcomes, bare_cpu = [], [], [], 0.0
        begun = cpu_seconds(server.pid)
        for number in range(options.rounds):
            ((bare_s, used_s),) = asked(bare_links, each)
            bare_rates.append(each / bare_s)
            bare_cpu += used_s
            since = time.perf_counter()
            outcomes += asked(links, each)
            served_rates.append(each / (time.perf_counter() - since))
            so_far = dict(sum((outcome["statuses"] for outcome in outcomes), Counter()))
            wrong = sum(outcome["wrong"] for outcome in outcomes)
            print(
                f"round {number + 1}: bare {bare_rates[-1]:.1f}/s, served {served_rates[-1]:.1f}/s, "
                f"statuses {so_far}, {wrong} wrong",
                file=sys.stderr,
                flush=True,
            )
        loop_cpu, worker_cpu = (now - then for now, then in zip(cpu_seconds(server.pid), begun, strict=True))
        statuses = sum((outcome["statuses"] for outcome in outcomes), Counter())
        times_ms = [ms for outcome in outcomes for ms in outcome["ms"]]
        ratios = [served / own for served, own in zip(served_rates, bare_rates, strict=True)]
        large = {
            "content_length": send_large(port, server.pid, True),
            "chunked": send_large(port, server.pid, False),
        }
        for link in (*bare_links, *links):
            link.send(0)
        server.terminate()
        code = server.wait(60)
    report = {
        "machine": {"cpu": platform.processor() or platform.machine(), "cpus": os.cpu_count(), "load": os.getloadavg()},
        "model": told,
        "requests": sum(statuses.values()),
        "clients": options.clients,
        "statuses": {str(status): number for status, number in sorted(statuses.items())},
        "wrong_answers": sum(outcome["wrong"] for outcome in outcomes),
        "largest_deviation": max(outcome["largest_deviation"] for outcome in outcomes),
        "one_inference_ms": 1000 / statistics.median(bare_rates),
        "bare_per_s": statistics.median(bare_rates),
        "served_per_s": statistics.median(served_rates),
        "ratio_median": statistics.median(ratios),
        "cpu_ms_each": {
            "bare": 1000 * bare_cpu / each / options.rounds,
            "served_worker": 1000 * worker_cpu / sum(statuses.values()),
            "served_event_loop": 1000 * loop_cpu / sum(statuses.values()),
        },
        "ratio_of_rounds": [round(ratio, 3) for ratio in ratios],
        "request_ms": {f"p{share}": float(np.percentile(times_ms, share)) for share in (50, 90, 99)},
        "hundred_megabytes": large,
        "exit_code_after_sigterm": code,
    }  # fmt: skip
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
