"""Lint and build of every small case for three targets, as one Markdown table: what came of it, and whether they agree.

usage: python benchmarks/cases.py --cases DIR [--targets A,B] [--only CASE ...] [--prune] [--work DIR] [--timeout S]
`DIR` holds a folder per case, with make_case.py and common.py; it is copied and left as it is. What is done stands in
WORK/cases.json after every row: the same command goes on from there. `--redo` begins anew.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock
from typing import Any

from case_table import ROWS, Row

TARGETS = "generic-cpu,raspberry-pi-4,jetson-orin-nano"
WRITING = frozenset({"export", "convert", "compile", "quantize", "calibrate"})
"""Stages at which a runtime refuses a network."""


def called(arguments: list[str], folder: Path, limit_s: float) -> tuple[int, str, str]:
    """Exit code (124: too long), standard output and standard error; a process group that is ended whole."""
    started = subprocess.Popen(
        arguments,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,
        env={**os.environ, "COLUMNS": "200", "OMP_NUM_THREADS": "1"},
    )
    try:
        out, err = started.communicate(timeout=limit_s)
        return started.returncode, out, err
    except subprocess.TimeoutExpired:
        os.killpg(started.pid, signal.SIGKILL)
        started.communicate()
        return 124, "", f"longer than {limit_s:g} s"


def made(cases: Path, work: Path, row: Row) -> str:
    """Why the case cannot be made; nothing where it is there."""
    folder, done = work / row.folder, work / row.folder / f".made-{abs(hash_of(row))}"
    if done.exists():
        return ""
    for shared in ("common.py", "make_case.py"):
        shutil.copy(cases / shared, work / shared)
    if not folder.exists():
        if row.made == "case":
            command = [sys.executable, str(cases / "make_case.py"), row.folder, str(folder)]
            code, _, err = called(command, work, 600)
        else:
            shutil.copytree(cases / row.folder, folder)
            code, err = 0, ""
            if row.made == "own":
                code, _, err = called([sys.executable, "make.py"], folder, 600)
        if code:
            shutil.rmtree(folder, ignore_errors=True)
            return last_line(err)
    if row.script:
        code, _, err = called([sys.executable, "-c", row.script], folder, 600)
        if code:
            return last_line(err)
    done.touch()
    return ""


def hash_of(row: Row) -> int:
    """The same in every run, for the script that it is made with."""
    import zlib

    return zlib.crc32(row.script.encode())


def last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else ""


def model_arguments(row: Row) -> list[str]:
    return ["--weights", row.weights] if row.weights else []


def shared_options(row: Row) -> list[str]:
    """Those that lint knows too."""
    options, kept = list(row.options), []
    for name, value in zip(options[::2], options[1::2], strict=True):
        kept += [] if name == "--metric" else [name, value]
    return kept


def linted(row: Row, target: str, folder: Path, limit_s: float) -> dict[str, Any]:
    command = [sys.executable, "-m", "edgekit", "lint", row.model, "--target", target, "--json"]
    command += [*model_arguments(row), "--data", row.data, *shared_options(row)]
    code, out, err = called(command, folder, limit_s)
    answer: dict[str, Any] = {"code": code, "line": last_line(err), "errors": {}}
    if code in (0, 3):
        for finding in json.loads(out)["findings"]:
            reasons = [issue["reason"] for issue in finding["issues"] if issue["severity"] == "error"]
            if reasons:
                answer["errors"][finding["runtime"]] = reasons[0]
    return answer


def built(row: Row, target: str, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    out = folder / "out" / f"{abs(hash_of_text(row.label))}-{target}"
    shutil.rmtree(out, ignore_errors=True)
    command = [sys.executable, "-m", "edgekit", "build", "--target", target, "--model", row.model]
    command += [*model_arguments(row), "--data", row.data, *row.options, "--allow-weak-original"]
    command += ["--out", str(out), "--store", str(folder / "store")]
    command += ["--timed", "0.3s", "--no-repeat", *([] if options.prune else ["--no-prune"])]
    command += ["--precision", options.precision] if options.precision else []
    command += ["--epochs", options.epochs] if options.prune and options.epochs else []
    begun = time.monotonic()
    code, _, err = called(command, folder, options.timeout)
    answer: dict[str, Any] = {
        "code": code,
        "line": last_line(err),
        "seconds": round(time.monotonic() - begun),
    }
    answer["traceback"] = "Traceback (most recent call last)" in err
    if code in (0, 3, 4) and (out / "result.json").exists():
        result = json.loads((out / "result.json").read_text())
        answer["verdict"], answer["winner"] = result["verdict"], result["winner"]
        answer["pruned"] = sorted({each["id"] for each in result["variants"] if each["kind"] != "original"})
        answer["made"] = sorted(str(each.get("id", each.get("candidate"))) for each in result["candidates"])
        answer["failed"] = {
            each["candidate"]: f"{each['stage']}: {each['cause']}" for each in result["failures"]
        }
        answer["rejected"] = {each["what"]: each["reason"] for each in result["rejected"]}
    shutil.rmtree(out, ignore_errors=True)
    return answer


def hash_of_text(text: str) -> int:
    import zlib

    return zlib.crc32(text.encode())


SHORT = {"onnxruntime": "-ort-", "openvino": "-ov-", "litert": "-litert-", "tensorrt": "-trt-"}


def agreement(row: Row, lint: dict[str, Any], build: dict[str, Any]) -> str:
    """yes, or what differs. A runtime's float candidate is compared: INT8 may fail by the data."""
    if 124 in (lint["code"], build["code"]) or build["traceback"] or build["code"] not in (0, 2, 3, 4):
        return f"no: exit codes {lint['code']} and {build['code']}"
    if lint["code"] == 2 or build["code"] == 2:
        if lint["code"] == build["code"]:
            return "yes"
        if build["code"] == 2 and any(reason[:60] in build["line"] for reason in lint["errors"].values()):
            return "yes"
        return "yes (by the data)" if row.of_data and build["code"] == 2 else "no: one refuses the network"
    if "" in lint["errors"]:
        return "yes" if not build.get("made") else "no: the board's own limits"
    for runtime, short in SHORT.items():
        floats = [
            name for name in build.get("failed", {}) if short in name and name.endswith(("fp32", "fp16"))
        ]
        broken = [name for name in floats if build["failed"][name].split(":")[0] in WRITING]
        if runtime in lint["errors"] and any(short in name for name in build["made"]):
            return f"no: lint refuses {runtime}, build makes it"
        if runtime not in lint["errors"] and broken:
            return f"no: {broken[0]} fails after a clean lint"
    return "yes"


def cell(text: str, width: int = 150) -> str:
    text = " ".join(str(text).split()).replace("|", "\\|")
    return text if len(text) <= width else text[: width - 1] + "…"


def table(done: dict[str, Any], labels: list[str]) -> str:
    lines = [
        "| case | target | build | pruned | refused or failed | lint | agree |",
        "|---|---|---|---|---|---|---|",
    ]
    for label in labels:
        entry = done.get(label)
        if entry is None:
            continue
        if "unmade" in entry:
            lines.append(f"| {cell(label)} | | not made: {cell(entry['unmade'])} | | | | |")
            continue
        lint, build = entry["lint"], entry["build"]
        how = (
            f"{build['verdict']}: {build['winner'] or 'no winner'}"
            if "verdict" in build
            else f"exit {build['code']}"
        )
        why = (
            build["line"].removeprefix("edgekit: ")
            if "verdict" not in build
            else "; ".join(f"{name}: {reason}" for name, reason in list(build["failed"].items())[:2])
        )
        said = "; ".join(f"{name or 'board'}: {reason}" for name, reason in lint["errors"].items())
        said = said or ("clean" if lint["code"] == 0 else lint["line"].removeprefix("edgekit: "))
        case, target = label.rsplit(" @ ", 1)
        pruned = ", ".join(build.get("pruned", [])) or "no"
        row = (case, target, f"{how} ({build['seconds']} s)", pruned, why, said, entry["agree"])
        lines.append("| " + " | ".join(cell(part) for part in row) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cases", type=Path, required=True)
    parser.add_argument("--work", type=Path, default=Path(".cases"))
    parser.add_argument("--targets", default=TARGETS)
    parser.add_argument(
        "--only", nargs="*", default=[], help="names of cases, or of rows as the table has them"
    )
    parser.add_argument("--prune", action="store_true")
    parser.add_argument("--epochs", default="1", help="with --prune")
    parser.add_argument("--precision", default="", help="as fp32,int8; all that the board has without it")
    parser.add_argument("--timeout", type=float, default=900, help="seconds of one build or lint")
    parser.add_argument("--jobs", type=int, default=1, help="rows at a time")
    parser.add_argument("--redo", action="store_true")
    options = parser.parse_args()
    work: Path = options.work.absolute()
    work.mkdir(parents=True, exist_ok=True)
    options.cases = options.cases.absolute()
    record = work / ("cases-pruned.json" if options.prune else "cases.json")
    done: dict[str, Any] = {} if options.redo or not record.exists() else json.loads(record.read_text())
    rows = [row for row in ROWS if not options.only or {row.folder, row.label} & set(options.only)]
    pairs = [(row, target) for row in rows for target in options.targets.split(",")]
    lock = Lock()

    def examine(pair: tuple[Row, str]) -> None:
        row, target = pair
        label = f"{row.label} @ {target}"
        if label in done:
            return
        with lock:
            problem = made(options.cases, work, row)
        if problem:
            entry: dict[str, Any] = {"unmade": problem}
        else:
            folder = work / row.folder
            lint = linted(row, target, folder, options.timeout)
            build = built(row, target, folder, options)
            entry = {"lint": lint, "build": build, "agree": agreement(row, lint, build)}
        with lock:
            done[label] = entry
            draft = record.with_suffix(".partial")
            draft.write_text(json.dumps(done, indent=1))
            draft.replace(record)
            print(f"{len(done)}: {label}: {entry.get('agree', 'not made')}", file=sys.stderr, flush=True)

    with ThreadPoolExecutor(options.jobs) as pool:
        list(pool.map(examine, pairs))
    labels = [f"{row.label} @ {target}" for row, target in pairs]
    print(table(done, labels))
    answers = [done[label].get("agree", "not made") for label in labels]
    print(f"\n{sum(answer.startswith('yes') for answer in answers)} of {len(answers)} agree.")


if __name__ == "__main__":
    main()
