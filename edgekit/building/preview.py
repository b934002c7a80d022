"""What a build would do: its candidates, the original's own score, and how long it would take. Nothing is trained."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from edgekit.building.candidates.float_walk import MOST_BUILDS
from edgekit.building.context import Context
from edgekit.building.layer_times import TABLE_AUTO
from edgekit.building.opening import Opening, in_run, opened
from edgekit.building.outcome.assemble import accuracy_result
from edgekit.building.request import BuildRequest
from edgekit.building.time_limit import TIMING_S
from edgekit.building.variants.contest import MOST_CONTENDERS
from edgekit.building.variants.halving import RUNGS
from edgekit.building.variants.probing import PROBE_SHARE
from edgekit.building.variants.pruned import never_pruned, never_trained
from edgekit.building.variants.qat_job import qat_config
from edgekit.building.variants.training import STEP_BATCHES, at_least, training_config
from edgekit.compress import depth_text, forward_seconds
from edgekit.plan import FRACTIONS
from edgekit.progress import Reporter
from edgekit.quantize import ladder
from edgekit.result import AccuracyResult, TargetInfo
from edgekit.types import Budget, Candidate, Rejection

__all__ = ["Preview", "PreviewStep", "preview_build"]

CALIBRATED = (1.0, 6.0)
"""Runs over the calibration samples that a recipe takes: ranges alone, or with sensitivity and bias correction."""

PRUNING_STEPS = (2, 9)
"""Steps of 10 % of the MACs that pruning may take."""

PLANS = (3, 15)
"""Plans that are timed, in one to three rounds."""

FACTORIZED = (2, 16)
"""Networks with factorized layers that are timed."""

LAYERS_S = 600.0
"""A table of a network like ResNet-20, from nothing."""

PRECISIONS_S = 90.0
"""The layers of such a network in float and in int8, in one runtime, with what is between them, and whole networks."""

TRAINED_BATCH = (2.0, 4.0)
"""A training step in forward passes: the teacher's, and the narrower student's there and back."""

REPEATED = 2.0
"""Where the machine is not quiet, timing runs twice."""


@dataclass(frozen=True)
class PreviewStep:
    """One part of a build, and how many seconds it takes, roughly. `sometimes`: when it is done at all."""

    what: str
    low_s: float
    high_s: float
    sometimes: str = ""


@dataclass(frozen=True)
class Preview:
    """What would be tried.

    `original`: the score of the original in float on the validation split, as measured in `reference`; None without
    labels, where it has none of its own. `structures`: shares of the MACs that are probed before pruning, empty where
    nothing is pruned. `absent`: why the board is not here. `steps` are estimates. `stages`: of a pipeline, in order.
    """

    target: TargetInfo
    absent: tuple[str, ...]
    budget: Budget
    original: AccuracyResult | None
    reference: str
    macs: int
    parameters: int
    candidates: tuple[Candidate, ...]
    structures: tuple[float, ...]
    rejected: tuple[Rejection, ...]
    warnings: tuple[str, ...]
    steps: tuple[PreviewStep, ...]
    stages: tuple[str, ...] = ()

    @property
    def total_s(self) -> tuple[float, float]:
        """From what is always done, at its fastest, to all of it, at its slowest."""
        always = sum(step.low_s for step in self.steps if not step.sometimes)
        return always, sum(step.high_s for step in self.steps)


def preview_build(request: BuildRequest, reporter: Reporter) -> Preview:
    """Look at the request as a build would, up to the original's score; nothing but the store is written.

    Raises what `run_build` raises before it tries anything.
    """
    return in_run(request, reporter, previewed)


def previewed(context: Context) -> Preview:
    """The preview of a build that has begun."""
    opening = opened(context)
    context, setting, original = opening.context, opening.context.setting, opening.original
    validation = context.validation(original.signature)
    accuracy = context.evaluator.accuracy(opening.reference, opening.reference, validation)
    stages = setting.request.pipeline
    unpruned = never_pruned(setting.request, setting.model, setting.splits)
    if stages:  # which say themselves what is pruned, and how far
        smaller = pipeline_steps(context, opening)
    else:
        smaller = (*(() if unpruned else pruning_steps(context, opening)), *other_steps(context, opening))
    target = setting.board.target
    return Preview(
        target=TargetInfo(target.name, target.title),
        absent=setting.board.absent,
        budget=setting.request.budget,
        original=None if validation.files.labels is None else accuracy_result(accuracy),
        reference=opening.reference.backend,
        macs=original.cost.macs,
        parameters=original.cost.parameters,
        candidates=opening.candidates,
        structures=() if stages else probed_fractions(setting.request, unpruned),
        rejected=(*opening.rejections, *opening.ruled_out, *((unpruned,) if unpruned and not stages else ())),
        warnings=setting.warnings,
        steps=(*unpruned_steps(context, opening), *smaller),
        stages=tuple(stage.text for stage in stages),
    )


def probed_fractions(request: BuildRequest, unpruned: Rejection | None) -> tuple[float, ...]:
    """Shares of the MACs that are probed: none where nothing is pruned, or plans are followed."""
    planned = request.latency_table is not None
    return () if unpruned or planned or request.budget.fastest else FRACTIONS


def unpruned_steps(context: Context, opening: Opening) -> tuple[PreviewStep, ...]:
    """Exporting, checking and timing the candidates of the original, as long as the float reference took."""
    low_s = high_s = 0.0
    once_s = slowest(context, "export")
    evaluate_s = slowest(context, "outputs")
    splits = context.setting.splits
    calibrate_s = evaluate_s * len(splits.calibration) / max(1, len(splits.validation))
    attempts = 0
    timed = context.setting.request.latency_table is not None
    for candidate in opening.candidates:
        rungs = 1
        low_s += once_s + evaluate_s
        if candidate.recipe:
            recipes = ladder(candidate.recipe, context.setting.project)
            rungs = sum(candidate.backend in recipe.backends for recipe in recipes)
            if timed and any(recipe.most_float_time for recipe in recipes):
                rungs += MOST_BUILDS
            low_s += CALIBRATED[0] * calibrate_s
            high_s += rungs * CALIBRATED[1] * calibrate_s
        high_s += rungs * 2 * (once_s + evaluate_s)
        attempts += rungs
    count = len(opening.candidates)
    told = f"exporting and checking {count} candidate" + ("s" if count != 1 else "")
    steps = [PreviewStep(told, low_s, high_s)]
    if context.setting.request.latency_table == TABLE_AUTO and not context.setting.board.absent:
        runtimes = {candidate.backend for candidate in opening.candidates if candidate.recipe}
        told, sometimes = (
            "timing layers in float and in int8",
            "only where INT8 loses more than the budget allows",
        )
        steps += [PreviewStep(told, 0.0, PRECISIONS_S * len(runtimes), sometimes)] if runtimes else []
    if not context.setting.board.absent:
        timing = TIMING_S * len(opening.candidates), REPEATED * TIMING_S * attempts
        steps.append(PreviewStep("timing them against each other", *timing))
    return tuple(steps)


def pruning_steps(context: Context, opening: Opening) -> tuple[PreviewStep, ...]:
    """Probing narrower structures, training one of them, and its candidates."""
    setting, request = context.setting, context.setting.request
    train = setting.splits.train
    assert train is not None
    sometimes = "" if request.budget.fastest else "only if no unpruned candidate meets the budget"
    step = partial(PreviewStep, sometimes=sometimes)
    steps = []
    once_s = slowest(context, "network") + slowest(context, "export")
    timed_s = 0.0 if setting.board.absent else 2 * PROBE_SHARE * request.timed_s
    fractions = probed_fractions(request, None)
    if fractions:
        probing_s = len(fractions) * (once_s + timed_s)
        runtimes = len({candidate.backend for candidate in opening.candidates})
        steps.append(
            step(f"probing {len(fractions)} narrower structures", probing_s, 2 * runtimes * probing_s)
        )
    options, count = request.train, len(train)
    with context.reporter.step("Running one batch through the network"):
        batch_s = forward_seconds(setting.model.load(), train, options.batch_size, options.device)
    epoch_s = batch_s * max(1, count // min(options.batch_size, count))
    short = at_least(STEP_BATCHES, options.step_epochs, count, options.batch_size)
    epochs = training_config(options, request.seed, count).epochs
    pruned_steps = PRUNING_STEPS if request.latency_table is None else (0, 0)  # a plan is followed at once
    if request.latency_table is not None:
        if request.latency_table == TABLE_AUTO:
            steps.append(step("timing single layers, where no build has", 0.0, LAYERS_S))
        few, many = (count * (once_s + timed_s) for count in PLANS)
        steps.append(step("timing plans untrained", few, many))
        contest_s = (
            epoch_s * epochs * sum(MOST_CONTENDERS / 2**rung * share for rung, share in enumerate(RUNGS))
        )
        steps.append(
            step(f"training up to {MOST_CONTENDERS} plans a little", 0.0, TRAINED_BATCH[1] * contest_s)
        )
    low_s, high_s = (
        trained * epoch_s * (pruned * short + epochs)
        for trained, pruned in zip(TRAINED_BATCH, pruned_steps, strict=True)
    )
    steps.append(step("pruning and distilling one network", low_s, high_s))
    if request.drop or request.merge:
        low_s, high_s = (trained * epoch_s * epochs for trained in TRAINED_BATCH)
        changed = depth_text(request.drop, request.merge)
        steps.append(PreviewStep(f"distilling it {changed}", low_s, high_s))
    again = unpruned_steps(context, opening)
    low_s, high_s = sum(part.low_s for part in again), sum(part.high_s for part in again)
    steps.append(step("the same for its candidates, timed with the others", low_s, 2 * high_s))
    return tuple(steps)


def pipeline_steps(context: Context, opening: Opening) -> tuple[PreviewStep, ...]:
    """The training of each stage, as long as the model itself would take, and the candidates of what it gives."""
    setting, train = context.setting, context.setting.splits.train
    assert train is not None
    request, count = setting.request, len(train)
    trainable = never_trained(setting.model, setting.splits, "", "") is None
    again = unpruned_steps(context, opening)
    low_again_s, high_again_s = sum(part.low_s for part in again), sum(part.high_s for part in again)
    batch_s = 0.0
    known = setting.model if trainable else setting.student
    if known is not None:
        batch_s = forward_seconds(known.load(), train, request.train.batch_size, request.train.device)
    steps = []
    for stage in request.pipeline:
        options = stage.training(request.train)
        batches = max(1, count // min(options.batch_size, count))
        is_qat = stage.method == "qat"
        epochs = (qat_config if is_qat else training_config)(options, request.seed, count).epochs
        if stage.method == "prune":
            epochs += PRUNING_STEPS[0] * at_least(
                STEP_BATCHES, options.step_epochs, count, options.batch_size
            )
        low_s, high_s = (trained * batch_s * batches * epochs for trained in TRAINED_BATCH)
        steps.append(
            PreviewStep(f"{stage.name}, and its candidates", low_s + low_again_s, high_s + high_again_s)
        )
    return tuple(steps)


def other_steps(context: Context, opening: Opening) -> tuple[PreviewStep, ...]:
    """Factorizing, teaching a student, making zeros, and the candidates of what comes of it."""
    setting, request, train = context.setting, context.setting.request, context.setting.splits.train
    trainable = never_trained(setting.model, setting.splits, "", "") is None
    low_rank, sparse = (asked is not None and trainable for asked in (request.low_rank, request.sparsity))
    student = setting.student is not None
    if not (low_rank or student or sparse) or train is None:
        return ()
    options, count = request.train, len(train)
    known = setting.model if trainable or setting.student is None else setting.student
    batch_s = forward_seconds(known.load(), train, options.batch_size, options.device)
    epochs = training_config(options, request.seed, count).epochs
    epoch_s = batch_s * max(1, count // min(options.batch_size, count))
    low_s, high_s = (trained * epoch_s * epochs for trained in TRAINED_BATCH)
    again = unpruned_steps(context, opening)
    steps = []
    if low_rank:
        once_s = slowest(context, "network") + slowest(context, "export")
        timed_s = 0.0 if setting.board.absent else 2 * PROBE_SHARE * request.timed_s
        few, many = (networks * (once_s + timed_s) for networks in FACTORIZED)
        steps.append(PreviewStep("timing factorized layers and networks", few, many))
        steps.append(PreviewStep("distilling the one that is chosen", 0.0, high_s))
    if student:
        steps.append(PreviewStep("distilling the student", low_s, high_s))
    if sparse:  # twice where the other weights begin again
        steps.append(PreviewStep("training with zeros", 0.0, (1 + options.rewind) * high_s))
    often = low_rank + student + sparse
    low_s, high_s = sum(part.low_s for part in again), sum(part.high_s for part in again)
    steps.append(PreviewStep("the same for their candidates", low_s if student else 0.0, often * high_s))
    return tuple(steps)


def slowest(context: Context, stage: str) -> float:
    """Seconds that the slowest product of a stage took so far; 0 where there was none."""
    return max(context.cache.took_s.get(stage, ()), default=0.0)
