"""The whole way of one build: model → variants → candidates → artifacts → measurements → choice → bundle."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial

from edgekit.building.cache import Cache
from edgekit.building.candidates.estimates import (
    estimate_attempts,
    estimate_structures,
    too_large,
)
from edgekit.building.candidates.exporting import Exporter
from edgekit.building.candidates.judging import judged, without
from edgekit.building.candidates.ladder import try_all
from edgekit.building.candidates.planning import lint, plan_for, refuse_too_large
from edgekit.building.candidates.reference import reference_artifact, told_weakness
from edgekit.building.candidates.timing import Timer, time_attempts
from edgekit.building.context import Context
from edgekit.building.executor import Executor, make_executor
from edgekit.building.measuring import Bench, Evaluator
from edgekit.building.outcome.assemble import assemble, run_info
from edgekit.building.outcome.bundling import Bundler, hand_over
from edgekit.building.outcome.finish import claimed, make_folder
from edgekit.building.outcome.layer_losses import layer_losses
from edgekit.building.outcome.waterfall import Scorer, waterfall_of
from edgekit.building.request import BuildRequest
from edgekit.building.samples import SampleStore
from edgekit.building.setup import Setting, prepare
from edgekit.building.values import Attempt, BuildState, Outcome
from edgekit.building.variants.base import (
    MadeVariant,
    MakerContext,
    ProbeStructures,
    made_by,
    open_makers,
)
from edgekit.building.variants.original import original_variant
from edgekit.building.variants.probing import time_structures
from edgekit.data import compare_classes
from edgekit.errors import Interrupted
from edgekit.files import only_one_in
from edgekit.measure import read_environment
from edgekit.plan import Plan
from edgekit.progress import Reporter
from edgekit.quantize import find_recipe
from edgekit.result import Result, TargetInfo, saving_result
from edgekit.store import Run
from edgekit.types import Artifact, Candidate, Choice, Failure, Measurement, Rejection, Variant

__all__ = ["run_build"]

LOG = "export.log"  # in the store's folder: what libraries say, tracebacks included


def run_build(request: BuildRequest, reporter: Reporter) -> Result:
    """Build, write `result.json` and the bundle into `request.out`, and say how it went.

    Raises UserError for input that cannot be used, Interrupted when stopped by Ctrl-C or the time limit (what is
    finished is in the store), StoreError when the store cannot be used.
    """
    setting = prepare(request, reporter.say)
    for warning in setting.warnings:
        reporter.say(f"warning: {warning}")
    store = setting.store
    begun = store.begin_run(
        request.command, target=setting.board.target.name, seed=request.seed, out=str(request.out)
    )
    try:
        with begun as run, closing(make_executor(request.executor, store.folder / LOG)) as executor:
            result = build(assembled(setting, reporter, run, executor))
            run.finish("done", result.verdict)
            return result
    except KeyboardInterrupt as error:
        raise Interrupted(
            f"stopped; everything finished is in {request.store}: the same command goes on from there"
        ) from error
    finally:
        store.close()


def assembled(setting: Setting, reporter: Reporter, run: Run, executor: Executor) -> Context:
    """The collaborators of a build."""
    request, board, versions = setting.request, setting.board, setting.runtimes.versions
    cache = Cache(setting.store, run, setting.time_limit)
    samples = SampleStore(cache)
    bench = Bench(
        setting.device, board.machine, versions, request.threads, "host" if board.absent else "device"
    )
    exporter = Exporter(
        cache=cache,
        executor=executor,
        samples=samples,
        calibration=setting.splits.calibration,
        target=board.target,
        features=board.features,
        threads=request.threads,
        versions=versions,
        project=setting.project,
    )
    return Context(
        setting=setting,
        reporter=reporter,
        cache=cache,
        executor=executor,
        samples=samples,
        exporter=exporter,
        evaluator=Evaluator(cache, bench, request.metric),
        timer=Timer(cache, bench, reporter, request.seed),
    )


def build(context: Context) -> Result:
    """All stages, once the request is known to be good."""
    setting, reporter = context.setting, context.reporter
    original = original_variant(
        context.cache, context.executor, reporter, setting.model, setting.source, setting.splits
    )
    state = BuildState().with_network(original, MadeVariant(original).described())
    plan = planned(context, original)
    refuse_too_large(plan)
    backends = setting.runtimes.usable
    reference = reference_artifact(
        original,
        backends,
        context.exporter.export,
        context.evaluator,
        context.validation,
        reporter,
        setting.board.target.name,
    )
    context = warned(context, original, reference)
    candidates, rejections = lint(partial(context.exporter.lint, original), backends, plan.candidates)
    state = state.plus(rejections=rejections, ruled_out=plan.rejections)
    state = tried(context, state, reference, original, candidates)
    if not state.attempts:
        for failure in state.failures:  # told at once; the report has the reasons
            reporter.say(f"failed: {failure.candidate} ({failure.stage}): {failure.cause}")
    state, measurements, choice = judge(context, state, original)
    context = context.without_time_limit()
    asked = maker_context(context, state, original, measurements, choice)
    for name, maker in open_makers():
        for made in made_by(name, maker, asked, setting.store.folder / LOG):
            if isinstance(made, Rejection):
                state = state.plus(rejections=[made])
            elif isinstance(made, Failure):
                state = state.plus(failures=[made])
            else:
                variant = made.variant
                plan = planned(context, variant)
                state = state.with_network(variant, made.described()).plus(ruled_out=plan.rejections)
                state = tried(context, state, reference, variant, plan.candidates)
    if len(state.networks) > 1:
        state, measurements, choice = judge(context, state, original)
    outcome = Outcome(
        original=original,
        networks=state.networks,
        reference=reference,
        attempts=state.attempts,
        measurements=measurements,
        choice=choice,
        failures=state.failures,
        rejections=state.all_rejections(),
        variants=state.variants,
    )
    return finish(context, outcome)


def warned(context: Context, original: Variant, reference: Artifact) -> Context:
    """The context with what the original itself gives to warn of. Raises UserError when it only guesses."""
    setting = context.setting
    classes = compare_classes(setting.source, original.signature)
    for warning in classes:  # before a refusal, which it may explain
        context.reporter.say(f"warning: {warning}")
    weaknesses = told_weakness(
        context.evaluator,
        reference,
        context.validation(original.signature),
        setting.model,
        allowed=setting.request.allow_weak_original,
    )
    for warning in weaknesses:
        context.reporter.say(f"warning: {warning}")
    warnings = (*setting.warnings, *classes, *weaknesses)
    return replace(context, setting=replace(setting, warnings=warnings))


def planned(context: Context, variant: Variant) -> Plan:
    """The candidates of one variant on the target."""
    setting, request = context.setting, context.setting.request
    recipe = find_recipe(request.recipe, setting.project) if request.recipe is not None else None
    return plan_for(variant, setting.board, setting.runtimes, request.precisions, recipe)


def tried(
    context: Context,
    state: BuildState,
    reference: Artifact,
    variant: Variant,
    candidates: Sequence[Candidate],
) -> BuildState:
    """The state with what became of one variant's candidates."""
    setting = context.setting

    def check(variant: Variant, candidate: Candidate) -> Attempt:
        artifact = context.exporter.export(variant, candidate)
        validation = context.validation(variant.signature)
        return Attempt(candidate, artifact, context.evaluator.accuracy(artifact, reference, validation))

    attempts, failures = try_all(
        check,
        lambda name: find_recipe(name, setting.project),
        context.reporter,
        variant,
        candidates,
        setting.request.budget.max_drop,
    )
    return state.plus(attempts=attempts, failures=failures)


def judge(
    context: Context, state: BuildState, original: Variant
) -> tuple[BuildState, dict[str, Measurement], Choice]:
    """Time all candidates against each other and choose. Candidates that break while timed become failures.

    Without the board their latency is estimated instead.
    """
    board, budget = context.setting.board, context.setting.request.budget
    validation = context.validation(original.signature)
    broken: list[Failure] = []
    if board.absent:
        measurements = estimate_attempts(board, context.evaluator, state.networks, state.attempts, validation)
    else:
        measurements, broken = time_attempts(context.timer, state.attempts, validation)
    broken += too_large(board.target, measurements)
    state = state.plus(failures=broken)
    measurements = without(measurements, broken)
    choice = judged(budget, state.attempts, measurements, state.failures, state.all_rejections())
    return state, measurements, choice


def maker_context(
    context: Context,
    state: BuildState,
    original: Variant,
    measurements: dict[str, Measurement],
    choice: Choice,
) -> MakerContext:
    """What the makers of further variants are told, once the original has been judged."""
    setting = context.setting
    return MakerContext(
        request=setting.request,
        model=setting.model,
        source=setting.source,
        splits=setting.splits,
        target=setting.board.target,
        time_limit=setting.time_limit,
        original=original,
        attempts=state.attempts,
        measurements=measurements,
        choice=choice,
        cache=context.cache,
        reporter=context.reporter,
        probe=structure_probe(context, original),
    )


def structure_probe(context: Context, original: Variant) -> ProbeStructures:
    """Untrained structures are timed on the board, or estimated for it while it is not here."""
    setting, request = context.setting, context.setting.request
    if setting.board.absent:
        return partial(estimate_structures, setting.board.target, request.threads)
    return partial(
        time_structures,
        context.exporter,
        context.timer,
        context.validation,
        context.reporter,
        request.budget.percentile,
    )


def finish(context: Context, outcome: Outcome) -> Result:
    """Settle the claim, explain the way there, write the bundle and `result.json`."""
    setting, evaluator = context.setting, context.evaluator
    request, board, out = setting.request, setting.board, setting.request.out
    validation = context.validation(outcome.original.signature)
    outcome, claim = claimed(
        outcome,
        board,
        request.budget.max_drop,
        out / "bundle",
        evaluator,
        partial(context.samples.files, setting.splits.test),
        context.reporter,
    )
    losses = partial(
        layer_losses, context.cache, context.executor, context.reporter, evaluator.bench, validation
    )
    scorer = Scorer(evaluator, outcome.reference, validation)
    result = assemble(
        outcome,
        request.budget,
        TargetInfo(board.target.name, board.target.title),
        run_info(setting, context.cache.run.id),
        claim=claim,
        waterfall=waterfall_of(outcome, scorer, context.exporter.export, losses),
        warnings=(*setting.warnings, *setting.store.warnings),
        machine=read_environment(evaluator.bench.device.describe(), threads=request.threads),
    )
    make_folder(out)
    bundler = Bundler(
        folder=out / "bundle",
        target=board.target,
        threads=request.threads,
        preprocess=setting.source.preprocess,
        classes=tuple(setting.source.classes or ()),
        evaluator=evaluator,
        validation=validation,
    )
    with only_one_in(out), saving_result(result, out / "result.json"):
        hand_over(bundler, outcome, claim, request.budget, absent=bool(board.absent))
    return result
