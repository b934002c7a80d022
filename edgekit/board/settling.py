"""Settling: every candidate is tuned, measured against the others in one job, and one of them chosen.

One way for the board itself and for a device that is measured from elsewhere: what differs is the runner.
"""

from typing import Any, Dict, List, Mapping, NamedTuple, Tuple

from .candidates import Manifests, folder_of, with_claims
from .choosing import Looked, is_established, latency_ms, limits_of, look_again
from .entries import entry_of, off_golden, with_setting
from .identity import misfits
from .machine import first_cpus
from .manifest import manifest_digest
from .runner import JobError, JobRunner
from .runtimes import find_runtime
from .tuning import (
    RuntimeSetting,
    Trial,
    best_setting,
    is_better,
    option_settings,
    thread_settings,
    told,
    trial_of,
)
from .verdict import Decision

KEPT_OF_ENTRY = (
    "status", "stage", "cause", "signal", "import_ms", "load_ms", "warmup_runs", "steady", "rounds_ms", "preemptions",
    "notes", "peak_memory_bytes", "runtime_facts", "turns", "steadiness", "energy", "available_bytes",
)  # fmt: skip
EMULATED = "it is emulated, so its latency says nothing of a board"
TUNED = "+tuned"  # behind a candidate's id: no id of a build has a plus


class SettlingPlan(NamedTuple):
    """How to settle. `seconds`: timed time for each entry of a job; `most_threads`: the most that are tried.

    `meter`: a command, word by word, that prints the board's power in watts.
    """

    seconds: float
    tune: bool
    most_threads: int
    meter: Tuple[str, ...] = ()


class Settlement(NamedTuple):
    """`answer`: what settled.json says. `settings`: of each candidate that was tuned. `ran`: whether any did.

    `problems`: runtimes that are not there, and why candidates failed, a line each. `missing`: those runtimes.
    """

    answer: Dict[str, Any]
    rows: List[Dict[str, Any]]
    decision: Decision
    settings: Dict[str, RuntimeSetting]
    ran: bool
    missing: Dict[str, str]
    problems: List[str]


class Settling(object):
    """One settling of the bundle of several candidates in the folder `here`; `work` is a folder for golden inputs."""

    def __init__(
        self,
        here: str,
        facts: Mapping[str, Any],
        manifests: Manifests,
        runner: JobRunner,
        work: str,
        plan: SettlingPlan,
    ) -> None:
        self.facts, self.manifests, self.runner, self.plan = facts, manifests, runner, plan
        self.machine = runner.facts()
        self.folders = {candidate["id"]: folder_of(here, candidate) for candidate in facts["candidates"]}
        self.names = [candidate["id"] for candidate in facts["candidates"]]
        self.entries = {
            name: entry_of(runner, self.folders[name], manifests[name], work, name, str(number))
            for number, name in enumerate(self.names)
        }
        self.tried: Dict[str, List[Dict[str, Any]]] = {}

    def job(self, entries: List[Dict[str, Any]], with_energy: bool = False) -> Dict[str, Any]:
        """The job over entries, pinned as a build pins; energy is measured where the budget limits it."""
        wants_energy = with_energy and self.facts["budget"].get("max_energy_mj") is not None
        threads = self.facts["threads"]
        cpus = first_cpus(self.machine, threads)
        return {
            "schema": 1,
            "threads": threads,
            "cpus": cpus,
            "seconds": self.plan.seconds,
            "repeats": 1,
            "energy": {"meter": list(self.plan.meter)} if wants_energy else None,
            "entries": entries,
        }

    def off(self, name: str, entry: Mapping[str, Any]) -> Tuple[float, float]:
        """How far a candidate's entry is off its golden outputs, and what is allowed."""
        outputs = self.runner.fetch(list(entry["outputs"].values()))
        return off_golden(self.folders[name], self.manifests[name], outputs)

    def trial(self, name: str, entry: Mapping[str, Any]) -> Trial:
        """An entry of a result as tuning looks at it."""
        is_off = False
        if entry["status"] == "ok":
            off, allowed = self.off(name, entry)
            is_off = not off <= allowed
        percentile = self.facts["budget"]["percentile"]
        return trial_of(entry, lambda rounds: latency_ms(rounds, percentile), is_off)

    def variant(self, name: str, setting: RuntimeSetting, identity: str, place: str) -> Dict[str, Any]:
        """The entry of a candidate with a setting."""
        outputs = self.runner.place("%d/%s" % (self.names.index(name), place))
        return with_setting(
            self.entries[name], identity, setting.options, setting.threads, self.machine, outputs
        )

    def tune(self, name: str) -> RuntimeSetting:
        """The setting that is best for a candidate; its own where none is better. Threads first, then options."""
        entry = self.entries[name]
        runtime, most = entry["runtime"], min(self.plan.most_threads, len(self.machine["cpus"]))
        own = RuntimeSetting("", dict(entry["options"]), self.facts["threads"])
        self.tried[name] = []
        kept = self._best(name, own, thread_settings(runtime, own.options, own.threads, most))
        return self._best(name, kept, option_settings(runtime, kept.options, kept.threads))

    def _best(self, name: str, kept: RuntimeSetting, settings: List[RuntimeSetting]) -> RuntimeSetting:
        """The best of the settings in one job with the one that is kept so far; that one where none is better."""
        if not settings:
            return kept
        entries = [self.variant(name, kept, name, "outputs")] + [
            self.variant(name, setting, "%s+%d" % (name, number), "tuning-%d" % number)
            for number, setting in enumerate(settings)
        ]
        result = self.runner.run(self.job(entries), "tuning %s" % name)
        default = self.trial(name, result["entries"][name])
        trials = {
            setting.name: self.trial(name, result["entries"]["%s+%d" % (name, number)])
            for number, setting in enumerate(settings)
        }
        best = best_setting(trials, default, limits_of(self.facts).max_memory_bytes)
        self.tried[name] += [
            _tried(setting, trials[setting.name], default, setting.name == best) for setting in settings
        ]
        return next((setting for setting in settings if setting.name == best), kept)

    def tuned(self) -> Dict[str, RuntimeSetting]:
        """Candidates for which a setting other than their own seemed better."""
        missing, better = self.missing(), {}
        for name in self.names if self.plan.tune else ():
            if self.entries[name]["runtime"] in missing:
                continue
            setting = self.tune(name)
            if (setting.options, setting.threads) != (self.entries[name]["options"], self.facts["threads"]):
                better[name] = setting
        return better

    def missing(self) -> Dict[str, str]:
        """Runtimes that candidates need and the machine does not have -> what installs them."""
        wanted = {manifest["candidate"]["backend"] for manifest in self.manifests.values()}
        there = self.machine["runtimes"]
        return {name: find_runtime(name).install for name in sorted(wanted) if name not in there}

    def settle(self) -> Settlement:
        """Tune, measure, choose. Raises JobError, and what damaged golden arrays raise."""
        seemed = self.tuned()
        entries = [self.entries[name] for name in self.names]
        entries += [self.variant(name, setting, name + TUNED, "tuned") for name, setting in seemed.items()]
        result = self.runner.run(self.job(entries, with_energy=True), "measuring")
        kept, settings = self._kept(result, seemed)
        deviations = {name: self.off(name, entry) for name, entry in kept.items() if entry["status"] == "ok"}
        claims = with_claims(self.facts, self.manifests)
        looked = look_again(claims, kept, deviations, lambda name: self._alone(name, settings))
        return self._answer(result, kept, settings, claims, looked, deviations)

    def _kept(
        self, result: Mapping[str, Any], seemed: Mapping[str, RuntimeSetting]
    ) -> Tuple[Dict[str, Mapping[str, Any]], Dict[str, RuntimeSetting]]:
        """Each candidate's entry with its own setting or the tuned one, which has to be better in this job too."""
        kept = {name: result["entries"][name] for name in self.names}
        settings = {}
        most = limits_of(self.facts).max_memory_bytes
        for name, setting in seemed.items():
            entry = result["entries"][name + TUNED]
            trial, default = self.trial(name, entry), self.trial(name, kept[name])
            holds = is_better(trial, default, most)
            self.tried[name].append(dict(_tried(setting, trial, default, holds), again=True))
            if holds:
                kept[name], settings[name] = entry, setting
        return kept, settings

    def _alone(self, name: str, settings: Mapping[str, RuntimeSetting]) -> Mapping[str, Any]:
        """A candidate's entry of a run of its own."""
        entry = self.entries[name]
        if name in settings:
            entry = self.variant(name, settings[name], name, "alone")
        entry = {key: value for key, value in entry.items() if key != "evaluate"}
        try:
            result = self.runner.run(self.job([entry]), "timing %s once more" % name)
        except JobError as error:
            return {"status": "failed", "stage": "time", "cause": str(error)}
        measured: Mapping[str, Any] = result["entries"][name]
        return measured

    def _answer(
        self,
        result: Mapping[str, Any],
        kept: Mapping[str, Mapping[str, Any]],
        settings: Dict[str, RuntimeSetting],
        claims: Mapping[str, Any],
        looked: Looked,
        deviations: Mapping[str, Tuple[float, float]],
    ) -> Settlement:
        looked_off = {
            name: "off by %.3g, allowed %g" % (off, allowed)
            for name, (off, allowed) in deviations.items()
            if not off <= allowed
        }
        own, decision = self.facts["threads"], looked.decision
        changed = {
            name: told(setting, self.entries[name]["options"], own) for name, setting in settings.items()
        }
        rows = [dict(row, tuned=changed.get(row["id"], "")) for row in looked.rows]
        missing = self.missing()
        others = misfits(self.facts["target"], self.facts["identity"], result["facts"])
        if self.machine.get("emulated"):
            others = list(others) + [EMULATED]
        is_open = bool(missing) and decision.winner is None
        won = next((row for row in rows if row["id"] == decision.winner), None)
        answer = {
            "schema": 1,
            "target": self.facts["target"],
            "bundle": manifest_digest(self.facts),
            "verdict": "PROVISIONAL" if others or is_open else decision.verdict,
            "winner": decision.winner,
            "nearest": decision.nearest,
            "not_the_board": others,
            "not_installed": missing,
            "candidates": rows,
            "facts": result["facts"],
            "notes": result["notes"],
            "established": None if won is None else is_established(claims, won),
            "emulated": bool(self.machine.get("emulated")),
            "threads": result["threads"],
            "cpus": result["cpus"],
            "sensors": result["sensors"],
            "order": result["order"],
            "entries": {name: _told_entry(entry) for name, entry in kept.items()},
            "off_golden": looked_off,
            "refuted": [list(pair) for pair in looked.refuted.items()],
            "confirmed": {name: _told_entry(entry) for name, entry in looked.alone.items()},
            "tuning": {
                name: {
                    "options": settings[name].options if name in settings else self.entries[name]["options"],
                    "threads": settings[name].threads if name in settings else own,
                    "changed": changed.get(name, ""),
                    "tried": self.tried[name],
                }
                for name in self.names
                if name in self.tried
            },
        }
        problems = ["%s is not installed: %s" % pair for pair in missing.items()] + [
            "%s failed at %s: %s" % (name, entry["stage"], entry["cause"])
            for name, entry in kept.items()
            if entry["status"] != "ok" and self.entries[name]["runtime"] not in missing
        ]
        return Settlement(answer, rows, decision, settings, bool(deviations), missing, problems)


def _tried(setting: RuntimeSetting, trial: Trial, default: Trial, kept: bool) -> Dict[str, Any]:
    """A setting as settled.json tells of it, with the default that it was compared with in the same rounds."""
    return {
        "name": setting.name,
        "threads": setting.threads,
        "options": setting.options,
        "latency_ms": trial.latency_ms,
        "default_ms": default.latency_ms,
        "against": trial.against or default.against,
        "kept": kept,
    }


def _told_entry(entry: Mapping[str, Any]) -> Dict[str, Any]:
    return {name: entry[name] for name in KEPT_OF_ENTRY if name in entry}
