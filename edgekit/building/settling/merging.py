"""A build's result with what settling found on the board: the verdict by the very rule of choice, in its words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from edgekit.building.outcome.assemble import accuracy_result, latency_result
from edgekit.bundle import CandidateFacts, CandidatesManifest, Manifest
from edgekit.choose import Entry, choose, claim_sentence
from edgekit.errors import BundleError
from edgekit.measure import read_environment
from edgekit.measure.entries import entry_energy, entry_latency
from edgekit.result import CandidateResult, LatencyResult, Result
from edgekit.types import (
    Accuracy,
    Choice,
    Environment,
    Estimate,
    Failure,
    Measurement,
    Origin,
)

__all__ = ["merged"]

STAGE = "settle"
NEEDED = ("entries", "refuted", "confirmed", "order", "sensors", "cpus", "threads", "off_golden", "tuning")


@dataclass(frozen=True)
class _Settled:
    """What settled.json says, beside the manifests that it was settled by."""

    answer: Mapping[str, Any]
    manifest: CandidatesManifest
    manifests: Mapping[str, Manifest]

    @property
    def origin(self) -> Origin:
        return "emulated" if self.answer["emulated"] else "device"

    @property
    def environment(self) -> Environment:
        answer = self.answer
        return read_environment(
            answer["facts"],
            threads=answer["threads"],
            cpus=answer["cpus"],
            notes=answer["notes"],
            sensors=answer["sensors"],
        )

    def failures(self) -> list[Failure]:
        """Candidates that did not run there, or whose answers are not the golden ones."""
        failed = []
        for name, entry in self.answer["entries"].items():
            if entry["status"] != "ok":
                failed.append(Failure(name, f"{STAGE} ({entry['stage']})", entry["cause"], ""))
            elif name in self.answer["off_golden"]:
                cause = f"its golden outputs do not match on the board: {self.answer['off_golden'][name]}"
                failed.append(Failure(name, f"{STAGE} (golden)", cause, ""))
        return failed

    def entries(self) -> list[Entry]:
        """Those that ran, as the rule of choice takes them."""
        failed = {failure.candidate for failure in self.failures()}
        return [self._entry(facts) for facts in self.manifest.candidates if facts.id not in failed]

    def _entry(self, facts: CandidateFacts) -> Entry:
        raw = self.answer["entries"][facts.id]
        candidate = replace(
            self.manifests[facts.id].candidate, id=facts.id, variant=facts.variant, precision=facts.precision
        )
        return Entry(candidate, self.measurement(facts, raw), facts.size_bytes)

    def measurement(self, facts: CandidateFacts, raw: Mapping[str, Any]) -> Measurement:
        """An entry of settling as a measurement, with the accuracy that a verdict stands on."""
        return Measurement(
            candidate=facts.id,
            origin=self.origin,
            environment=self.environment,
            load_ms=raw["load_ms"],
            peak_memory_bytes=raw["peak_memory_bytes"],
            latency=entry_latency(raw, self._turns(facts.id)),
            accuracy=_accuracy(facts, self.manifests[facts.id]),
            import_ms=raw["import_ms"],
            energy=entry_energy(raw),
            available_bytes=raw.get("available_bytes"),
        )

    def _turns(self, name: str) -> tuple[int, ...]:
        """Its place in each round; that of its tuned build where that one was kept."""
        tuned = f"{name}+tuned"
        own = tuned if self.answer["tuning"].get(name, {}).get("changed") else name
        order = self.answer["order"]
        return tuple(names.index(own) + 1 for names in order) if all(own in names for names in order) else ()


def merged(
    result: Result, manifest: CandidatesManifest, manifests: Mapping[str, Manifest], answer: Mapping[str, Any]
) -> Result:
    """The result of a build with what settled.json says of its bundle.

    Measured on the board, the verdict is MEETS, MISSES or INFEASIBLE; of an emulated board, or where runtimes were
    missing and no other candidate meets the budget, it stays PROVISIONAL and says why. Merging again changes nothing.
    Raises BundleError where the two do not belong together, or where settled.json does not follow from its figures.
    """
    _check_belongs(result, manifest, answer)
    settled = _Settled(answer, manifest, manifests)
    entries, failures = settled.entries(), settled.failures()
    choice = _choice(settled, entries, failures)
    lead = choice.winner or choice.nearest
    before = result.winner or result.nearest
    claim = _claim(manifests.get(lead or ""))
    others = tuple(failure for failure in result.failures if not failure.stage.startswith(f"{STAGE} ("))
    percentile = manifest.budget.percentile
    confirmed = answer["confirmed"].get(lead or "")
    return replace(
        result,
        verdict=choice.verdict,
        explanation=choice.explanation,
        winner=choice.winner,
        nearest=choice.nearest,
        claim=None if claim is None else accuracy_result(claim),
        candidates=tuple(_row(row, settled, entries, failures, choice) for row in result.candidates),
        failures=(*others, *failures),
        environment=settled.environment,
        waterfall=result.waterfall if lead == before else (),
        established=answer["established"] if choice.winner else None,
        confirmed=_latency_result(confirmed, percentile) if confirmed else None,
        settled_in=next((facts.folder for facts in manifest.candidates if facts.id == lead), ""),
        agreement=None,
    )


def _check_belongs(result: Result, manifest: CandidatesManifest, answer: Mapping[str, Any]) -> None:
    missing = [name for name in NEEDED if name not in answer]
    if missing:
        raise BundleError(
            "settled.json is of an older edgekit, and holds no measurements",
            remedy="settle with the board/ of this one: edgekit bundle settle",
        )
    known = {row.id for row in result.candidates}
    strange = [facts.id for facts in manifest.candidates if facts.id not in known]
    if result.target.name != manifest.target or result.budget != manifest.budget or strange:
        raise BundleError(
            "result.json is not of the build that made this bundle",
            remedy="give the --out folder of that build",
        )
    if answer["not_the_board"] and not answer["emulated"]:
        raise BundleError(
            f"it was not settled on {manifest.target}: {'; '.join(answer['not_the_board'])}",
            remedy="settle it on the board",
        )


def _choice(settled: _Settled, entries: list[Entry], failures: list[Failure]) -> Choice:
    """The choice in words; it has to be the one that settling made of the same figures."""
    answer, manifest = settled.answer, settled.manifest
    refuted = dict(answer["refuted"])
    original = next((entry.id for entry in entries if entry.is_unchanged), None)
    choice = choose(
        manifest.budget, entries, original, origin=settled.origin, refuted=refuted, failures=failures
    )
    if choice.winner != answer["winner"]:
        raise BundleError("settled.json names another winner than its own figures", remedy="settle again")
    open_by = _open_by(settled)
    if open_by:
        lead = choice.winner or choice.nearest
        text = f"{open_by}, and nothing is settled. By these figures: {choice.explanation}"
        return replace(choice, verdict="PROVISIONAL", winner=None, nearest=lead, explanation=text)
    if choice.winner is None:
        return choice
    won = next(entry for entry in entries if entry.id == choice.winner)
    accuracy = won.measurement.accuracy
    sentence = ""
    if accuracy is not None and accuracy.split == "test":
        sentence = claim_sentence(won, manifest.budget)[1]
    elif not won.is_unchanged:
        sentence = "Its drop was not measured on the test split; one that was chosen by flatters."
    tuned = answer["tuning"].get(choice.winner, {}).get("changed", "")
    told = f"It runs tuned: {tuned}." if tuned else ""
    return replace(choice, explanation=" ".join(filter(None, (choice.explanation, sentence, told))))


def _open_by(settled: _Settled) -> str:
    """Why nothing is settled, as the begin of a sentence; "" where it is."""
    answer, target = settled.answer, settled.manifest.target
    if answer["emulated"]:
        return f"{target} is only emulated: what runs there is the board's code at no board's speed"
    if answer["verdict"] == "PROVISIONAL":
        lacking = "; ".join(
            f"{name} is not installed there: {how}" for name, how in answer["not_installed"].items()
        )
        return f"No candidate that ran meets the budget, and others did not run ({lacking})"
    return ""


def _row(
    row: CandidateResult, settled: _Settled, entries: list[Entry], failures: list[Failure], choice: Choice
) -> CandidateResult:
    """One candidate as it is known now."""
    failure = next((failure for failure in failures if failure.candidate == row.id), None)
    if failure is not None:
        return replace(row, latency_ms=None, why=f"failed on the board: {failure.cause}", frontier=False)
    entry = next((entry for entry in entries if entry.id == row.id), None)
    if entry is None:
        return replace(row, why="not taken to the board: estimated, not measured", frontier=False)
    raw, measurement = settled.answer["entries"][row.id], entry.measurement
    percentile = settled.manifest.budget.percentile
    tuned = settled.answer["tuning"].get(row.id, {}).get("changed", "")
    notes = [note for note in row.notes if not note.startswith(("Tuned:", "On the board:"))]
    notes += [f"Tuned: {tuned}."] if tuned else []
    notes += [f"On the board: {note}" for note in raw["notes"]]
    return replace(
        row,
        latency_ms=None if measurement.latency is None else latency_result(measurement.latency, percentile),
        origin=settled.origin,
        peak_memory_bytes=measurement.peak_memory_bytes,
        load_ms=measurement.load_ms,
        import_ms=measurement.import_ms,
        energy=measurement.energy,
        available_bytes=measurement.available_bytes,
        ran_as=settled.manifests[row.id].ran_as,
        why=choice.reasons.get(row.id, ""),
        frontier=row.id in choice.frontier,
        notes=tuple(notes),
    )


def _latency_result(raw: Mapping[str, Any], percentile: Any) -> LatencyResult | None:
    latency = entry_latency(raw) if raw["status"] == "ok" else None
    return None if latency is None else latency_result(latency, percentile)


def _claim(manifest: Manifest | None) -> Accuracy | None:
    return None if manifest is None else manifest.measured.test


def _accuracy(facts: CandidateFacts, manifest: Manifest) -> Accuracy:
    """On the test split where it was measured there, else as the build chose by."""
    if manifest.measured.test is not None:
        return manifest.measured.test
    low = facts.drop if facts.drop_low is None else facts.drop_low
    high = facts.drop if facts.drop_high is None else facts.drop_high
    return Accuracy(
        facts.metric,
        "validation",
        0,
        Estimate(facts.value, facts.value, facts.value),
        Estimate(facts.drop, low, high),
        drop_bound=facts.drop_bound,
    )
