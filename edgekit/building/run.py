"""The whole way of one build: model → variants → candidates → artifacts → measurements → choice → bundle."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from edgekit.building.candidates.estimates import (
    estimate_attempts,
    estimate_structures,
    too_large,
)
from edgekit.building.candidates.judging import judged, without
from edgekit.building.candidates.ladder import try_all
from edgekit.building.candidates.timing import time_attempts
from edgekit.building.context import LOG, Context
from edgekit.building.executor import is_elsewhere
from edgekit.building.opening import in_run, opened, planned
from edgekit.building.outcome.assemble import assemble, run_info
from edgekit.building.outcome.bundling import Bundler, hand_over
from edgekit.building.outcome.finish import claimed, make_folder
from edgekit.building.outcome.host_check import host_agreement
from edgekit.building.outcome.layer_losses import layer_losses
from edgekit.building.outcome.waterfall import Scorer, waterfall_of
from edgekit.building.request import BuildRequest
from edgekit.building.setup import Setting
from edgekit.building.values import Attempt, BuildState, Outcome
from edgekit.building.variants.base import (
    Int8Builds,
    MadeVariant,
    MakerContext,
    ProbeStructures,
    made_by,
    open_makers,
)
from edgekit.building.variants.probing import time_structures
from edgekit.building.variants.qat import trained_candidates
from edgekit.errors import TimeLimitReached
from edgekit.files import only_one_in
from edgekit.measure import read_environment
from edgekit.progress import Reporter
from edgekit.quantize import find_recipe
from edgekit.result import Result, TargetInfo, saving_result
from edgekit.types import (
    Artifact,
    Candidate,
    Choice,
    Failure,
    Measurement,
    PlanningResult,
    Rejection,
    Variant,
)

__all__ = ["run_build"]


def run_build(request: BuildRequest, reporter: Reporter) -> Result:
    """Build, write `result.json` and the bundle into `request.out`, and say how it went.

    At the end of a time limit the best of what is finished is chosen and handed over; the result names the rest.

    Raises UserError for input that cannot be used, Interrupted when stopped by Ctrl-C, or by the time limit before
    anything could be measured (what is finished is in the store), StoreError when the store cannot be used.
    """
    return in_run(request, reporter, build)


def build(context: Context) -> Result:
    """All stages, once the request is known to be good."""
    opening = opened(context)
    context, original, reference = opening.context, opening.original, opening.reference
    setting, reporter = context.setting, context.reporter
    state = BuildState().with_network(original, MadeVariant(original).described())
    state = state.plus(rejections=opening.rejections, ruled_out=opening.ruled_out)
    state = tried(context, state, reference, original, opening.candidates)
    if not state.attempts:
        for failure in state.failures:  # told at once; the report has the reasons
            reporter.say(f"failed: {failure.candidate} ({failure.stage}): {failure.cause}")
        if setting.time_limit is not None and setting.time_limit.warnings(state.rejections):
            raise TimeLimitReached(setting.time_limit.told)
    state, measurements, choice = judge(context, state, original)
    state = varied(context, state, reference, original, measurements, choice)
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
        planning=state.planning,
    )
    return finish(context, outcome)


def varied(
    context: Context,
    state: BuildState,
    reference: Artifact,
    original: Variant,
    measurements: dict[str, Measurement],
    choice: Choice,
) -> BuildState:
    """The state with what the makers of further networks gave, and what became of their candidates."""
    # What they lead to is timed together with what there is: about as many candidates again.
    asked = maker_context(
        context.leaving_room_for(2 * len(state.attempts)), state, original, measurements, choice
    )
    became: dict[str, tuple[Attempt, ...]] = {}
    asked = replace(asked, became=lambda variant: became.get(variant, ()))
    for name, maker in open_makers(context.setting.request):
        asked = replace(asked, attempts=state.attempts, networks=state.networks)
        for made in made_by(name, maker, asked, context.setting.store.folder / LOG):
            if isinstance(made, Rejection):
                state = state.plus(rejections=[made])
            elif isinstance(made, Failure):
                state = state.plus(failures=[made])
            elif isinstance(made, PlanningResult):
                state = replace(state, planning=made)
            else:
                variant = made.variant
                state = state.with_network(variant, made.described())
                if made.trained_for:
                    candidates = trained_candidates(variant, made.trained_for)
                else:
                    plan = planned(context, variant)
                    useless = [made.useless(candidate) for candidate in plan.candidates]
                    pairs = zip(plan.candidates, useless, strict=True)
                    candidates = tuple(candidate for candidate, rejection in pairs if rejection is None)
                    state = state.plus(
                        ruled_out=plan.rejections, rejections=list(dict.fromkeys(filter(None, useless)))
                    )
                seen = len(state.attempts)
                state = tried(context, state, reference, variant, candidates)
                became[variant.id] = state.attempts[seen:]
    return state


def tried(
    context: Context,
    state: BuildState,
    reference: Artifact,
    variant: Variant,
    candidates: Sequence[Candidate],
) -> BuildState:
    """The state with what became of one variant's candidates."""
    setting = context.setting
    context = context.leaving_room_for(len(state.attempts) + len(candidates))

    export = context.exporter.exported_ahead([(variant, candidate) for candidate in candidates])

    def check(variant: Variant, candidate: Candidate) -> Attempt:
        artifact = export(variant, candidate)
        validation = context.validation(variant.signature)
        return Attempt(candidate, artifact, context.evaluator.accuracy(artifact, reference, validation))

    became = try_all(
        check,
        lambda name: find_recipe(name, setting.project),
        context.reporter,
        variant,
        candidates,
        setting.request.budget.max_drop,
        context.time_limit,
    )
    return state.plus(attempts=became.attempts, failures=became.failures, rejections=became.rejections)


def judge(
    context: Context, state: BuildState, original: Variant
) -> tuple[BuildState, dict[str, Measurement], Choice]:
    """Time all candidates against each other and choose. Candidates that break while timed become failures.

    Without the board their latency is estimated instead. What is finished is timed whatever the time limit says.
    """
    context = context.within(None)
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
        time_limit=context.time_limit,
        original=original,
        attempts=state.attempts,
        measurements=measurements,
        choice=choice,
        cache=context.cache,
        reporter=context.reporter,
        probe=structure_probe(context, original),
        executor=context.executor if is_elsewhere(setting.request.executor) else None,
        layer_times=context.layer_times,
        student=setting.student,
        features=setting.board.features,
        int8=Int8Builds(
            context.exporter.export,
            context.exporter.placement,
            lambda artifact: context.evaluator.outputs(artifact, context.validation(original.signature)),
        ),
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


def limit_warnings(setting: Setting, outcome: Outcome) -> tuple[str, ...]:
    """What the time limit left undone, in one line."""
    return () if setting.time_limit is None else setting.time_limit.warnings(outcome.rejections)


def finish(context: Context, outcome: Outcome) -> Result:
    """Settle the claim, explain the way there, write the bundle and `result.json`; outside of the time limit."""
    context = context.within(None)
    setting, evaluator = context.setting, context.evaluator
    request, board, out = setting.request, setting.board, setting.request.out
    validation = context.validation(outcome.original.signature)
    claim = claimed(
        outcome,
        board,
        request.budget,
        out / "bundle",
        evaluator,
        context.timer,
        validation,
        partial(context.samples.files, setting.splits.test),
        partial(
            judged,
            request.budget,
            outcome.attempts,
            outcome.measurements,
            outcome.failures,
            outcome.rejections,
        ),
        context.reporter,
    )
    outcome = replace(outcome, choice=claim.choice)
    losses = partial(
        layer_losses,
        context.cache,
        context.executor,
        context.reporter,
        setting.host,
        setting.runtimes.versions,
        request.threads,
        validation,
    )
    scorer = Scorer(evaluator, outcome.reference, validation)
    result = assemble(
        outcome,
        request.budget,
        TargetInfo(board.target.name, board.target.title, board.target.likeness(board.machine)),
        run_info(setting, context.cache.run.id),
        claim=claim,
        waterfall=waterfall_of(outcome, scorer, context.exporter.export, losses),
        warnings=(*setting.warnings, *limit_warnings(setting, outcome), *setting.store.warnings),
        machine=read_environment(setting.facts, threads=request.threads),
        agreement=host_agreement(setting, outcome, evaluator, validation, context.reporter),
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
        hand_over(bundler, outcome, claim, request.budget, settled=board.is_real)
    return result
