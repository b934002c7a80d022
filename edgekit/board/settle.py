"""Settles on the board what a build could only estimate: measures every candidate of this bundle, and chooses.

It lies in the folder board/ of the bundle, whose programs measure; the candidates lie beside that folder.

    python3 settle.py [--seconds 5] [--keep] [--meter COMMAND]

Each candidate must give its golden outputs; of those that do, the one wins that a build on the board would have chosen.
With a limit on latency the winner is timed once more, on its own, and gives way to the next if it does not hold.
Accuracy was measured where the bundle was made: what counts is the drop on the test split, where it was measured there,
else that on the validation split. Written: settled.json. Exit codes: 0 the budget is met, 3 it is missed or cannot be
met, 4 this machine is not the board, so nothing is settled, 2 something is wrong with the bundle, or a runtime is
missing without which nothing is settled.
"""

import argparse
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import zipfile
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from . import golden
from .candidates import Manifests, folder_of, is_answer, missing_runtimes, read_bundle, with_claims
from .choosing import is_established, settle_choice
from .files import read_json, write_json
from .forms import one_line
from .identity import misfits
from .machine import describe, first_cpus
from .manifest import ManifestError
from .process import command, printable
from .verdict import Decision

LONGEST_S = 3600
VALIDATION_ONLY = "  (validation): %s: not measured on the test split; a drop that was chosen by flatters"
UNUSABLE = (OSError, ValueError, KeyError, zipfile.BadZipFile)  # damaged golden arrays, no place to work

# ---- measuring ---------------------------------------------------------------------------------------------


def make_job(
    here: str,
    work: str,
    facts: Mapping[str, Any],
    manifests: Manifests,
    seconds: float,
    meter: Sequence[str] = (),
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
    energy = None if facts["budget"].get("max_energy_mj") is None else {"meter": list(meter)}
    return {"schema": 1, "threads": facts["threads"], "cpus": cpus, "seconds": seconds, "repeats": 1,
            "energy": energy, "entries": entries}  # fmt: skip


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


def time_alone(work: str, job: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """The job's entry of one candidate, run once more and on its own."""
    entries = [
        {key: value for key, value in entry.items() if key != "evaluate"}
        for entry in job["entries"]
        if entry["id"] == name
    ]
    result = run_job(work, dict(job, entries=entries, energy=None))
    if result is None:
        return {"status": "failed", "cause": "the measurement ended"}
    measured: Mapping[str, Any] = result["entries"][name]
    return measured


def off_golden(folder: str, manifest: Mapping[str, Any], outputs: List[str]) -> Tuple[float, float]:
    """How far a candidate's outputs (files, in order) are from its golden ones, and what is allowed."""
    _, expected = golden.read(os.path.join(folder, "golden.npz"), 0, len(manifest["signature"]["outputs"]))
    worst = 0.0 if len(outputs) == len(expected) else float("inf")
    for path, right in zip(outputs, expected):
        answer = np.load(path, allow_pickle=False)
        worst = max(worst, golden.deviation(answer, right, golden.magnitude(right)))
    return worst, float(manifest["golden"]["tolerance"])


# ---- telling -----------------------------------------------------------------------------------------------


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
    unseen = [row["id"] for row in rows if row["drop"] is not None and row["split"] != "test"]
    if unseen:
        print(printable(VALIDATION_ONLY % ", ".join(unseen)))


# ---- the program -------------------------------------------------------------------------------------------


class Settlement(NamedTuple):
    """A job's result, how far each candidate that ran is off and what is allowed, what they claim, table, decision."""

    result: Dict[str, Any]
    deviations: Dict[str, Tuple[float, float]]
    claims: Dict[str, Any]
    rows: List[Dict[str, Any]]
    decision: Decision


def measured(
    here: str,
    facts: Mapping[str, Any],
    manifests: Manifests,
    seconds: float,
    keep: bool,
    meter: Sequence[str] = (),
) -> Optional[Settlement]:
    """What the candidates of a bundle do here; None where the measurement failed, which is told."""
    # A folder with a name of its own: nothing that was there is touched.
    work = tempfile.mkdtemp(prefix="settling-", dir=here)
    try:
        job = make_job(here, work, facts, manifests, seconds, meter)
        result = run_job(work, job)
        if result is None:
            return None
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
        claims = with_claims(facts, manifests)
        rows, decision = settle_choice(
            claims,
            result["entries"],
            deviations,
            lambda name: time_alone(work, job, name),
        )
        return Settlement(result, deviations, claims, rows, decision)
    finally:
        if not keep:
            shutil.rmtree(work, ignore_errors=True)


def settle(here: str, seconds: float, keep: bool, meter: Sequence[str] = ()) -> int:
    """Measure, choose, write settled.json and show it. Gives the exit code."""
    answer_path = os.path.join(here, "settled.json")
    try:
        facts, manifests = read_bundle(here)
        if os.path.lexists(answer_path) and not is_answer(answer_path):
            raise ManifestError("%s is there and is not of this program: move it away" % answer_path)
    except (OSError, ValueError) as error:
        return fail(str(error))
    try:
        settled = measured(here, facts, manifests, seconds, keep, meter)
    except UNUSABLE as error:
        return fail("the bundle cannot be measured: %s" % error)
    return 1 if settled is None else told(here, facts, manifests, settled)


def told(here: str, facts: Mapping[str, Any], manifests: Manifests, settled: Settlement) -> int:
    """Write settled.json and show it. Gives the exit code."""
    result, deviations, claims, rows, decision = settled
    missing = missing_runtimes(manifests)
    lines = ["%s is not installed: %s" % pair for pair in missing.items()]
    if not deviations:
        causes = [
            "%s failed at %s: %s" % (name, entry["stage"], entry["cause"])
            for name, entry in result["entries"].items()
            if manifests[name]["candidate"]["backend"] not in missing
        ]
        return fail("nothing was measured", *(lines + causes))
    others = misfits(facts["target"], facts["identity"], result["facts"])
    is_open = bool(missing) and decision.winner is None
    verdict = "PROVISIONAL" if others or is_open else decision.verdict
    won = next((row for row in rows if row["id"] == decision.winner), None)
    established = None if won is None else is_established(claims, won)
    answer = {
        "schema": 1, "target": facts["target"], "verdict": verdict, "winner": decision.winner,
        "not_the_board": others, "not_installed": missing, "candidates": rows, "facts": result["facts"],
        "notes": result["notes"], "established": established,
    }  # fmt: skip
    write_json(os.path.join(here, "settled.json"), answer)
    show(rows, decision.winner, facts["budget"]["percentile"])
    if others:
        said = (verdict, facts["target"], "; ".join(others))
        print(printable("%s: this machine is not %s (%s)." % said))
        return 4
    if is_open:
        return fail(
            "nothing is settled: no candidate that ran meets the budget, and others did not run", *lines
        )
    if won is None:
        why = "meets the budget" if verdict == "MISSES" else "can be judged by the budget"
        print("%s: no candidate %s on %s." % (verdict, why, facts["target"]))
        return 3
    named = won["id"] if established else "%s (its accuracy drop is not established)" % won["id"]
    print("MEETS: %s. Run it: python3 %s" % (named, os.path.join(won["folder"], "infer.py")))
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
    parser.add_argument("--meter", default="", help="a command that prints the board's power in watts")
    options = parser.parse_args(arguments)
    if not 0 < options.seconds <= LONGEST_S:
        parser.error("--seconds %s; allowed: above 0 to %d" % (options.seconds, LONGEST_S))
    here = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    return settle(here, options.seconds, options.keep, shlex.split(options.meter))
