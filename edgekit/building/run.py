"""The whole way of one build: model → variants → candidates → artifacts → measurements → choice → bundle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from edgekit.building.candidates.estimates import estimate_attempts, too_large, without_doubt
from edgekit.building.candidates.ladder import Attempt, try_all
from edgekit.building.candidates.timing import time_attempts
from edgekit.building.context import Workshop
from edgekit.building.outcome.finish import Outcome, finish
from edgekit.building.request import BuildRequest
from edgekit.building.setup import Setting, prepare
from edgekit.building.variants.original import original_variant
from edgekit.building.variants.pruned import pruned_variants
from edgekit.building.worker import LintTask, Worker
from edgekit.choose import Entry, choose
from edgekit.devices.local import LocalDevice
from edgekit.errors import Interrupted, StageError, UserError
from edgekit.plan import Plan, candidate_id, plan_candidates
from edgekit.progress import Reporter
from edgekit.quantize import find_recipe
from edgekit.result import Result, VariantResult
from edgekit.types import (
    Artifact,
    BackendName,
    Candidate,
    Choice,
    Failure,
    Issue,
    Measurement,
    Rejection,
    Variant,
)

__all__ = ["run_build"]

DEFAULT_RECIPES: dict[BackendName, str] = {
    "onnxruntime": "int8-minmax",
    "openvino": "int8-nncf-mse",
    "litert": "int8-minmax",
    "tensorrt": "int8-minmax",
}


@dataclass
class Progress:
    """What a build has found so far."""

    attempts: list[Attempt] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    rejections: list[Rejection] = field(default_factory=list)
    ruled_out: list[Rejection] = field(default_factory=list)
    """By the target's rules, alike for every network; `rejections` are of this network and this request."""
    networks: dict[str, Variant] = field(default_factory=dict)
    stories: list[VariantResult] = field(default_factory=list)

    def all_rejections(self) -> tuple[Rejection, ...]:
        """What a reader looks for first, first."""
        return (*self.rejections, *self.ruled_out)


def run_build(request: BuildRequest, reporter: Reporter) -> Result:
    """Build, write `result.json` and the bundle into `request.out`, and say how it went.

    Raises UserError for input that cannot be used, Interrupted when stopped by Ctrl-C or the time limit (what is
    finished is in the store), StoreError when the store cannot be used.
    """
    setting = prepare(request, reporter.say)
    for warning in setting.warnings:
        reporter.say(f"warning: {warning}")
    begun = setting.store.begin_run(
        request.command, target=setting.target.name, seed=request.seed, out=str(request.out)
    )
    work = setting.store.workspace("device")
    worker = Worker(setting.store.folder / "export.log")
    try:
        with begun as run:
            shop = Workshop(setting, reporter, run, LocalDevice(work), worker)
            result = build(shop)
            run.finish("done", result.verdict)
            return result
    except KeyboardInterrupt as error:
        raise Interrupted(
            f"stopped; everything finished is in {request.store}: the same command goes on from there"
        ) from error
    finally:
        worker.close()
        setting.store.close()


def build(shop: Workshop) -> Result:
    """All stages, once the request is known to be good."""
    setting = shop.setting
    original = original_variant(shop)
    found = Progress()
    found.networks[original.id] = original
    found.stories.append(describe(original))
    plan = plan_for(setting, original)
    refuse_too_large(plan)
    reference = reference_artifact(shop, original)
    found.ruled_out += plan.rejections
    candidates = lint(shop, original, plan.candidates, found)
    collect(found, *try_all(shop, original, candidates, reference))
    if not found.attempts:
        say_nothing_ran(shop, found)
    measurements, choice = judge(shop, original, found)
    shop.stop_when_late = False
    for variant in pruned_variants(shop, original, found.attempts, measurements, choice):
        if isinstance(variant, Rejection):
            found.rejections.append(variant)
        elif isinstance(variant, Failure):
            found.failures.append(variant)
        else:
            network, story = variant
            found.networks[network.id] = network
            found.stories.append(story)
            planned = plan_for(setting, network)
            found.ruled_out += [one for one in planned.rejections if one not in found.ruled_out]
            collect(found, *try_all(shop, network, planned.candidates, reference))
    if len(found.networks) > 1:
        measurements, choice = judge(shop, original, found)
    outcome = Outcome(
        original=original,
        reference=reference,
        attempts=tuple(found.attempts),
        measurements=measurements,
        choice=choice,
        failures=tuple(found.failures),
        rejections=found.all_rejections(),
        variants=tuple(found.stories),
        networks=found.networks,
    )
    return finish(shop, outcome)


def reference_artifact(shop: Workshop, original: Variant) -> Artifact:
    """The original in float, through the first runtime that takes it: what every drop is compared with."""
    problems = []
    for backend in shop.setting.usable:
        candidate = Candidate(candidate_id(original.id, backend, "fp32"), original.id, backend, "fp32")
        try:
            artifact = shop.export(original, candidate)
            with shop.reporter.step("Running the original on the validation split"):
                shop.outputs(artifact, shop.samples(shop.setting.splits.validation, original.signature))
            return artifact
        except StageError as error:
            problems.append(f"{backend}: {error}")
    raise UserError(f"the network runs in no runtime of {shop.setting.target.name}: {'; '.join(problems)}")


def plan_for(setting: Setting, variant: Variant) -> Plan:
    """The candidates of one variant on the target."""
    request = setting.request
    recipes = dict(DEFAULT_RECIPES)
    if request.recipe is not None:  # it begins the ladder of the backends it is for; the others keep theirs
        asked = find_recipe(request.recipe, setting.project)
        recipes.update(dict.fromkeys(asked.backends, asked.name))
    return plan_candidates(
        setting.target,
        [variant],
        precisions=request.precisions,
        backends=setting.usable,
        unusable=setting.unusable,
        features=setting.features,
        default_recipes=recipes,
    )


def refuse_too_large(plan: Plan) -> None:
    """A network of which no build fits into the board's memory is the user's to shrink. Raises UserError."""
    if not plan.candidates and plan.rejections:
        smallest = plan.rejections[0]
        raise UserError(
            f"the network is too large for the board: {smallest.what}: {smallest.reason}",
            remedy=f"give {smallest.instead}" if smallest.instead else "",
        )


def lint(
    shop: Workshop, variant: Variant, candidates: Sequence[Candidate], found: Progress
) -> tuple[Candidate, ...]:
    """Candidates whose runtime takes the network; the others become rejections, each with its node."""
    kept = list(candidates)
    for name in shop.setting.usable:
        try:
            issues = lint_issues(shop, variant, name)
        except StageError as error:
            issues = (Issue("error", "", error.cause, error.remedy),)
        for issue in issues:
            if issue.severity == "error":
                kept = [one for one in kept if one.backend != name]
                found.rejections.append(
                    Rejection(f"{name}: {issue.node}" if issue.node else name, issue.reason, issue.remedy)
                )
    return tuple(kept)


def lint_issues(shop: Workshop, variant: Variant, backend: BackendName) -> tuple[Issue, ...]:
    """What the runtime says of the network, asked once. Raises StageError when it cannot read it or dies of it."""
    setting = shop.setting
    task = LintTask(variant, backend, setting.target.name, str(setting.project))

    def make(folder: Path) -> Mapping[str, Any]:
        return {"issues": msgspec.to_builtins(shop.worker.lint(task).issues)}

    parts = {
        "network": variant.digest,
        "backend": backend,
        "target": msgspec.to_builtins(setting.target),
        "versions": dict(setting.versions),
    }
    entry = shop.cached("lint", parts, make)
    issues: tuple[Issue, ...] = msgspec.convert(entry.meta["issues"], tuple[Issue, ...])
    return issues


def collect(found: Progress, attempts: list[Attempt], failures: list[Failure]) -> None:
    """Add what one variant gave."""
    found.attempts += attempts
    found.failures += failures


def judge(shop: Workshop, original: Variant, found: Progress) -> tuple[dict[str, Measurement], Choice]:
    """Time all candidates against each other and choose. Candidates that break while timed become failures.

    Without the board their latency is estimated instead.
    """
    broken: list[Failure] = []
    if shop.setting.absent:
        measurements = estimate_attempts(shop, found.networks, found.attempts)
    else:
        measurements, broken = time_attempts(shop, original, found.attempts)
    broken += too_large(shop, measurements)
    found.failures += [failure for failure in broken if failure not in found.failures]
    measurements = {
        name: one for name, one in measurements.items() if all(name != each.candidate for each in broken)
    }
    entries = [
        without_doubt(
            Entry(attempt.candidate, measurements[attempt.candidate.id], attempt.artifact.size_bytes)
        )
        for attempt in found.attempts
        if attempt.candidate.id in measurements
    ]
    choice = choose(
        shop.setting.request.budget,
        entries,
        baseline_id(entries),
        failures=found.failures,
        rejections=found.all_rejections(),
    )
    return measurements, choice


def baseline_id(entries: Sequence[Entry]) -> str | None:
    """The fastest float32 build of the original: the honest baseline of every ratio."""
    floats = [
        entry
        for entry in entries
        if entry.candidate.variant == "original" and entry.candidate.precision == "fp32"
    ]
    if not floats:
        return None
    return min(floats, key=latency_p50).id


def latency_p50(entry: Entry) -> float:
    """Milliseconds; entries without a latency come last."""
    latency = entry.measurement.latency
    return latency.p50.value if latency else float("inf")


def describe(variant: Variant, history: Sequence[str] = ()) -> VariantResult:
    """What the result says of a variant."""
    cost = variant.cost
    return VariantResult(
        variant.id,
        variant.kind,
        variant.parent,
        variant.description,
        cost.macs,
        cost.parameters,
        tuple(history),
    )


def say_nothing_ran(shop: Workshop, found: Progress) -> None:
    """Told at once; the report has the reasons."""
    for failure in found.failures:
        shop.reporter.say(f"failed: {failure.candidate} ({failure.stage}): {failure.cause}")
