"""One network, one data set, seven targets, one command each, one store: is the pruning trained once, do all verify?

usage: python benchmarks/seven_targets.py --model net.py:make --weights W --data D [--work DIR] [-- build options]
The demo's network on digits when no model is given. Boards that are not here end PROVISIONAL (exit code 4).
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from pathlib import Path

from common import edgekit, show

TARGETS = (
    "jetson-orin-nano",
    "rtx-ada",
    "raspberry-pi-5",
    "intel-cpu",
    "jetson-nano",
    "raspberry-pi-4",
    "generic-cpu",
)
"""The coarsest channel multiple first: what it trains serves the others."""


def demo_network(work: Path) -> tuple[str, str]:
    """The demo's network, trained once."""
    from edgekit.demo.__main__ import train

    weights = work / "net.safetensors"
    if not weights.exists():
        source = Path(sys.modules["edgekit.demo"].__file__ or "").with_name("net.py")
        shutil.copyfile(source, work / "net.py")
        train(weights)
    return f"{work / 'net.py'}:make", str(weights)


def trainings(store: Path) -> dict[str, int]:
    """How many pruned networks were trained and how often one was reused, from the record of runs."""
    from edgekit.store import Store

    counts = {"trained": 0, "reused": 0}
    with Store.open(store) as opened:
        for run in opened.last_runs(1000):
            for event in opened.events(run.id):
                if event.stage == "pruned":
                    counts["reused" if event.reused else "trained"] += 1
    return counts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model")
    parser.add_argument("--weights")
    parser.add_argument("--data", default="digits")
    parser.add_argument("--work", type=Path, default=Path(".bench/seven"))
    parser.add_argument("options", nargs="*", help="more options of `edgekit build`, after --")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    model, weights = (options.model, options.weights) if options.model else demo_network(options.work)
    rows = {}
    for target in TARGETS:
        out = options.work / target
        started = time.perf_counter()
        done = edgekit(
            "build", "--target", target, "--model", model, "--weights", weights, "--data", options.data,
            "--max-latency", "auto", "--max-drop", "1%", "--out", str(out), "--store",
            str(options.work / "store"), *options.options, codes=(0, 3, 4),
        )  # fmt: skip
        seconds = time.perf_counter() - started
        result = json.loads((out / "result.json").read_text())
        verified = edgekit("bundle", "verify", str(out), check=False)
        rows[target] = {
            "exit_code": done.returncode,
            "verdict": result["verdict"],
            "first": result["winner"] or result["nearest"],
            "origins": sorted({one["origin"] for one in result["candidates"]}),
            "candidates": len(result["candidates"]),
            "failed": [one["candidate"] for one in result["failures"]],
            "verified": verified.returncode == 0,
            "seconds": round(seconds, 1),
        }
        print(target, rows[target], file=sys.stderr, flush=True)
    show("seven targets", {"targets": rows, "pruning": trainings(options.work / "store")})


if __name__ == "__main__":
    main()
