"""Pruned variants: how narrow is asked of the board first, with untrained structures; then one is trained."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from edgekit.building.candidates.ladder import Attempt
from edgekit.building.context import Workshop
from edgekit.building.variants.original import ORIGINAL, example_inputs, load_original, make_variant
from edgekit.building.variants.probing import probe
from edgekit.building.variants.training import (
    STEP_BATCHES,
    at_least,
    network_parts,
    prune_config,
    seconds_left,
    train_split,
    training_config,
    training_deadline,
    validator,
)
from edgekit.compress import (
    IterateConfig,
    PruneConfig,
    PruneOutcome,
    load_pruned,
    prune_iteratively,
    save_pruned,
)
from edgekit.errors import StageError, UserError
from edgekit.model import export_onnx
from edgekit.plan import shortfall, widest_that_fits
from edgekit.reference import locate_reference
from edgekit.result import TrainedStep, VariantResult
from edgekit.types import Candidate, Choice, Failure, Measurement, Rejection, Signature, Variant

__all__ = ["pruned_variants"]

DEFAULT_LIMIT = 0.01  # where the user set no accuracy limit, pruning still needs one to stop at
COARSER = (1, 2, 4, 8)  # multiples of this target's channel multiple that a stored network may have
LEAST_TRAINING_S = 30.0
SLACK, SLACK_TO_FRACTION = 0.03, 0.10
"""How far above the accuracy limit a step may be before pruning ends: its short training leaves much to the final one.

More where the budget asks for a fraction: stopping short of it misses the budget for certain (ResNet-20 at half of its
MACs: 4.4 points below after a step, within 1 point after the final training).
"""


def pruned_variants(
    shop: Workshop,
    original: Variant,
    attempts: Sequence[Attempt],
    measurements: Mapping[str, Measurement],
    choice: Choice,
) -> Iterator[tuple[Variant, VariantResult] | Rejection | Failure]:
    """What pruning gives: a trained variant with its story, or why there is none."""
    refusal = why_not(shop, choice)
    if refusal is not None:
        yield refusal
        return
    lead = leading(shop, attempts, measurements)
    if lead is None:
        yield Rejection("pruning", "no build of the unpruned network could be measured")
        return
    try:
        fraction: float | None = None
        if not shop.setting.request.budget.fastest:
            structures = probe(shop, original, lead.candidate)
            pick = widest_that_fits(structures, shop.setting.request.budget)
            if pick is None:
                narrowest = min(structures, key=lambda one: one.fraction)
                yield Rejection(
                    "pruning",
                    f"even {narrowest.fraction:.0%} of the MACs need "
                    f"{shortfall(narrowest, shop.setting.request.budget)}",
                    "a smaller network, a faster board, or a larger budget",
                )
                return
            fraction = pick.fraction
        yield train_pruned(shop, fraction, lead.candidate)
    except StageError as error:
        yield Failure("pruned", error.stage, error.cause, error.remedy)


def why_not(shop: Workshop, choice: Choice) -> Rejection | None:
    """Why pruning is not tried; None when it is."""
    setting = shop.setting
    if not setting.request.prune:
        return Rejection("pruning", "left out by the request")
    if setting.model.kind in ("onnx", "pt2"):
        return Rejection(
            "pruning",
            f"a .{setting.model.kind} file is quantized and measured as it is: its layers cannot be made narrower",
            "give the network as net.py:factory with --weights",
        )
    if setting.splits.train is None:
        return Rejection(
            "pruning", "there are no training samples to train a pruned network with", "a train part"
        )
    if seconds_left(shop) < LEAST_TRAINING_S:
        return Rejection("pruning", "the time limit leaves no room for training", "a longer --time-limit")
    if choice.verdict == "MEETS" and not setting.request.budget.fastest:
        return Rejection(
            "pruning", f"the unpruned {choice.winner} meets the budget; pruning would cost accuracy"
        )
    return None


def leading(
    shop: Workshop, attempts: Sequence[Attempt], measurements: Mapping[str, Measurement]
) -> Attempt | None:
    """The build of the original that is nearest to the limits on time, size and memory; accurate ones first.

    Its precision is the one that structures are probed at.
    """
    budget = shop.setting.request.budget
    timed = [
        one for one in attempts if one.candidate.id in measurements and measurements[one.candidate.id].latency
    ]
    within = [one for one in timed if budget.max_drop is None or one.accuracy.drop.value <= budget.max_drop]

    def strain(one: Attempt) -> tuple[float, float]:
        measured = measurements[one.candidate.id]
        latency_ms = measured.latency.at(budget.percentile).value if measured.latency else float("inf")
        used = (
            (latency_ms, budget.max_latency_ms),
            (one.artifact.size_bytes, budget.max_size_bytes),
            (measured.peak_memory_bytes, budget.max_memory_bytes),
        )
        return max((value / limit for value, limit in used if limit), default=0.0), latency_ms

    return min(within or timed, key=strain, default=None)


def train_pruned(shop: Workshop, fraction: float | None, lead: Candidate) -> tuple[Variant, VariantResult]:
    """Prune in steps, fine-tune with the original as the teacher, export. Raises StageError."""
    train_config = training_config(shop)
    steps = IterateConfig(
        step_epochs=at_least(shop, shop.setting.request.train.step_epochs, STEP_BATCHES),
        slack=SLACK if fraction is None else SLACK_TO_FRACTION,
    )
    limit = shop.setting.request.budget.max_drop
    limit = DEFAULT_LIMIT if limit is None else limit

    def parts_of(config: PruneConfig) -> dict[str, Any]:
        return {
            **network_parts(shop, config),
            "train": msgspec.to_builtins(train_config),
            "steps": msgspec.to_builtins(steps),
            "limit": limit,
            "fraction": fraction,
            "time_limit_s": shop.setting.request.time_limit_s,
            "validation": shop.setting.splits.validation.digest,
            "code": [
                locate_reference(spec, UserError).digest
                for spec in (train_config.loss, train_config.step)
                if spec
            ],
        }

    config = trained_already(shop, prune_config(shop, lead), parts_of)
    parts = parts_of(config)
    key = shop.setting.store.key("pruned", parts)

    def make(folder: Path) -> Mapping[str, Any]:
        module = load_original(shop)
        with shop.reporter.step("Pruning and distilling") as step:
            outcome = prune_iteratively(
                module,
                example_inputs(shop),
                train_split(shop),
                validator(shop, module),
                config,
                train_config,
                limit=limit,
                target_fraction=fraction,
                steps=steps,
                progress=step,
                folder=shop.setting.store.scratch(key),
                deadline=training_deadline(shop),
            )
        save_pruned(folder / "pruned.safetensors", outcome.module, outcome.plan)
        return {
            "history": story(outcome),
            "fraction": outcome.plan.fraction,
            "steps": msgspec.to_builtins(steps_of(outcome)),
        }

    entry = shop.cached("pruned", parts, make)
    name = f"pruned-{round(100 * entry.meta['fraction'])}"

    def write(path: Path) -> Signature:
        example = example_inputs(shop)
        module, _ = load_pruned(entry.path / "pruned.safetensors", load_original(shop), example)
        return export_onnx(module, example, path)

    description = f"{entry.meta['fraction']:.0%} of the MACs, distilled from the original"
    variant = make_variant(shop, name, "pruned", ORIGINAL, description, {"pruned": key}, write)
    cost = variant.cost
    history = tuple(entry.meta["history"])
    trained = msgspec.convert(entry.meta.get("steps", []), tuple[TrainedStep, ...])
    return variant, VariantResult(
        name, "pruned", ORIGINAL, description, cost.macs, cost.parameters, history, trained
    )


def trained_already(
    shop: Workshop, config: PruneConfig, parts_of: Callable[[PruneConfig], Mapping[str, Any]]
) -> PruneConfig:
    """The configuration of a network that another target's build has trained and that suits this target too.

    Channels in multiples of 32 are in multiples of 16 and 8 as well, so what a coarser target trained serves a finer
    one. Without one, the configuration as it is.
    """
    for factor in COARSER:
        coarser = replace(config, round_to=config.round_to * factor)
        if shop.setting.store.holds("pruned", parts_of(coarser)):
            return coarser
    return config


def steps_of(outcome: PruneOutcome) -> tuple[TrainedStep, ...]:
    """The same steps as values."""
    return tuple(
        TrainedStep(record.kind, record.plan.fraction, record.accuracy, record.accepted)
        for record in outcome.history
    )


def story(outcome: PruneOutcome) -> list[str]:
    """One line per step, and why pruning ended."""
    lines = [
        f"{record.kind}: {record.plan.fraction:.0%} of the MACs, accuracy {record.accuracy:.2%} "
        f"(drop {100 * record.drop:+.2f} points), {record.seconds:.0f} s"
        + ("" if record.accepted else ", too much")
        for record in outcome.history
    ]
    return [*lines, outcome.reason]
