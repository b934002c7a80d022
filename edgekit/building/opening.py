"""How a build begins: the run is recorded, the original is read, judged and linted. A preview ends there."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

from edgekit.building.candidates.planning import lint, plan_for, refuse_too_large
from edgekit.building.candidates.reference import default_told, reference_artifact, told_weakness
from edgekit.building.context import LOG, Context, assembled
from edgekit.building.executor import make_executor
from edgekit.building.request import BuildRequest
from edgekit.building.setup import prepare
from edgekit.building.variants.low_rank import refuse_unknown_ranks
from edgekit.building.variants.original import original_variant
from edgekit.building.variants.pipeline import refuse_unfit_stages
from edgekit.building.variants.pruned import fits_nowhere, may_fit_pruned, never_pruned, never_trained
from edgekit.building.variants.shallow import refuse_unknown_blocks
from edgekit.building.variants.sparse import refuse_unfit_sparsity
from edgekit.building.variants.student import refuse_unfit_student
from edgekit.building.variants.teaching import (
    opened_teachers,
    refuse_unfit_teachers,
    teachers_of,
    teaching_by_its_file,
)
from edgekit.building.variants.training import training_config
from edgekit.compress import try_training
from edgekit.data import DataSource, compare_classes, multiplied_pixels, unnormalised, unscaled_pixels
from edgekit.errors import Interrupted, StageError, TimeLimitReached, UserError
from edgekit.graph.scaling import scales_input
from edgekit.measure import little_told
from edgekit.plan import Plan
from edgekit.progress import Reporter
from edgekit.quantize import find_recipe
from edgekit.types import Artifact, Candidate, Rejection, Variant

__all__ = ["Opening", "in_run", "opened", "planned"]

Product = TypeVar("Product")

IMAGENET = "--scale 255 --mean .485,.456,.406 --std .229,.224,.225"
TRAINED_ON = f"Trained on 0 to 1: --scale 255; on ImageNet's statistics: {IMAGENET}"
"""What scales pixels."""


@dataclass(frozen=True)
class Opening:
    """What is known before anything is tried. `context`: with what the original gave to warn of.

    `reference`: the original in float. `rejections`: by the runtimes' lints; `ruled_out`: by the target's rules.
    """

    context: Context
    original: Variant
    reference: Artifact
    candidates: tuple[Candidate, ...]
    rejections: tuple[Rejection, ...]
    ruled_out: tuple[Rejection, ...]


def in_run(request: BuildRequest, reporter: Reporter, work: Callable[[Context], Product]) -> Product:
    """What `work` makes of the request, checked, recorded as a run of its store.

    Raises UserError for input that cannot be used, Interrupted when stopped by Ctrl-C, or by the time limit before
    anything could be measured (what is finished is in the store), StoreError when the store cannot be used.
    """
    setting = prepare(request, reporter.say)
    for warning in setting.warnings:
        reporter.say(f"warning: {warning}")
    store = setting.store
    begun = store.begin_run(
        request.command, target=setting.board.target.name, seed=request.seed, out=str(request.out)
    )
    try:
        made = partial(
            make_executor, request.executor, store.folder / LOG, partial(store.workspace, "executor")
        )
        with begun as run, closing(made()) as executor:
            product = work(assembled(setting, reporter, run, executor))
            run.finish("done", getattr(product, "verdict", None))
            return product
    except TimeLimitReached as error:
        raise Interrupted(
            f"{error} before anything could be measured; everything finished is in {request.store}: "
            "the same command, or one with a longer --time-limit, goes on from there"
        ) from None
    except KeyboardInterrupt as error:
        told = f"{error}; " if str(error) else ""  # what a board goes on with
        raise Interrupted(
            f"stopped; {told}everything finished is in {request.store}: the same command goes on from there"
        ) from None  # where in a library it was caught is of no use to who stopped it
    finally:
        store.close()


def opened(context: Context) -> Opening:
    """Raises UserError when the original cannot be used, runs nowhere, or only guesses."""
    setting, reporter = context.setting, context.reporter
    original = original_variant(
        context.cache,
        context.executor,
        reporter,
        setting.model,
        setting.source,
        setting.splits,
        setting.request.input_shapes,
        setting.request.metric,
    )
    context = with_teachers(context, original)
    try_own_loss(context, original)
    refuse_blocks(context)
    refuse_others(context, original)
    plan = planned(context, original)
    smaller = never_pruned(setting.request, setting.model, setting.splits) is None
    target = setting.board.target
    if not (smaller and fits_nowhere(target, original) and may_fit_pruned(target, original)):
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
    return Opening(context, original, reference, candidates, rejections, plan.rejections)


def with_teachers(context: Context, original: Variant) -> Context:
    """The context whose teachers can be asked. Raises UserError where one does not fit the model."""
    setting = context.setting
    teachers = opened_teachers(context.cache, context.executor, setting.teachers, setting.model, original)
    refuse_unfit_teachers(
        setting.request, teachers, teaching_by_its_file(setting.model, original), setting.source
    )
    return replace(context, setting=replace(setting, teachers=teachers))


def try_own_loss(context: Context, original: Variant) -> None:
    """One call of the user's own loss or step: it is needed only after all else is timed. Raises UserError."""
    setting = context.setting
    request, train = setting.request, setting.splits.train
    if request.train.loss is None and request.train.step is None:
        return
    if train is None or not request.trains:
        return
    config = training_config(request.train, request.seed, len(train))
    teachers = teachers_of(request, setting.teachers)
    teacher = None if teachers is None else teachers.joined(train, config)
    if never_trained(setting.model, setting.splits, "", "") is None:
        try_training(setting.model.load(), train, config, teacher)
    elif setting.student is not None:
        model = teaching_by_its_file(setting.model, original).load()
        try_training(setting.student.load(), train, config, teacher or model)


def refuse_blocks(context: Context) -> None:
    """Blocks that are to be dropped or merged and cannot be: told now, not after all is timed. Raises UserError."""
    setting = context.setting
    request = setting.request
    wanted = request.drop or request.merge
    if wanted and never_pruned(request, setting.model, setting.splits) is None:
        try:
            refuse_unknown_blocks(request, setting.model, setting.source)
        except StageError as error:
            raise UserError(f"no block can be dropped or merged: {error.cause}") from error


def refuse_others(context: Context, original: Variant) -> None:
    """Ranks that no layer can have, zeros that none can hold, and a student that does not fit the original.

    Raises UserError.
    """
    setting = context.setting
    if setting.splits.train is None:
        return
    model = teaching_by_its_file(setting.model, original)
    refuse_unfit_student(setting.request, setting.student, model, setting.teachers, setting.source)
    is_torch = never_trained(setting.model, setting.splits, "", "") is None
    if is_torch:
        try:
            refuse_unknown_ranks(setting.request, setting.model, setting.source)
        except StageError as error:
            raise UserError(f"nothing can be factorized: {error.cause}") from error
        refuse_unfit_sparsity(setting.request, setting.model)
    if is_torch or setting.student is not None:
        refuse_unfit_stages(setting.request, setting.student, setting.model, setting.source)


def warned(context: Context, original: Variant, reference: Artifact) -> Context:
    """The context with what the original itself gives to warn of. Raises UserError when it only guesses."""
    setting = context.setting
    classes = compare_classes(setting.source, original.signature, setting.request.metric)
    pixels = (*pixels_told(setting.source, original), *values_told(context, original, reference))
    for warning in (*classes, *pixels):  # before a refusal, which they may explain
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
    judged = default_told(context.evaluator, reference, context.validation(original.signature))
    if judged:
        context.reporter.say(judged)
    warnings = (*setting.warnings, *classes, *pixels, *weaknesses)
    return replace(context, setting=replace(setting, warnings=warnings))


def pixels_told(source: DataSource, original: Variant) -> tuple[str, ...]:
    """A warning where pixels are multiplied by 255, or, without labels, where nothing scales them.

    With labels the original's own score tells. Without, a network that sees what it was never trained on is compared
    with itself: it would be calibrated on ranges that it never has, and every figure would look fine.
    """
    if multiplied_pixels(source):
        return (
            f"a scale of {source.preprocess.scale:g} makes pixels larger than 255: samples are divided by it. "
            "Is 255 meant (--scale 255)?",
        )
    if source.labelled or not unscaled_pixels(source, original.signature):
        return ()
    if scales_input(original.onnx_path, original.signature.inputs[0].name):
        return ()
    return (
        "pixels reach the network as 0 to 255, without scale, mean or std: right only if it was trained so. "
        + TRAINED_ON,
    )


def values_told(context: Context, original: Variant, reference: Artifact) -> tuple[str, ...]:
    """A warning where the original scores little, and its samples are far from 0 as training rarely has them."""
    source, evaluator = context.setting.source, context.evaluator
    seen = unnormalised(source, original.signature)
    if seen is None:
        return ()
    samples = context.validation(original.signature)
    little = little_told(evaluator.outputs(reference, samples), samples.files.labels, evaluator.metric)
    if not little or scales_input(original.onnx_path, original.signature.inputs[0].name):
        return ()
    mean, std = (f"{value:.5g}" for value in seen)
    normalising = f"If training normalised them, give what it used: --mean {mean} --std {std}, or near"
    return (
        f"the original's {little}, which is little for a trained network, and its samples are not normalised: their "
        f"mean is {mean}, their standard deviation {std}. "
        + (TRAINED_ON if unscaled_pixels(source, original.signature) else normalising),
    )


def planned(context: Context, variant: Variant) -> Plan:
    """The candidates of one variant on the target."""
    setting, request = context.setting, context.setting.request
    recipe = find_recipe(request.recipe, setting.project) if request.recipe is not None else None
    return plan_for(variant, setting.board, setting.runtimes, request.precisions, recipe)
