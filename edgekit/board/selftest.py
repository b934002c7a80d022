"""Checks that what is in this bundle answers here as where it was made: its artifact, or every candidate.

    python3 -m board selftest [--json]

Engines are built first where none fits. Each artifact runs in a process of its own, as it was tuned here, if it was.
Exit codes: 0 all golden outputs match, 1 some do not, or something does not run, 2 the bundle cannot be used, or a
runtime is not installed.
"""

import argparse
import json
import shutil
import sys
import tempfile
import zipfile
from typing import Any, Dict, List, Sequence

from .entries import off_golden
from .forms import one_line
from .measuring import Held, all_of, bundle_folder, entry_here, job_of, refuse_no_bundle
from .process import printable
from .runner import JobError, LocalRunner
from .runtimes import find_runtime, importable

UNUSABLE = (OSError, ValueError, KeyError, zipfile.BadZipFile)


def check(held: Sequence[Held]) -> List[Dict[str, Any]]:
    """{id, runtime, status, off, tolerance, cause} of each: "match", "differs", "failed" or "not installed".

    Raises JobError, and UNUSABLE for what is damaged.
    """
    work = tempfile.mkdtemp(prefix="edgekit-selftest-")
    try:
        runner = LocalRunner(work)
        told = [_absent(artifact) for artifact in held]
        there = [artifact for artifact, absent in zip(held, told) if absent is None]
        entries = [
            entry_here(runner, artifact, work, str(number))[0] for number, artifact in enumerate(there)
        ]
        ran = runner.run(job_of(entries, 0), "checking")["entries"] if entries else {}
        return [
            absent or _answered(runner, artifact, ran[artifact.name]) for artifact, absent in zip(held, told)
        ]
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _absent(held: Held) -> Any:
    runtime = held.manifest["candidate"]["backend"]
    if importable(runtime):
        return None
    return _row(held, "not installed", None, find_runtime(runtime).install)


def _answered(runner: LocalRunner, held: Held, entry: Dict[str, Any]) -> Dict[str, Any]:
    if entry["status"] != "ok":
        return _row(held, "failed", None, "at %s: %s" % (entry["stage"], entry["cause"]))
    off, allowed = off_golden(held.folder, held.manifest, runner.fetch(list(entry["outputs"].values())))
    return _row(held, "match" if off <= allowed else "differs", off, "")


def _row(held: Held, status: str, off: Any, cause: str) -> Dict[str, Any]:
    is_number = off is not None and off < float("inf")  # JSON has no infinity
    return {
        "id": held.name,
        "runtime": held.manifest["candidate"]["backend"],
        "status": status,
        "off": off if is_number else None,
        "tolerance": held.manifest["golden"]["tolerance"],
        "cause": cause if off is None or is_number else "its shape is another, or it is not finite",
    }


def code_of(rows: Sequence[Dict[str, Any]]) -> int:
    """The exit code for these answers."""
    answers = {row["status"] for row in rows}
    if answers & {"differs", "failed"}:
        return 1
    return 2 if "not installed" in answers else 0


def in_words(row: Dict[str, Any]) -> str:
    """One line on one artifact."""
    off = (
        "off by %.3g, allowed %g" % (row["off"], row["tolerance"]) if row["off"] is not None else row["cause"]
    )
    said = {
        "match": "golden outputs match: %s",
        "differs": "golden outputs DO NOT MATCH: %s",
        "failed": "FAILED %s",
        "not installed": "%s is not installed: %%s" % row["runtime"],
    }
    return "%s: %s" % (row["id"], said[row["status"]] % off)


def selftest(bundle: str, as_json: bool) -> int:
    """Check and tell. Gives the exit code."""
    try:
        refuse_no_bundle(bundle)
        rows = check(all_of(bundle))
    except UNUSABLE as problem:
        sys.stderr.write(printable("selftest: %s\n" % one_line(problem)))
        return 2
    except JobError as problem:
        sys.stderr.write(printable("selftest: %s\n" % one_line(problem)))
        return 1
    code = code_of(rows)
    if as_json:
        print(json.dumps({"schema": 1, "ok": code == 0, "artifacts": rows}, indent=1))
    else:
        for row in rows:
            print(printable(one_line(in_words(row))))
    return code


def main(arguments: List[str]) -> int:
    """Entry point; see the module's text."""
    parser = argparse.ArgumentParser(
        prog="board selftest", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="print what was found as JSON")
    return selftest(bundle_folder(), parser.parse_args(arguments).json)
