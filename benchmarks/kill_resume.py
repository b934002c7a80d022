"""kill -9 at random moments of a small build, each resumed: does the final result equal the uninterrupted one?

usage: python benchmarks/kill_resume.py [--times 20] [--no-prune] [--work DIR]
Compared is everything that does not depend on a clock: verdict, winner, candidates, accuracies, sizes, failures.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from common import show

TIMELESS = ("id", "backend", "precision", "variant", "recipe", "accuracy", "size_bytes", "ran_as")


def command(work: Path, name: str, prune: bool) -> list[str]:
    return [
        sys.executable, "-m", "edgekit", "build", "--target", "generic-cpu", "--data", "digits",
        "--model", f"{work / 'net.py'}:make", "--weights", str(work / "net.safetensors"),
        "--precision", "fp32,int8", "--max-latency", "100ms", "--max-size", "400kB", "--epochs", "2",
        "--out", str(work / name / "out"), "--store", str(work / name / "store"),
        *(() if prune else ("--no-prune",)),
    ]  # fmt: skip


def timeless(out: Path) -> dict[str, Any]:
    result = json.loads((out / "result.json").read_text())
    candidates = [{key: c[key] for key in TIMELESS} for c in result["candidates"]]
    return {
        "verdict": result["verdict"],
        "winner": result["winner"],
        "claim": result["claim"],
        "candidates": candidates,
        "failures": result["failures"],
    }


def run(arguments: list[str]) -> None:
    done = subprocess.run(
        arguments, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False
    )
    if done.returncode not in (0, 3):
        raise SystemExit(f"the build ended with {done.returncode}: {done.stderr[-2000:]}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument(
        "--no-prune", action="store_true", help="a build without training, several times shorter"
    )
    parser.add_argument("--work", type=Path, default=Path(".bench/kill"))
    options = parser.parse_args()
    work = options.work
    if not (work / "net.safetensors").exists():
        from edgekit.demo.__main__ import train

        work.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(Path(sys.modules["edgekit.demo"].__file__ or "").with_name("net.py"), work / "net.py")
        train(work / "net.safetensors")
    shutil.rmtree(work / "whole", ignore_errors=True)
    started = time.perf_counter()
    prune = not options.no_prune
    run(command(work, "whole", prune))
    whole_s = uninterrupted_s = time.perf_counter() - started
    expected = timeless(work / "whole" / "out")
    moments = random.Random(0)
    rows = []
    while len(rows) < options.times:
        shutil.rmtree(work / "killed", ignore_errors=True)
        moment = moments.uniform(0.02, 0.98) * whole_s
        process = subprocess.Popen(
            command(work, "killed", prune),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        time.sleep(moment)
        if process.poll() is not None:  # faster than the uninterrupted one: nothing was killed, draw again
            whole_s = moment
            continue
        process.send_signal(signal.SIGKILL)
        process.wait()
        started = time.perf_counter()
        run(command(work, "killed", prune))
        rows.append(
            {
                "killed_at_s": round(moment, 1),
                "resumed_s": round(time.perf_counter() - started, 1),
                "equal": timeless(work / "killed" / "out") == expected,
            }
        )
        print(len(rows), rows[-1], file=sys.stderr, flush=True)
    equal = sum(row["equal"] for row in rows)
    show(
        "kill and resume",
        {"uninterrupted_s": round(uninterrupted_s, 1), "equal": f"{equal}/{len(rows)}", "runs": rows},
    )


if __name__ == "__main__":
    main()
