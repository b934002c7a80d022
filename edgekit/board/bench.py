"""Measures the bundle's artifact on this machine as the build did: rounds, intervals, memory.

    python3 -m board bench [--seconds 5] [--json]

Of a bundle that was settled, the winner, as it was tuned here. Exit codes: 0 measured, 1 it does not run, 2 the bundle
cannot be used, or its runtime is not installed.
"""

import argparse
import json
import shutil
import sys
import tempfile
import zipfile
from typing import Any, Dict, List, Mapping

from .choosing import NAMES
from .forms import one_line
from .intervals import percentiles
from .measuring import Held, bundle_folder, entry_here, job_of, refuse_no_bundle, seconds_of, the_one
from .process import printable
from .runner import JobError, LocalRunner
from .runtimes import find_runtime, importable

UNUSABLE = (OSError, ValueError, KeyError, zipfile.BadZipFile)


def measure(held: Held, seconds: float) -> Dict[str, Any]:
    """What is told of the artifact. Raises JobError, and UNUSABLE for what is damaged."""
    work = tempfile.mkdtemp(prefix="edgekit-bench-")
    try:
        runner = LocalRunner(work)
        entry, tuned = entry_here(runner, held, work, "0")
        del entry["evaluate"]
        result = runner.run(job_of([entry], seconds), "measuring")
    finally:
        shutil.rmtree(work, ignore_errors=True)
    measured = result["entries"][held.name]
    told = {
        "schema": 1, "id": held.name, "runtime": entry["runtime"], "threads": entry["threads"], "tuned": tuned,
        "options": entry["options"], "status": measured["status"], "facts": result["facts"],
        "notes": list(result["notes"]) + list(measured.get("notes", ())), "sensors": result["sensors"],
    }  # fmt: skip
    if measured["status"] != "ok":
        told.update(stage=measured["stage"], cause=measured["cause"])
        return told
    intervals = dict(zip(NAMES, percentiles(measured["rounds_ms"])))
    told["latency_ms"] = {
        name: {"value": interval.value, "low": interval.low, "high": interval.high}
        for name, interval in intervals.items()
    }
    for name in ("rounds_ms", "steady", "preemptions", "peak_memory_bytes", "load_ms", "import_ms"):
        told[name] = measured[name]
    return told


def show(told: Mapping[str, Any]) -> None:
    """For people."""
    how = ", tuned here" if told["tuned"] else ""
    print(printable("%s: %s, threads: %d%s" % (told["id"], told["runtime"], told["threads"], how)))
    for name in NAMES:
        times = told["latency_ms"][name]
        print("  %s %9.3f ms  95 %% %.3f to %.3f" % (name, times["value"], times["low"], times["high"]))
    print("  peak memory %.1f MB, loaded in %.1f ms" % (told["peak_memory_bytes"] / 1e6, told["load_ms"]))
    for note in told["notes"]:
        print(printable("  note: %s" % note))


def bench(bundle: str, seconds: float, as_json: bool) -> int:
    """Measure and tell. Gives the exit code."""
    try:
        refuse_no_bundle(bundle)
        held = the_one(bundle)
        runtime = held.manifest["candidate"]["backend"]
        if not importable(runtime):
            raise ValueError("%s is not installed: %s" % (runtime, find_runtime(runtime).install))
        told = measure(held, seconds)
    except UNUSABLE as problem:
        return fail(problem, 2)
    except JobError as problem:
        return fail(problem, 1)
    if as_json:
        print(json.dumps(told, indent=1))
    if told["status"] != "ok":
        return fail("%s failed at %s: %s" % (told["id"], told["stage"], told["cause"]), 1)
    if not as_json:
        show(told)
    return 0


def fail(problem: object, code: int) -> int:
    """Say what is wrong in one line."""
    sys.stderr.write(printable("bench: %s\n" % one_line(problem)))
    return code


def main(arguments: List[str]) -> int:
    """Entry point; see the module's text."""
    parser = argparse.ArgumentParser(
        prog="board bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=5.0, help="timed time")
    parser.add_argument("--json", action="store_true", help="print all that was measured")
    options = parser.parse_args(arguments)
    return bench(bundle_folder(), seconds_of(parser, options.seconds), options.json)
