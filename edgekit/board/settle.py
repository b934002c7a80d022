"""Settles on the board what a build could only estimate: measures every candidate of this bundle, and chooses.

It lies in the folder board/ of the bundle, whose programs measure; the candidates lie beside that folder.

    python3 settle.py [--seconds 5] [--keep]

Each candidate must give its golden outputs; of those that do, the one wins that a build on the board would have chosen.
Accuracy was measured where the bundle was made: what counts is the drop on the test split, where it was measured there,
else that on the validation split. Written: settled.json. Exit codes: 0 the budget is met, 3 it is missed or cannot be
met, 4 this machine is not the board, so nothing is settled, 2 something is wrong with the bundle, or a runtime is
missing without which nothing is settled.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from typing import Any, Dict, List, Mapping, Optional, Tuple

import numpy as np

from . import golden
from .candidates import Manifests, folder_of, is_answer, missing_runtimes, read_bundle, with_claims
from .files import read_json, write_json
from .forms import one_line
from .identity import misfits
from .intervals import percentiles
from .machine import describe, first_cpus
from .manifest import ManifestError
from .process import command, printable
from .verdict import Check, Decision, Figures, Limits, checks, decide

LONGEST_S = 3600
NAMES = ("p50", "p90", "p99")
LIMITS = {"accuracy": "accuracy drop", "size": "size", "memory": "peak memory"}
UNUSABLE = (
    OSError,
    ValueError,
    KeyError,
    zipfile.BadZipFile,
)  # golden arrays that are damaged, no place to work
NOT_MEASURED = {"accuracy": "accuracy", "latency": "latency", "memory": "peak memory"}


# ---- measuring ---------------------------------------------------------------------------------------------


def make_job(
    here: str, work: str, facts: Mapping[str, Any], manifests: Manifests, seconds: float
) -> Dict[str, Any]:
    """The job over all candidates, pinned as a build pins; golden inputs go into files of their own."""
    entries = []
    for number, candidate in enumerate(facts["candidates"]):
        folder, manifest = folder_of(here, candidate), manifests[candidate["id"]]
        place = os.path.join(work, str(number))
        os.makedirs(place)
        inputs, first = {}, {}
        arrays, _ = golden.read(os.path.join(folder, "golden.npz"), len(manifest["signature"]["inputs"]), 0)
        for index, (spec, array) in enumerate(zip(manifest["signature"]["inputs"], arrays)):
            inputs[spec["name"]] = os.path.join(place, "in%d.npy" % index)
            first[spec["name"]] = os.path.join(place, "first%d.npy" % index)
            np.save(inputs[spec["name"]], array.astype(spec["dtype"]))
            np.save(first[spec["name"]], array[:1].astype(spec["dtype"]))
        entries.append(
            {
                "id": candidate["id"],
                "runtime": manifest["candidate"]["backend"],
                "path": os.path.join(folder, *manifest["entry"].split("/")),
                "options": manifest["options"],
                "feeds": first,
                "evaluate": {"inputs": inputs, "outputs": os.path.join(place, "outputs")},
            }
        )
    cpus = first_cpus(describe(), facts["threads"])
    return {"schema": 1, "threads": facts["threads"], "cpus": cpus, "seconds": seconds, "entries": entries}


def run_job(work: str, job: Dict[str, Any]) -> Optional[Dict[str, Any]]:
    """The result by `run`, in a process of its own, whose progress is shown; None when it failed, which is told."""
    path = os.path.join(work, "job.json")
    write_json(path, job)
    process = subprocess.Popen(command("run", path), stdout=subprocess.PIPE, universal_newlines=True)
    assert process.stdout is not None
    for line in process.stdout:
        told = json.loads(line)["progress"]
        text = "%s %s %d/%d" % (told["stage"], told["entry"], told["done"], told["total"])
        sys.stderr.write("\r%-70s" % text[:70])
    sys.stderr.write("\r%-70s\r" % "")
    if process.wait() != 0:
        sys.stderr.write("settle: the measurement ended with exit code %d\n" % process.returncode)
        return None
    result: Dict[str, Any] = read_json(os.path.join(work, "result.json"))
    return result


def off_golden(folder: str, manifest: Mapping[str, Any], outputs: List[str]) -> Tuple[float, float]:
    """How far a candidate's outputs (files, in order) are from its golden ones, and what is allowed."""
    _, expected = golden.read(os.path.join(folder, "golden.npz"), 0, len(manifest["signature"]["outputs"]))
    worst = 0.0 if len(outputs) == len(expected) else float("inf")
    for path, right in zip(outputs, expected):
        answer = np.load(path, allow_pickle=False)
        worst = max(worst, golden.deviation(answer, right, golden.magnitude(right)))
    return worst, float(manifest["golden"]["tolerance"])


# ---- choosing ----------------------------------------------------------------------------------------------


def latency_ms(rounds_ms: List[List[float]], percentile: str) -> Dict[str, float]:
    """Percentiles in ms; `at`, `low` and `high` are the budget's one with its 95 % interval."""
    intervals = dict(zip(NAMES, percentiles(rounds_ms)))
    row = {name: interval.value for name, interval in intervals.items()}
    at = intervals[percentile]
    row.update(low=at.low, high=at.high, at=at.value)
    return row


def judge(
    facts: Mapping[str, Any], entries: Mapping[str, Any], deviations: Mapping[str, Tuple[float, float]]
) -> Tuple[List[Dict[str, Any]], Decision]:
    """One row a candidate (what was measured, and what speaks against it), and who wins.

    `facts`: the manifest. `entries`: the job's, by candidate. `deviations`: how far its golden outputs are off, and
    what is allowed, of each that ran. A candidate that failed or that is off is none: the others are ranked.
    """
    budget = facts["budget"]
    limits = Limits(**{name: budget[name] for name in Limits._fields})
    rows, ranked = [], []
    for candidate in facts["candidates"]:
        entry = entries[candidate["id"]]
        row = dict(candidate, against="", latency_ms=None)
        rows.append(row)
        if entry["status"] != "ok":
            row["against"] = "failed at %s: %s" % (entry["stage"], entry["cause"])
            continue
        row["notes"] = entry["notes"]
        if entry.get("rounds_ms"):
            row["latency_ms"] = latency_ms(entry["rounds_ms"], budget["percentile"])
        row["peak_memory_bytes"], row["load_ms"] = entry["peak_memory_bytes"], entry["load_ms"]
        figures = figures_of(row)
        against = [
            in_words(check, budget["percentile"]) for check in checks(figures, limits) if check.excess > 0
        ]
        off, allowed = deviations[candidate["id"]]
        if off <= allowed:
            ranked.append(figures)
        else:
            against.insert(0, "golden outputs do not match: off by %.3g, allowed %g" % (off, allowed))
        row["against"] = "; ".join(against)
    return rows, decide(ranked, limits)


def figures_of(row: Mapping[str, Any]) -> Figures:
    """What the rule of choice looks at."""
    times = row["latency_ms"] or {"at": None, "high": None}
    return Figures(
        id=row["id"],
        variant=row["variant"],
        precision=row["precision"],
        size_bytes=row["size_bytes"],
        latency_ms=times["at"],
        latency_high_ms=times["high"],
        drop=row["drop"],
        peak_memory_bytes=row["peak_memory_bytes"],
    )


def in_words(check: Check, percentile: str) -> str:
    """A limit that is not met."""
    if check.value is None or check.allowed is None:
        return "its %s was not measured" % NOT_MEASURED[check.limit]
    name = LIMITS.get(check.limit, "%s ms" % percentile)
    return "%s %.4g > %.4g" % (name, check.value, check.allowed)


def show(rows: List[Dict[str, Any]], winner: Optional[str], percentile: str) -> None:
    """The table, fastest first."""
    width = max(len(row["id"]) for row in rows)
    print("  %-*s %9s %9s %17s  %s" % (width, "candidate", "p50 ms", percentile, "95 % interval", "drop"))
    for row in sorted(rows, key=lambda row: row["latency_ms"]["at"] if row["latency_ms"] else float("inf")):
        mark = "*" if row["id"] == winner else " "
        times = row["latency_ms"]
        figures = "%9s %9s %17s" % ("-", "-", "-")
        if times:
            figures = "%9.3f %9.3f %8.3f-%-8.3f" % tuple(times[key] for key in ("p50", "at", "low", "high"))
        drop = "-" if row["drop"] is None else "%.2f%% (%s)" % (100 * row["drop"], row["split"])
        print("%s %-*s %s  %s" % (mark, width, row["id"], figures, drop))
        for line in [row["against"]] + list(row.get("notes", ())):
            if line:
                print(printable("    %s" % line))


# ---- the program -------------------------------------------------------------------------------------------


def measured(
    here: str, facts: Mapping[str, Any], manifests: Manifests, seconds: float, keep: bool
) -> Tuple[Optional[Dict[str, Any]], Dict[str, Tuple[float, float]]]:
    """The job's result, or None where it failed, and how far each candidate that ran is off, and what is allowed."""
    # A folder with a name of its own: nothing that was there is touched.
    work = tempfile.mkdtemp(prefix="settling-", dir=here)
    try:
        result = run_job(work, make_job(here, work, facts, manifests, seconds))
        if result is None:
            return None, {}
        folders = {candidate["id"]: folder_of(here, candidate) for candidate in facts["candidates"]}
        deviations = {
            name: off_golden(
                folders[name],
                manifests[name],
                [os.path.join(work, path) for path in entry["outputs"].values()],
            )
            for name, entry in result["entries"].items()
            if entry["status"] == "ok"
        }
        return result, deviations
    finally:
        if not keep:
            shutil.rmtree(work, ignore_errors=True)


def settle(here: str, seconds: float, keep: bool) -> int:
    """Measure, choose, write settled.json and show it. Gives the exit code."""
    answer_path = os.path.join(here, "settled.json")
    try:
        facts, manifests = read_bundle(here)
        if os.path.lexists(answer_path) and not is_answer(answer_path):
            raise ManifestError("%s is there and is not of this program: move it away" % answer_path)
    except (OSError, ValueError) as error:
        return fail(str(error))
    try:
        result, deviations = measured(here, facts, manifests, seconds, keep)
    except UNUSABLE as error:
        return fail("the bundle cannot be measured: %s" % error)
    if result is None:
        return 1
    missing = missing_runtimes(manifests)
    lines = ["%s is not installed: %s" % pair for pair in missing.items()]
    if not deviations:
        causes = [
            "%s failed at %s: %s" % (name, entry["stage"], entry["cause"])
            for name, entry in result["entries"].items()
            if manifests[name]["candidate"]["backend"] not in missing
        ]
        return fail("nothing was measured", *(lines + causes))
    rows, decision = judge(with_claims(facts, manifests), result["entries"], deviations)
    others = misfits(facts["target"], facts["identity"], result["facts"])
    is_open = bool(missing) and decision.winner is None
    verdict = "PROVISIONAL" if others or is_open else decision.verdict
    settled = {
        "schema": 1, "target": facts["target"], "verdict": verdict, "winner": decision.winner,
        "not_the_board": others, "not_installed": missing, "candidates": rows, "facts": result["facts"],
        "notes": result["notes"],
    }  # fmt: skip
    write_json(answer_path, settled)
    show(rows, decision.winner, facts["budget"]["percentile"])
    if others:
        told = (verdict, facts["target"], "; ".join(others))
        print(printable("%s: this machine is not %s (%s)." % told))
        return 4
    if is_open:
        return fail(
            "nothing is settled: no candidate that ran meets the budget, and others did not run", *lines
        )
    if decision.winner is None:
        why = "meets the budget" if verdict == "MISSES" else "can be judged by the budget"
        print("%s: no candidate %s on %s." % (verdict, why, facts["target"]))
        return 3
    folder = next(row["folder"] for row in rows if row["id"] == decision.winner)
    print("MEETS: %s. Run it: python3 %s" % (decision.winner, os.path.join(folder, "infer.py")))
    return 0


def fail(problem: str, *lines: str) -> int:
    """Say what is wrong, with a line for each cause. Gives the exit code."""
    told = ["settle: %s" % one_line(problem)] + ["  %s" % one_line(line) for line in lines]
    sys.stderr.write(printable("\n".join(told) + "\n"))
    return 2


def main(arguments: List[str]) -> int:
    """Entry point; see the module's text."""
    parser = argparse.ArgumentParser(
        prog="settle.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=5.0, help="timed time for each candidate")
    parser.add_argument("--keep", action="store_true", help="keep the folder settling-* with job and outputs")
    options = parser.parse_args(arguments)
    if not 0 < options.seconds <= LONGEST_S:
        parser.error("--seconds %s; allowed: above 0 to %d" % (options.seconds, LONGEST_S))
    here = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    return settle(here, options.seconds, options.keep)
