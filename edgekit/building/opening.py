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
from edgekit.building.variants.original import original_variant
from edgekit.building.variants.pruned import fits_nowhere, may_fit_pruned, never_pruned
from edgekit.data import compare_classes
from edgekit.errors import Interrupted, TimeLimitReached
from edgekit.plan import Plan
from edgekit.progress import Reporter
from edgekit.quantize import find_recipe
from edgekit.types import Artifact, Candidate, Rejection, Variant

__all__ = ["Opening", "in_run", "opened", "planned"]

Product = TypeVar("Product")


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
        with begun as run, closing(make_executor(request.executor, store.folder / LOG)) as executor:
            product = work(assembled(setting, reporter, run, executor))
            run.finish("done", getattr(product, "verdict", None))
            return product
    except TimeLimitReached as error:
        raise Interrupted(
            f"{error} before anything could be measured; everything finished is in {request.store}: "
            "the same command, or one with a longer --time-limit, goes on from there"
        ) from error
    except KeyboardInterrupt as error:
        raise Interrupted(
            f"stopped; everything finished is in {request.store}: the same command goes on from there"
        ) from error
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


def warned(context: Context, original: Variant, reference: Artifact) -> Context:
    """The context with what the original itself gives to warn of. Raises UserError when it only guesses."""
    setting = context.setting
    classes = compare_classes(setting.source, original.signature, setting.request.metric)
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
    judged = default_told(context.evaluator, reference, context.validation(original.signature))
    if judged:
        context.reporter.say(judged)
    warnings = (*setting.warnings, *classes, *weaknesses)
    return replace(context, setting=replace(setting, warnings=warnings))


def planned(context: Context, variant: Variant) -> Plan:
    """The candidates of one variant on the target."""
    setting, request = context.setting, context.setting.request
    recipe = find_recipe(request.recipe, setting.project) if request.recipe is not None else None
    return plan_for(variant, setting.board, setting.runtimes, request.precisions, recipe)
