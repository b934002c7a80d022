"""The coordinator: measures the entries of a job on the machine it runs on.

Each entry gets a worker process of its own: a runtime that crashes or hangs costs its own entry only. All
workers are loaded and warm before timing starts. Then rounds are interleaved: in each, every entry, in a new
order, makes a few unrecorded runs and then its timed ones, so drift of the machine hits all alike.
Waiting workers sleep on a pipe. Outputs for data sets are written last, entry by entry.

Job (paths are relative to the job file's folder):
    schema 1, result "result.json", seed 0, threads 1, cpus [0] or null (not pinned),
    rounds 12, seconds 5.0 (timed time per entry over all rounds; 0: no timing), warmup_s 3.0 (cap per entry),
    timeout_s 600 (what one entry may use in all its stages together),
    repeats 0 (how often a throttled or drifting run is repeated), pause_s 10 (at least, before it is),
    energy null, or {seconds 5.0 (per entry), rounds 5, idle_s 2.0, meter [words of a command that prints watts]},
    power_mode null (or the one of `describe` that is set meanwhile, and put back),
    together false (true: all entries in one worker, see together.py; of each id, runtime, path and options are read),
    root "/" (the folder below which sensors are read: another one in tests),
    entries: [{id, runtime, path, options: {name: text}, layers: see `layers.WANTED`, may be absent,
               feeds: {input: FILE.npy}       one batch-1 array per input; absent: random ones, dynamic dims 1
               threads, cpus                  instead of the job's; may be absent
               evaluate: {inputs: {input: FILE.npy [N, ...]}, outputs: FOLDER}}]   evaluate may be absent

Result:
    schema 1, facts (see `describe`), threads, cpus, notes, sensors {before, after}, order (of each round),
    entries: {id: {status "ok", signature, runtime_facts,
                   import_ms (the runtime's package), load_ms (the artifact, runtime imported), warmup_runs,
                   steady, rounds_ms [[...]], preemptions (involuntary context switches while timing), notes,
                   turns (its place in each of these rounds, from 1), steadiness (certificate: see steadiness.py),
                   energy {value_mj, low_mj, high_mj, idle_watts, source, rounds} or {reason it is not known},
                   peak_memory_bytes (highest resident set of the worker process when timing ends, VmHWM:
                   interpreter, numpy, runtime, model and activations),
                   available_bytes (memory that was free before anything was loaded; absent where it is not told),
                   outputs: {output: FILE.npy [N, ...]}, samples N,
                   layers: {rows (see `layers`), why (there are none, else "")}}
              or  {status "failed", stage, cause, signal, stderr [last lines]}}

Progress goes to stdout, one JSON object a line: {"progress": {stage, entry, done, total}}.
"""

import collections
import contextlib
import json
import os
import tempfile
from typing import Any, Callable, Dict, List, Mapping, Optional

import numpy as np

from . import forms
from .files import is_safe, read_json, write_atomically
from .intervals import drift
from .layers import WANTED
from .machine import describe
from .metering import meter_entries
from .peer import EntryError, Peer
from .powermodes import held
from .rounds import Rounds
from .sensors import Sensors
from .together import time_together

SCHEMA = 1
MAX_RUNS_PER_ROUND = 2000
ROUND_SPREAD = 0.05  # interquartile range of round medians over their median, above which it is said
DEFAULTS: Dict[str, Any] = {
    "seed": 0, "threads": 1, "cpus": None, "rounds": 12, "seconds": 5.0, "warmup_s": 3.0, "timeout_s": 600.0,
    "result": "result.json", "repeats": 0, "pause_s": 10.0, "root": "/",
    "energy": None, "power_mode": None, "together": False,
}  # fmt: skip

JOB = forms.record(
    {
        "seed": forms.whole(0, 2**32 - 1),
        "threads": forms.whole(1, 4096),
        "cpus": forms.maybe(forms.list_of(forms.whole(0, 1 << 16))),
        "rounds": forms.whole(1, 10000),
        "seconds": forms.number(0, 1e6),
        "warmup_s": forms.number(0, 1e6),
        "timeout_s": forms.number(0, 1e6),
        "repeats": forms.whole(0, 10),
        "pause_s": forms.number(0, 3600),
        "root": forms.text,
        "together": forms.truth,
        "power_mode": forms.maybe(forms.text),
        "energy": forms.maybe(
            forms.record(
                {},
                {
                    "seconds": forms.number(0.1, 3600),
                    "rounds": forms.whole(1, 1000),
                    "idle_s": forms.number(0.1, 600),
                    "meter": forms.list_of(forms.text),
                },
            )
        ),
        "result": forms.text,
        "entries": forms.list_of(
            forms.record(
                {"id": forms.text, "runtime": forms.text, "path": forms.text},
                {
                    "options": forms.maybe(forms.table(forms.text)),
                    "threads": forms.whole(1, 4096),
                    "cpus": forms.maybe(forms.list_of(forms.whole(0, 1 << 16))),
                    "feeds": forms.maybe(forms.table(forms.text)),
                    "layers": forms.maybe(WANTED),
                    "evaluate": forms.maybe(
                        forms.record({"inputs": forms.table(forms.text), "outputs": forms.text})
                    ),
                },
            )
        ),
    }
)


class Coordinator(object):
    """Runs a job's stages over its workers; a failed worker leaves, the others go on."""

    def __init__(self, job: Dict[str, Any], report: Callable[[Dict[str, Any]], None]) -> None:
        self.job = job
        self.report = report
        self.results: Dict[str, Dict[str, Any]] = collections.OrderedDict()
        self.peers: List[Peer] = []
        self.sensors = Sensors(job["root"], job["cpus"])
        self.before = self.sensors.read()
        self.rounds = Rounds(job, self.sensors, self.tell, self.apply, lambda: list(self.peers))

    def tell(self, stage: str, entry: str, done: int, total: int) -> None:
        self.report({"progress": {"stage": stage, "entry": entry, "done": done, "total": total}})

    def apply(self, stage: str, action: Callable[[Peer], None], peers: Optional[List[Peer]] = None) -> None:
        """Apply one stage to each living worker; those that fail are recorded and closed."""
        for done, peer in enumerate(list(self.peers if peers is None else peers)):
            if stage != "time":
                self.tell(stage, peer.entry["id"], done, len(self.peers))
            try:
                action(peer)
            except EntryError as failure:
                self.results[peer.entry["id"]] = failure.details
                self.peers.remove(peer)
                peer.close()

    def load(self, peer: Peer) -> None:
        threads = peer.entry.get("threads", self.job["threads"])
        peer.result.update(peer.ask("load", entry=peer.entry, threads=threads, seed=self.job["seed"]))

    def warm(self, peer: Peer) -> None:
        warm = peer.ask("warmup", cap_s=self.job["warmup_s"])
        per_round_ms = self.job["seconds"] * 1e3 / self.job["rounds"]
        peer.entry["runs"] = int(min(MAX_RUNS_PER_ROUND, max(5, per_round_ms / max(warm["median_ms"], 1e-3))))
        peer.result.update(warmup_runs=warm["runs"], steady=warm["steady"])
        if not warm["steady"]:
            peer.result["notes"].append("not steady after %.1f s of warm-up" % self.job["warmup_s"])

    def judge(self, peer: Peer) -> None:
        """Peak memory, and whether the rounds agree with each other and go nowhere."""
        peer.result.update(peer.ask("memory"))
        if "available_bytes" in self.before:
            peer.result["available_bytes"] = self.before["available_bytes"]
        medians = [float(np.median(samples)) for samples in peer.result.get("rounds_ms", ())]
        if medians:
            low, middle, high = np.percentile(medians, [25, 50, 75])
            spread = (high - low) / middle
            if spread > ROUND_SPREAD:
                peer.result["steady"] = False
                peer.result["notes"].append("medians of the rounds spread by %.0f %%" % (spread * 100))
            change = drift(medians)
            if change:
                peer.result["steady"] = False
                told = ("rose" if change > 0 else "fell", abs(change) * 100)
                peer.result["notes"].append(
                    "medians of the rounds %s by %.0f %% from the first to the last" % told
                )

    def evaluate(self, peer: Peer) -> None:
        wanted = peer.entry.get("evaluate")
        if wanted:
            name = peer.entry["id"]
            answer = peer.ask(
                "evaluate", lambda done, total: self.tell("evaluate", name, done, total), **wanted
            )
            peer.result.update(answer)

    def layers(self, peer: Peer) -> None:
        """Last of all: a runtime that cannot tell, or dies of it, has been measured as a whole."""
        wanted = peer.entry.get("layers")
        if wanted:
            name = peer.entry["id"]
            try:
                rows = peer.ask(
                    "layers", lambda done, total: self.tell("layers", name, done, total), **wanted
                )
                peer.result["layers"] = {"rows": rows, "why": ""}
            except EntryError as failure:
                peer.result["layers"] = {"rows": [], "why": failure.details["cause"]}

    def run(self) -> Dict[str, Dict[str, Any]]:
        """Entry id -> its result, in the job's order."""
        stages = [("load", self.load)] + ([("warmup", self.warm)] if self.job["seconds"] > 0 else [])
        with contextlib.ExitStack() as files:
            for entry in self.job["entries"]:
                self.peers.append(Peer(entry, self.job, files.enter_context(tempfile.TemporaryFile())))
                files.callback(self.peers[-1].close)
            for stage, action in stages:
                self.apply(stage, action)
            if self.job["seconds"] > 0:
                self.rounds.timed()
            self.apply("memory", self.judge)
            if self.job["energy"] is not None:
                meter_entries(self.job, lambda: list(self.peers), self.apply, self.tell)
            self.apply("evaluate", self.evaluate)
            self.apply("layers", self.layers)
            self.results.update((peer.entry["id"], peer.result) for peer in self.peers)
        return collections.OrderedDict(
            (entry["id"], self.results[entry["id"]]) for entry in self.job["entries"]
        )


def read_job(path: str) -> Dict[str, Any]:
    """A job file with its defaults filled in. Raises OSError, or ValueError with one line for what is no job."""
    if os.path.exists(path) and not os.path.isfile(path):
        raise ValueError("%s is no plain file" % path)
    try:
        content = read_json(path)
    except (ValueError, RecursionError) as error:
        raise ValueError("%s is no JSON: %s" % (path, error)) from error
    if not isinstance(content, dict) or content.get("schema") != SCHEMA:
        schema = content.get("schema") if isinstance(content, dict) else content
        raise ValueError("job schema %s; this runner knows %d" % (forms.one_line(repr(schema), 60), SCHEMA))
    job = dict(DEFAULTS, **content)
    JOB(job, "job")
    forms.distinct([entry["id"] for entry in job["entries"]], "the ids of job.entries")
    if not is_safe(job["result"]):
        raise forms.misfit(job["result"], "job.result", "a name in the job's folder")
    return job


def place_entry(entry: Dict[str, Any], folder: str) -> Dict[str, Any]:
    """An entry of a job with its paths in the job's folder."""

    def place(names: Dict[str, str]) -> Dict[str, str]:
        return {key: os.path.join(folder, name) for key, name in names.items()}

    placed = dict(entry, feeds=place(entry.get("feeds") or {}), path=os.path.join(folder, entry["path"]))
    if entry.get("evaluate"):
        outputs = os.path.join(folder, entry["evaluate"]["outputs"])
        placed["evaluate"] = {"inputs": place(entry["evaluate"]["inputs"]), "outputs": outputs}
    return placed


def told(reading: Mapping[str, Any]) -> Dict[str, Any]:
    """Temperatures and clocks of a reading."""
    return {name: reading[name] for name in ("temperature_c", "clock_mhz")}


def run_job(job: Dict[str, Any], folder: str, report: Callable[[Dict[str, Any]], None]) -> None:
    """Run a job whose paths lie in `folder`, and write its result file there, all of it or nothing."""
    job = dict(job, entries=[place_entry(entry, folder) for entry in job["entries"]])
    facts = describe()
    coordinator = Coordinator(job, report)
    with contextlib.ExitStack() as mode:
        if job["power_mode"]:
            mode.enter_context(held(job["power_mode"], job["root"]))
        entries = time_together(job, coordinator.tell) if job["together"] else coordinator.run()
    for result in coordinator.results.values():
        if "outputs" in result:
            result["outputs"] = {
                name: os.path.relpath(file, folder) for name, file in result["outputs"].items()
            }
    notes = []
    if facts["load_1m"] > 0.5 * facts["cores"]:
        cores = facts["cores"], "" if facts["cores"] == 1 else "s"
        notes.append("the machine was busy: load %.1f on %d core%s" % ((facts["load_1m"],) + cores))
    if facts["cpu_quota"] is not None and facts["cpu_quota"] < facts["cores"]:
        notes.append("a container limits this machine to %.2f CPUs" % facts["cpu_quota"])
    whole: Dict[str, Any] = {
        "schema": SCHEMA, "facts": facts, "threads": job["threads"], "cpus": job["cpus"] or [],
        "notes": notes, "sensors": {"before": told(coordinator.before), "after": told(coordinator.sensors.read())},
        "order": coordinator.rounds.order,
        "entries": entries,
    }  # fmt: skip
    write_atomically(os.path.join(folder, job["result"]), json.dumps(whole).encode("utf-8"))
