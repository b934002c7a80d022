"""Networks trained for the integers of runtimes: the step after the ladder, where INT8 still loses too much."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgekit.building.values import Attempt
from edgekit.building.variants.base import Int8Builds, Made, MadeVariant, MakerContext
from edgekit.building.variants.distilled import code_digest, kept_training
from edgekit.building.variants.original import make_variant
from edgekit.building.variants.qat_job import NETWORK, STAGE, QatJob, qat_config, train_integers
from edgekit.building.variants.training import seconds_left, training_deadline, training_for
from edgekit.compress.qat.training import simulated_outputs, untrained_model
from edgekit.errors import StageError
from edgekit.measure import agreement_of
from edgekit.plan import candidate_id
from edgekit.quantize.placement import Placement
from edgekit.runtimes import RUNTIMES
from edgekit.types import Artifact, BackendName, Candidate, Failure, Rejection, Signature, Variant

if TYPE_CHECKING:
    from edgekit.data import Split

__all__ = ["QatMaker", "trained_candidates"]

WHAT = "quantization-aware training"
LEAST_TRAINING_S = 30.0
LEAST_AGREEMENT = 0.95
"""Of the simulation with the runtime, before anything is trained: below it, other integers might be trained."""

UNEXPLAINED = 0.75
"""Of the predictions in which the runtime differs from float. A simulation of its integers explains more of them, even
of a network in which a difference of one integer here and there grows to another answer."""

COMPARED = 2000
"""Samples that the simulation is compared with the runtime on."""


@dataclass(frozen=True)
class _Start:
    """A runtime in which a network is to be trained: its best INT8 build so far, and where that has integers once its
    ranges are written down as trained ones are. `agreement`: of the simulation with the runtime."""

    attempt: Attempt
    placement: Placement
    agreement: float


class QatMaker:
    """Trains networks whose INT8 builds lose too much, once for all runtimes that have the same integers."""

    def why_not(self, context: MakerContext) -> Rejection | None:
        """See VariantMaker."""
        request = context.request
        if request.qat == "never":
            return Rejection(WHAT, "left out by the request")
        if context.int8 is None:
            return None
        if not wanted(context):
            return unneeded(context)
        if context.splits.train is None:
            return Rejection(WHAT, "there are no training samples to train on", "give a train part")
        if context.time_limit is not None and seconds_left(context.time_limit) < LEAST_TRAINING_S:
            return context.time_limit.not_tried(WHAT)
        return None

    def make(self, context: MakerContext) -> Iterator[Made]:
        """See VariantMaker. Raises StageError when a training fails."""
        builds = context.int8
        attempts = wanted(context) if builds is not None else {}
        for index, (name, tried) in enumerate(attempts.items()):
            network = context.networks[name]
            starts: list[_Start] = []
            for attempt in tried:
                try:
                    assert builds is not None
                    starts.append(_start(context, builds, network, attempt))
                except StageError as problem:
                    who = f"{WHAT} of {name} for {RUNTIMES[attempt.candidate.backend].title}"
                    yield Failure(who, problem.stage, problem.cause, problem.remedy)
            groups = _alike(starts)
            for place, group in enumerate(groups):
                left = len(groups) - place + len(attempts) - index - 1
                yield from _trained(context, network, group, number=place + 1, left=left)


def trained_candidates(variant: Variant, backends: Sequence[BackendName]) -> tuple[Candidate, ...]:
    """The INT8 candidate of each runtime that the network was trained for."""
    return tuple(_candidate(variant.id, backend) for backend in backends)


def wanted(context: MakerContext) -> dict[str, tuple[Attempt, ...]]:
    """Network → of each runtime that can be trained for the INT8 build that loses least, where training is wanted.

    By itself only where none of a runtime keeps the limit on accuracy, and what is known of its latency lets it win.
    """
    request, limit = context.request, context.request.budget.max_drop
    asked = request.qat == "always"
    met = context.choice.verdict == "MEETS" and not request.budget.fastest
    if request.qat == "never" or (not asked and (not request.prune or met or limit is None)):
        return {}
    best: dict[str, dict[BackendName, Attempt]] = {}
    for attempt in context.attempts:
        candidate = attempt.candidate
        if (
            candidate.precision != "int8"
            or not RUNTIMES[candidate.backend].trained_recipe
            or candidate.device
            or repaired(attempt)
        ):
            continue
        of_network = best.setdefault(candidate.variant, {})
        known = of_network.get(candidate.backend)
        if known is None or attempt.accuracy.drop.value < known.accuracy.drop.value:
            of_network[candidate.backend] = attempt
    chosen = {
        name: tuple(
            attempt
            for attempt in of_network.values()
            if asked
            or (limit is not None and attempt.accuracy.drop.value > limit and not _too_slow(context, attempt))
        )
        for name, of_network in best.items()
    }
    return {name: attempts for name, attempts in chosen.items() if attempts}


def unneeded(context: MakerContext) -> Rejection | None:
    """Why `auto` does not train, where it may and there is an INT8 build that it could be for."""
    request, choice = context.request, context.choice
    candidates = [attempt.candidate for attempt in context.attempts]
    has_int8 = any(row.precision == "int8" and RUNTIMES[row.backend].trained_recipe for row in candidates)
    if request.qat != "auto" or not request.prune or request.budget.max_drop is None or not has_int8:
        return None
    if choice.verdict == "MEETS" and not request.budget.fastest:
        return Rejection(WHAT, f"{choice.winner} meets the budget", "--qat always")
    reason = f"no INT8 build that is fast enough loses more than {request.budget.max_drop:.2%}"
    return Rejection(WHAT, reason, "--qat always")


def repaired(attempt: Attempt) -> bool:
    """Whether its integers are those of a network with other weights than the one that would be trained."""
    return attempt.artifact.quantization is not None and bool(attempt.artifact.quantization.repairs)


def _too_slow(context: MakerContext, attempt: Attempt) -> bool:
    """Whether it was measured, and misses the limit on latency: training makes nothing faster."""
    limit, measured = context.request.budget.max_latency_ms, context.measurements.get(attempt.candidate.id)
    if limit is None or measured is None or measured.latency is None:
        return False
    return measured.latency.at(context.request.budget.percentile).low > limit


def _start(context: MakerContext, builds: Int8Builds, network: Variant, attempt: Attempt) -> _Start:
    """The way of a trained network, gone with the untrained one: written, exported, and compared with the simulation.

    Raises StageError where something of it does not hold.
    """
    backend = attempt.candidate.backend
    with context.reporter.step(f"Reading the integers of {attempt.candidate.id}"):
        observed = builds.placement(network, attempt.candidate, attempt.artifact)

        def write(path: Path) -> Signature:
            import onnx

            onnx.save(untrained_model(network.onnx_path, observed), str(path))
            return network.signature

        parts = {"untrained": network.digest, "placement": observed.digest}
        name = f"{network.id}-untrained"
        untrained = make_variant(context.cache, name, "qat", network.id, "", parts, write)
        candidate = _candidate(name, backend)
        artifact = builds.export(untrained, candidate)
        placement = builds.placement(untrained, candidate, artifact)
        agreement, in_float = (
            _agreement(builds, artifact, untrained, simulated, context.splits.validation)
            for simulated in (placement, None)
        )
    if agreement < LEAST_AGREEMENT and 1.0 - agreement > UNEXPLAINED * (1.0 - in_float):
        raise StageError(
            "qat",
            f"its simulation and {RUNTIMES[backend].title} agree on {agreement:.1%} of the samples alone, float and "
            f"{RUNTIMES[backend].title} on {in_float:.1%}: training would be for other integers",
        )
    return _Start(attempt, placement, agreement)


def _agreement(
    builds: Int8Builds, artifact: Artifact, network: Variant, placement: Placement | None, samples: Split
) -> float:
    """The share of samples for which the simulation, or float without a placement, predicts what the runtime does."""
    told = builds.outputs(artifact)
    count = min(COMPARED, len(samples))
    names = [spec.name for spec in network.signature.outputs]
    simulated = simulated_outputs(network.onnx_path, placement, samples.subset(np.arange(count)))
    ours = dict(zip(names, simulated, strict=True))
    theirs = {name: np.asarray(told[name][:count]) for name in names}
    compared = agreement_of(theirs, {name: array.reshape(theirs[name].shape) for name, array in ours.items()})
    return 1.0 - compared.differing / max(1, compared.samples)


def _alike(starts: Sequence[_Start]) -> list[list[_Start]]:
    """Those with the same integers together."""
    groups: dict[str, list[_Start]] = {}
    for start in starts:
        groups.setdefault(start.placement.rules, []).append(start)
    return list(groups.values())


def _trained(
    context: MakerContext, network: Variant, group: Sequence[_Start], *, number: int, left: int
) -> Iterator[MadeVariant | Rejection]:
    """The training number `number` of a network, and what it gave; `left`: how many trainings still share the time."""
    train, request, builds = context.splits.train, context.request, context.int8
    assert train is not None
    assert builds is not None
    backends = tuple(start.attempt.candidate.backend for start in group)
    told = ", ".join(RUNTIMES[backend].title for backend in backends)
    options = request.train
    job = QatJob(
        network=network.digest,
        train_digest=train.digest,
        placement=group[0].placement,
        train=qat_config(options, request.seed, len(train)),
        code=tuple(code_digest(spec) for spec in (options.loss, options.step) if spec),
    )
    limit = context.time_limit
    if limit is not None:
        limit = training_for(limit, seconds_left(limit) / max(1, left))
    title = f"Training {network.id} for the integers of {told}"

    def perform(known: QatJob, folder: Path) -> dict[str, object]:
        scratch = context.cache.store.scratch(context.cache.store.key(STAGE, known.key_parts()))
        with context.reporter.step(title) as step:
            return train_integers(
                known, Path(network.onnx_path), train, scratch, training_deadline(limit), step, folder
            )

    entry, cut = kept_training(context.cache, limit, STAGE, job, perform)

    def write(path: Path) -> Signature:
        shutil.copyfile(entry.path / NETWORK, path)
        return network.signature

    name = f"{network.id}-qat{number if number > 1 else ''}"
    cache = replace(context.cache, time_limit=None)
    description = f"trained for the integers of {told}, distilled from {network.id} in float"
    variant = make_variant(cache, name, "qat", network.id, description, {"qat": entry.key}, write)
    yield MadeVariant(variant, _history(context, builds, variant, group, entry.meta), trained_for=backends)
    if cut is not None:
        yield cut.cut_short(f"training of {name}")


def _history(
    context: MakerContext,
    builds: Int8Builds,
    variant: Variant,
    group: Sequence[_Start],
    meta: Mapping[str, object],
) -> tuple[str, ...]:
    """What it began with, what training gave, and whether the trained integers are what runs."""
    lines = [
        f"without training {start.attempt.candidate.id} loses {100 * start.attempt.accuracy.drop.value:.2f} points"
        for start in group
    ]
    lines.append(f"trained for {meta['steps']} steps in {meta['seconds']:.0f} s")
    before, after = meta["before"], meta["after"]
    if before is not None and after is not None:
        lines.append(
            f"on training samples held aside its simulation scores {before:.2%} before and {after:.2%} after"
            + ("" if meta["kept"] else ": the weights of before are kept")
        )
    for start in group:
        lines.append(_compared(context, builds, variant, start))
    return tuple(lines)


def _compared(context: MakerContext, builds: Int8Builds, variant: Variant, start: _Start) -> str:
    """How far the trained network's simulation is what its runtime computes. A build that fails is checked later."""
    backend = start.attempt.candidate.backend
    title = RUNTIMES[backend].title
    try:
        candidate = _candidate(variant.id, backend)
        artifact = builds.export(variant, candidate)
        placement = builds.placement(variant, candidate, artifact)
        agreement = _agreement(builds, artifact, variant, placement, context.splits.validation)
    except StageError as problem:
        return f"{title} could not be compared with the simulation: {problem.cause}"
    before = f"before training on {start.agreement:.2%}"
    return f"{title} and the simulation agree on {agreement:.2%} of the predictions, {before}"


def _candidate(variant: str, backend: BackendName) -> Candidate:
    recipe = RUNTIMES[backend].trained_recipe
    return Candidate(candidate_id(variant, backend, "int8", recipe), variant, backend, "int8", recipe)
