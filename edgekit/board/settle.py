"""Settles on the board what a build could only estimate: measures every candidate of this bundle, and chooses.

It lies in the folder board/ of the bundle, whose programs measure; the candidates lie beside that folder.

    python3 settle.py [--seconds 5] [--no-tune] [--max-threads N] [--keep] [--meter COMMAND]

Each candidate must give its golden outputs; of those that do, the one wins that a build on the board would have chosen.
Before, what costs nothing is tried with each (threads up to --max-threads, options of its runtime); a setting is kept
where it is surely faster than the default and the golden outputs still match, and written beside the candidate
(tuned.json), where `Model` reads it. With a limit on latency the winner is timed once more, on its own, and gives way
to the next if it does not hold. Accuracy was measured where the bundle was made: what counts is the drop on the test
split, where it was measured there, else that on the validation split. Written: settled.json, which `edgekit report OUT
--settled FILE` takes over into the build's report. Exit codes: 0 the budget is met, 3 it is missed or cannot be met, 4
this machine is not the board or only emulates it, so nothing is settled, 2 something is wrong with the bundle, or a
runtime is missing without which nothing is settled.
"""

import argparse
import os
import shlex
import shutil
import sys
import tempfile
import zipfile
from typing import Any, Dict, List, Mapping, Optional, Sequence

from .candidates import Manifests, folder_of, is_answer, read_bundle
from .forms import one_line
from .manifest import ManifestError
from .process import printable
from .runner import JobError, LocalRunner
from .settled import SETTLED, write_settled
from .settling import Settlement, Settling, SettlingPlan
from .tuned import remove_tuned, write_tuned

LONGEST_S = 3600
VALIDATION_ONLY = "  (validation): %s: not measured on the test split; a drop that was chosen by flatters"
UNUSABLE = (OSError, ValueError, KeyError, zipfile.BadZipFile)  # damaged golden arrays, no place to work

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
        if row.get("tuned"):
            print(printable("    tuned: %s" % row["tuned"]))
    unseen = [row["id"] for row in rows if row["drop"] is not None and row["split"] != "test"]
    if unseen:
        print(printable(VALIDATION_ONLY % ", ".join(unseen)))


# ---- the program -------------------------------------------------------------------------------------------


def measured(
    here: str, facts: Mapping[str, Any], manifests: Manifests, plan: SettlingPlan, keep: bool
) -> Settlement:
    """What the candidates of a bundle do here. Raises JobError, and UNUSABLE for what is damaged."""
    # A folder with a name of its own: nothing that was there is touched.
    work = tempfile.mkdtemp(prefix="settling-", dir=here)
    try:
        return Settling(here, facts, manifests, LocalRunner(work), work, plan).settle()
    finally:
        if not keep:
            shutil.rmtree(work, ignore_errors=True)


def settle(
    here: str, seconds: float, tune: bool, most_threads: Optional[int], keep: bool, meter: Sequence[str] = ()
) -> int:
    """Measure, choose, write settled.json and show it. Gives the exit code."""
    answer_path = os.path.join(here, SETTLED)
    try:
        facts, manifests = read_bundle(here)
        if os.path.lexists(answer_path) and not is_answer(answer_path):
            raise ManifestError("%s is there and is not of this program: move it away" % answer_path)
    except (OSError, ValueError) as error:
        return fail(str(error))
    plan = SettlingPlan(
        seconds, tune, facts["threads"] if most_threads is None else most_threads, tuple(meter)
    )
    try:
        settled = measured(here, facts, manifests, plan, keep)
        return told(here, facts, manifests, settled)
    except JobError as error:
        sys.stderr.write("settle: %s\n" % error)
        return 1
    except UNUSABLE as error:
        return fail("the bundle cannot be measured: %s" % error)
    except KeyboardInterrupt:
        sys.stderr.write("settle: stopped; nothing was changed, settle again when you like\n")
        return 130


def record(here: str, facts: Mapping[str, Any], manifests: Manifests, settled: Settlement) -> None:
    """Write settled.json, and tuned.json beside each candidate for which a setting was kept on the board itself."""
    machine = settled.answer["facts"]
    for candidate in facts["candidates"]:
        name, folder = candidate["id"], folder_of(here, candidate)
        remove_tuned(folder, manifests[name])
        setting = settled.settings.get(name)
        if setting is not None and not settled.answer["not_the_board"]:
            write_tuned(folder, manifests[name], machine, setting.options, setting.threads)
    write_settled(here, settled.answer)


def told(here: str, facts: Mapping[str, Any], manifests: Manifests, settled: Settlement) -> int:
    """Write settled.json and show it. Gives the exit code."""
    answer, decision = settled.answer, settled.decision
    if not settled.ran:
        return fail("nothing was measured", *settled.problems)
    record(here, facts, manifests, settled)
    show(settled.rows, decision.winner, facts["budget"]["percentile"])
    if answer["not_the_board"]:
        said = (answer["verdict"], facts["target"], "; ".join(answer["not_the_board"]))
        print(printable("%s: this machine is not %s (%s)." % said))
        return 4
    if answer["verdict"] == "PROVISIONAL":
        lines = ["%s is not installed: %s" % pair for pair in settled.missing.items()]
        return fail(
            "nothing is settled: no candidate that ran meets the budget, and others did not run", *lines
        )
    won = next((row for row in settled.rows if row["id"] == decision.winner), None)
    if won is None:
        why = "meets the budget" if answer["verdict"] == "MISSES" else "can be judged by the budget"
        print("%s: no candidate %s on %s." % (answer["verdict"], why, facts["target"]))
        return 3
    named = won["id"] if answer["established"] else "%s (its accuracy drop is not established)" % won["id"]
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
    parser.add_argument(
        "--no-tune", action="store_true", help="measure candidates as they were built, and no more"
    )
    parser.add_argument(
        "--max-threads", type=int, metavar="N", help="the most threads that are tried; as many as built with"
    )
    parser.add_argument("--keep", action="store_true", help="keep the folder settling-* with job and outputs")
    parser.add_argument("--meter", default="", help="a command that prints the board's power in watts")
    options = parser.parse_args(arguments)
    if not 0 < options.seconds <= LONGEST_S:
        parser.error("--seconds %s; allowed: above 0 to %d" % (options.seconds, LONGEST_S))
    if options.max_threads is not None and not 1 <= options.max_threads <= 4096:
        parser.error("--max-threads %d; allowed: 1 to 4096" % options.max_threads)
    here = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    return settle(
        here,
        options.seconds,
        not options.no_tune,
        options.max_threads,
        options.keep,
        shlex.split(options.meter),
    )
