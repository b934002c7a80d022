"""Settles on the board what a build could only estimate: measures every candidate of this bundle, and chooses.

It lies in the folder board/ of the bundle, whose programs measure; the candidates lie beside that folder.

    python3 settle.py [--seconds 5] [--keep]

Each candidate must give its golden outputs; the most accurate one whose latency interval lies under the budget wins
(accuracy was measured where the bundle was made). Written: settled.json. Exit codes: 0 the budget is met, 3 it is
missed, 4 this machine is not the board, so nothing is settled, 2 something is wrong with the bundle.
"""

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
from typing import Any, Dict, List, Optional, Tuple

import numpy as np

from .process import command

RESAMPLES = 500
FLOATS = ("fp32", "bf16", "fp16")


def sha256(path: str) -> str:
    """Of a file's content."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def read_json(path: str) -> Any:
    with open(path, encoding="utf-8") as file:
        return json.load(file)


def check_files(here: str, facts: Dict[str, Any]) -> None:
    """Ends with exit code 2 and the file's name when one is missing or was changed."""
    for file in facts["files"]:
        path = os.path.join(here, *file["path"].split("/"))
        if not os.path.isfile(path) or sha256(path) != file["sha256"]:
            sys.stderr.write("settle: %s is missing or was changed: copy the bundle again\n" % file["path"])
            sys.exit(2)


def misfits(identity: Dict[str, Any], machine: Dict[str, Any]) -> List[str]:
    """Why this machine is not the board the bundle is for."""
    found = []
    if machine["arch"] != identity["architecture"]:
        found.append("it is %s, not %s" % (machine["arch"], identity["architecture"]))
    for key, name in (("models", "machine"), ("cpus", "cpu")):
        if identity[key] and not any(part.lower() in machine[name].lower() for part in identity[key]):
            found.append('it calls itself "%s", not "%s"' % (machine[name], identity[key][0]))
    features = set(machine["features"])
    found += ["its CPU has no %s" % name for name in identity["all_of"] if name not in features]
    found += ["its CPU has %s" % name for name in identity["none_of"] if name in features]
    if identity["any_of"] and not features.intersection(identity["any_of"]):
        found.append("its CPU has no %s" % " or ".join(identity["any_of"]))
    if identity["accelerator"] and identity["accelerator"] not in machine.get("accelerators", []):
        found.append("no accelerator %s was seen" % identity["accelerator"])
    return found


def make_job(here: str, work: str, facts: Dict[str, Any], seconds: float) -> Dict[str, Any]:
    """The runner's job over all candidates; golden inputs go into files of their own."""
    entries = []
    for candidate in facts["candidates"]:
        folder = os.path.join(here, *candidate["folder"].split("/"))
        manifest = read_json(os.path.join(folder, "manifest.json"))
        place = os.path.join(work, candidate["id"])
        os.makedirs(place)
        inputs, first = {}, {}
        with np.load(os.path.join(folder, "golden.npz"), allow_pickle=False) as golden:
            for index, spec in enumerate(manifest["signature"]["inputs"]):
                array = golden["in%d" % index].astype(spec["dtype"])
                inputs[spec["name"]] = os.path.join(place, "in%d.npy" % index)
                first[spec["name"]] = os.path.join(place, "first%d.npy" % index)
                np.save(inputs[spec["name"]], array)
                np.save(first[spec["name"]], array[:1])
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
    return {"schema": 1, "threads": facts["threads"], "cpus": None, "seconds": seconds, "entries": entries}


def run_job(work: str, job: Dict[str, Any]) -> Dict[str, Any]:
    """Through `run`, in a process of its own; its progress is shown."""
    path = os.path.join(work, "job.json")
    with open(path, "w", encoding="utf-8") as file:
        json.dump(job, file)
    process = subprocess.Popen(command("run", path), stdout=subprocess.PIPE, universal_newlines=True)
    assert process.stdout is not None
    for line in process.stdout:
        told = json.loads(line)["progress"]
        sys.stderr.write(
            "\r%-70s" % ("%s %s %d/%d" % (told["stage"], told["entry"], told["done"], told["total"]))[:70]
        )
    sys.stderr.write("\r%-70s\r" % "")
    if process.wait() != 0:
        sys.stderr.write("settle: the runner ended with exit code %d\n" % process.returncode)
        sys.exit(1)
    return read_json(os.path.join(work, "result.json"))  # type: ignore[no-any-return]


def off_golden(here: str, work: str, candidate: Dict[str, Any], entry: Dict[str, Any]) -> Tuple[float, float]:
    """The largest deviation from the golden outputs, relative to each output's largest value; and what is allowed."""
    folder = os.path.join(here, *candidate["folder"].split("/"))
    tolerance = float(read_json(os.path.join(folder, "manifest.json"))["golden"]["tolerance"])
    worst = 0.0
    with np.load(os.path.join(folder, "golden.npz"), allow_pickle=False) as golden:
        for index, path in enumerate(entry["outputs"].values()):
            right = golden["out%d" % index].astype(np.float64)
            answer = np.load(os.path.join(work, path), allow_pickle=False).astype(np.float64)
            if answer.shape != right.shape or not np.isfinite(answer).all():
                return float("inf"), tolerance
            worst = max(worst, float(np.abs(answer - right).max() / max(float(np.abs(right).max()), 1e-6)))
    return worst, tolerance


def latency(rounds: List[List[float]], percentile: float) -> Dict[str, float]:
    """Percentiles in ms; low and high bound the budget's one: 95 %, by drawing whole rounds with replacement."""
    pooled = np.concatenate([np.asarray(one) for one in rounds])
    random = np.random.RandomState(0)
    drawn = [
        np.percentile(
            np.concatenate([rounds[i] for i in random.randint(0, len(rounds), len(rounds))]), percentile
        )
        for _ in range(RESAMPLES)
    ]
    p50, p90, p99, at = (float(value) for value in np.percentile(pooled, [50, 90, 99, percentile]))
    low, high = (float(value) for value in np.percentile(drawn, [2.5, 97.5]))
    return {"p50": p50, "p90": p90, "p99": p99, "low": min(low, at), "high": max(high, at), "at": at}


def judge(here: str, work: str, facts: Dict[str, Any], entries: Dict[str, Any]) -> List[Dict[str, Any]]:
    """One row a candidate: what was measured, and what speaks against it."""
    budget = facts["budget"]
    percentile = float(budget["percentile"][1:])
    rows = []
    for candidate in facts["candidates"]:
        entry = entries[candidate["id"]]
        row = dict(candidate, against="", latency_ms=None)
        if entry["status"] != "ok":
            row["against"] = "failed at %s: %s" % (entry["stage"], entry["cause"])
            rows.append(row)
            continue
        row["notes"] = entry["notes"]
        row["latency_ms"] = latency(entry["rounds_ms"], percentile)
        row["peak_memory_bytes"], row["load_ms"] = entry["peak_memory_bytes"], entry["load_ms"]
        off, allowed = off_golden(here, work, candidate, entry)
        limits = (
            ("p%g ms" % percentile, row["latency_ms"]["high"], budget["max_latency_ms"]),
            ("accuracy drop", candidate["drop"], budget["max_drop"]),
            ("size", candidate["size_bytes"], budget["max_size_bytes"]),
            ("peak memory", row["peak_memory_bytes"], budget["max_memory_bytes"]),
        )
        broken = ["%s %.4g > %.4g" % one for one in limits if one[2] is not None and one[1] > one[2]]
        if not off <= allowed:
            broken.insert(0, "golden outputs do not match: off by %.3g, allowed %g" % (off, allowed))
        row["against"] = "; ".join(broken)
        rows.append(row)
    return rows


def pick(rows: List[Dict[str, Any]], fastest: bool) -> Optional[Dict[str, Any]]:
    """The winner: most accurate, then fastest (the other way round where the fastest was asked for).

    A quantized build that is slower than a float build of its own network is never chosen.
    """
    good = [row for row in rows if row["latency_ms"] and not row["against"]]

    def pointless(row: Dict[str, Any]) -> bool:
        return row["precision"] not in FLOATS and any(
            one["precision"] in FLOATS
            and one["variant"] == row["variant"]
            and one["latency_ms"]["at"] < row["latency_ms"]["at"]
            for one in good
        )

    def rank(row: Dict[str, Any]) -> Tuple[float, float, str]:
        pair = (row["latency_ms"]["at"], row["drop"]) if fastest else (row["drop"], row["latency_ms"]["at"])
        return pair[0], pair[1], row["id"]

    chosen = sorted((row for row in good if not pointless(row)), key=rank)
    return chosen[0] if chosen else None


def show(rows: List[Dict[str, Any]], winner: Optional[Dict[str, Any]], percentile: str) -> None:
    """The table, fastest first."""
    width = max(len(row["id"]) for row in rows)
    print("  %-*s %9s %9s %17s %7s" % (width, "candidate", "p50 ms", percentile, "95 % interval", "drop"))
    for row in sorted(rows, key=lambda row: row["latency_ms"]["at"] if row["latency_ms"] else float("inf")):
        mark = "*" if row is winner else " "
        times = row["latency_ms"]
        figures = (
            "%9.3f %9.3f %8.3f-%-8.3f" % tuple(times[key] for key in ("p50", "at", "low", "high"))
            if times
            else ""
        )
        print(
            "%s %-*s %s %6.2f%%"
            % (mark, width, row["id"], figures or "%9s %9s %17s" % ("-", "-", "-"), 100 * row["drop"])
        )
        for line in [row["against"]] + list(row.get("notes", ())):
            if line:
                print("    %s" % line)


def main(arguments: List[str]) -> int:
    """Entry point; see the module's text."""
    parser = argparse.ArgumentParser(
        prog="settle.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=5.0, help="timed time for each candidate")
    parser.add_argument("--keep", action="store_true", help="keep the folder settling/ with job and outputs")
    options = parser.parse_args(arguments)
    here = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    facts = read_json(os.path.join(here, "manifest.json"))
    check_files(here, facts)
    work = os.path.join(here, "settling")
    shutil.rmtree(work, ignore_errors=True)
    os.makedirs(work)
    try:
        result = run_job(work, make_job(here, work, facts, options.seconds))
        rows = judge(here, work, facts, result["entries"])
    finally:
        if not options.keep:
            shutil.rmtree(work, ignore_errors=True)
    winner = pick(rows, facts["budget"]["fastest"])
    others = misfits(facts["identity"], result["facts"])
    verdict = "PROVISIONAL" if others else "MEETS" if winner else "MISSES"
    settled = {
        "schema": 1, "target": facts["target"], "verdict": verdict, "winner": winner["id"] if winner else None,
        "not_the_board": others, "candidates": rows, "facts": result["facts"], "notes": result["notes"],
    }  # fmt: skip
    partial = os.path.join(here, "settled.json.part")
    with open(partial, "w", encoding="utf-8") as file:
        json.dump(settled, file, indent=1)
    os.replace(partial, os.path.join(here, "settled.json"))
    show(rows, winner, facts["budget"]["percentile"])
    if others:
        print("%s: this machine is not %s (%s)." % (verdict, facts["target"], "; ".join(others)))
        return 4
    if winner is None:
        print("MISSES: no candidate meets the budget on %s." % facts["target"])
        return 3
    print("MEETS: %s. Run it: python3 %s" % (winner["id"], os.path.join(winner["folder"], "infer.py")))
    return 0
