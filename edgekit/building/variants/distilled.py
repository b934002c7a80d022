"""One pruned network: what its training depends on, the training itself, and what a time limit leaves of it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec

from edgekit.building.time_limit import TimeLimit
from edgekit.building.variants.base import MadeVariant, MakerContext
from edgekit.building.variants.original import ORIGINAL, example_inputs, make_variant
from edgekit.building.variants.training import (
    STEP_BATCHES,
    at_least,
    training_config,
    training_deadline,
    validator,
)
from edgekit.compress import (
    IterateConfig,
    PruneConfig,
    PruneOutcome,
    TrainConfig,
    fits,
    load_pruned,
    prune_iteratively,
    save_pruned,
)
from edgekit.errors import StageError, UserError
from edgekit.files import sha256_file
from edgekit.model import export_onnx
from edgekit.model.state import combined, function_digest, not_finite
from edgekit.opened import digests_now, merged, native_files
from edgekit.reference import is_installed, load_function, local_sources, locate_reference
from edgekit.result import TrainedStep
from edgekit.store import Store, StoreEntry
from edgekit.types import Rejection, Signature

__all__ = ["PruneJob", "job_for", "train_pruned", "trained_already", "with_opened"]

DEFAULT_LIMIT = 0.01  # where the user set no accuracy limit, pruning still needs one to stop at
COARSER = (1, 2, 4, 8)  # multiples of this target's channel multiple that a stored network may have
SLACK, SLACK_TO_FRACTION = 0.03, 0.10
"""How far above the accuracy limit a step may be before pruning ends: its short training leaves much to the final one.

More where the budget asks for a fraction: stopping short of it misses the budget for certain (ResNet-20 at half of its
MACs: 4.4 points below after a step, within 1 point after the final training).
"""


@dataclass(frozen=True)
class PruneJob:
    """One pruned network, by all that its weights depend on. `limit`: the largest accuracy drop, a fraction.

    `fraction`: of the original's MACs to stop at; None: the limit alone ends it. `dropped`: blocks that go whole,
    before any channel. `code`: digests of the user's own
    loss and step; `opened`: path and SHA-256 of each file that they read when they are called, as far as a training
    has told (`with_opened`). What a time limit cut short has a key of its own (`cut_parts`), so that a longer one
    goes on.
    """

    model_digest: str
    train_digest: str
    validation_digest: str
    config: PruneConfig
    train: TrainConfig
    steps: IterateConfig
    limit: float
    fraction: float | None
    code: tuple[str, ...]
    opened: tuple[tuple[str, str], ...] = ()
    dropped: tuple[str, ...] = ()

    def key_parts(self) -> dict[str, Any]:
        """Every field; the files only where there is something that may read any, blocks only where any are dropped."""
        parts: dict[str, Any] = msgspec.to_builtins(self)
        if not (self.code or self.opened):
            del parts["opened"]
        if not self.dropped:
            del parts["dropped"]
        return parts

    def cut_parts(self, limit: TimeLimit) -> dict[str, Any]:
        """What a network depends on whose training `limit` cut short."""
        return {**self.key_parts(), "time_limit_s": limit.limit_s}


class CutShortError(Exception):
    """The training that the time limit cut short; usable, but not to be kept as the whole one. Never leaves here."""

    def __init__(self, outcome: PruneOutcome) -> None:
        super().__init__()
        self.outcome = outcome


def job_for(context: MakerContext, config: PruneConfig, fraction: float | None) -> PruneJob:
    """The request's training, at least as long as its data set needs."""
    request, train = context.request, context.splits.train
    assert train is not None
    options, limit = request.train, request.budget.max_drop
    return PruneJob(
        model_digest=context.model.ref.digest,
        train_digest=train.digest,
        validation_digest=context.splits.validation.digest,
        config=config,
        train=training_config(options, request.seed, len(train)),
        steps=IterateConfig(
            step_epochs=at_least(STEP_BATCHES, options.step_epochs, len(train), options.batch_size),
            slack=SLACK if fraction is None else SLACK_TO_FRACTION,
        ),
        limit=DEFAULT_LIMIT if limit is None else limit,
        fraction=fraction,
        code=tuple(code_digest(spec) for spec in (options.loss, options.step) if spec),
    )


def code_digest(spec: str) -> str:
    """Of a function of the user's: its files, and what it holds once they were imported, such as an array of weights.

    What it opens only when it is called is told by its training (`with_opened`), but for files that Python does not see
    being opened: those that its source names are in it. Raises UserError.
    """
    function, reference = load_function(spec, UserError), locate_reference(spec, UserError)
    file = Path(reference.file or inspect.getsourcefile(inspect.unwrap(function)) or "")
    root = Path(reference.root) if reference.root else file.parent
    sources = local_sources(file, root, UserError) if file.is_file() and not is_installed(file) else []
    native = {str(path): sha256_file(path) for path in native_files(sources)}
    return combined({"files": reference.digest, "held": function_digest(function), **native})


PartsOf = Callable[[PruneJob], dict[str, Any]]


def with_opened(job: PruneJob, store: Store, parts_of: PartsOf = PruneJob.key_parts) -> PruneJob:
    """The job with the files that its loss or step is known to read when it is called, as they are now.

    An entry of the store tells what its training read; if that has changed since, the job with what lies there now is
    another, whose own entry is asked in turn. The end is an entry that was made from the files as they are, or none.
    """
    while job.code:
        entry = store.peek("pruned", parts_of(job))
        if entry is None:
            break
        read: dict[str, str] = entry.meta.get("opened", {})
        now = digests_now({**dict(job.opened), **read})
        known = tuple(sorted(now.items()))
        if known == job.opened or all(now[path] == digest for path, digest in read.items()):
            break
        job = replace(job, opened=known)
    return job


def trained_already(job: PruneJob, holds: Callable[[PruneJob], bool]) -> PruneJob:
    """The job of a network that another target's build has trained and that suits this target too.

    Channels in multiples of 32 are in multiples of 16 and 8 as well, so what a coarser target trained serves a finer
    one. Without one, the job as it is.
    """
    for factor in COARSER:
        coarser = replace(job, config=replace(job.config, round_to=job.config.round_to * factor))
        if holds(coarser):
            return coarser
    return job


def train_pruned(context: MakerContext, job: PruneJob) -> Iterator[MadeVariant | Rejection]:
    """The network, and what the time limit left out of its training. Raises StageError, TimeLimitReached."""
    example = example_inputs(context.source)
    entry, cut = trained(context, job)

    def write(path: Path) -> Signature:
        module, _ = load_pruned(entry.path / "pruned.safetensors", context.model.load(), example)
        return export_onnx(module, example, path)

    fraction = entry.meta["fraction"]
    name = f"{'shallow' if job.dropped else 'pruned'}-{round(100 * fraction)}"
    without = f"without {', '.join(job.dropped)}: " if job.dropped else ""
    description = f"{without}{fraction:.0%} of the MACs, distilled from the original"
    # What was trained is handed over: its export is outside of what the makers' limit keeps free.
    cache = replace(context.cache, time_limit=None)
    variant = make_variant(cache, name, "pruned", ORIGINAL, description, {"pruned": entry.key}, write)
    steps = msgspec.convert(entry.meta["steps"], tuple[TrainedStep, ...])
    yield MadeVariant(variant, tuple(entry.meta["history"]), steps)
    if cut is not None:
        yield cut.cut_short(f"training of {name}")


def trained(context: MakerContext, job: PruneJob) -> tuple[StoreEntry, TimeLimit | None]:
    """The trained network's entry: the whole training, or what the time limit, given beside it, left of it."""
    cache, limit = context.cache, context.time_limit
    job = with_opened(job, cache.store)
    if limit is None or cache.store.holds("pruned", job.key_parts()):
        return cache.entry("pruned", job.key_parts(), lambda folder: train(context, job, folder)), None
    job = with_opened(job, cache.store, lambda known: known.cut_parts(limit))
    parts = job.cut_parts(limit)
    if not cache.store.holds("pruned", parts):
        try:
            return cache.entry("pruned", job.key_parts(), lambda folder: train(context, job, folder)), None
        except CutShortError as cut:
            outcome = cut.outcome
            cache = replace(cache, time_limit=None)
            return cache.entry("pruned", parts, lambda folder: save_outcome(outcome, folder)), limit
    return cache.entry("pruned", parts, lambda folder: train_anyhow(context, job, folder)), limit


def train_anyhow(context: MakerContext, job: PruneJob, folder: Path) -> dict[str, Any]:
    """What the time limit allows, where a network that it cut short is stored, but damaged. Raises StageError."""
    try:
        return train(context, job, folder)
    except CutShortError as cut:
        return save_outcome(cut.outcome, folder)


def train(context: MakerContext, job: PruneJob, folder: Path) -> dict[str, Any]:
    """Prune in steps, fine-tune with the original as the teacher, save. Raises StageError, CutShortError."""
    store, model, samples = context.cache.store, context.model, context.splits.train
    assert samples is not None
    module = model.load()
    own = job.train.loss is not None or job.train.step is not None
    if samples.labelled and not own and not fits(samples, module):
        context.reporter.say(
            "the labels fit no output: pruned networks learn from the original alone (see --loss)"
        )
    with context.reporter.step("Pruning and distilling") as step:
        outcome = prune_iteratively(
            module,
            example_inputs(context.source),
            samples,
            validator(context.splits.validation, module),
            job.config,
            job.train,
            limit=job.limit,
            target_fraction=job.fraction,
            dropped=job.dropped,
            steps=job.steps,
            progress=step,
            folder=store.scratch(store.key("pruned", job.key_parts())),
            deadline=training_deadline(context.time_limit),
        )
    broken = not_finite(outcome.module)
    if broken:
        raise StageError(
            "finetune", f"the trained network cannot be used: {broken}", "a lower --learning-rate"
        )
    merged(dict(job.opened), outcome.opened)  # what the key says was read, if it was read
    if outcome.shortened:
        raise CutShortError(outcome)
    return save_outcome(outcome, folder)


def save_outcome(outcome: PruneOutcome, folder: Path) -> dict[str, Any]:
    """The network into `folder`; gives the meta of its entry."""
    save_pruned(folder / "pruned.safetensors", outcome.module, outcome.plan)
    return {
        "history": history_lines(outcome),
        "fraction": outcome.plan.fraction,
        "steps": msgspec.to_builtins(trained_steps(outcome)),
        "opened": dict(outcome.opened),
    }


def trained_steps(outcome: PruneOutcome) -> tuple[TrainedStep, ...]:
    """The steps as values."""
    return tuple(
        TrainedStep(record.kind, record.plan.fraction, record.accuracy, record.accepted)
        for record in outcome.history
    )


def history_lines(outcome: PruneOutcome) -> list[str]:
    """The blocks that were dropped, one line per step, why pruning ended, and what kept its width."""
    lines = [f"blocks dropped: {', '.join(outcome.plan.dropped)}"] if outcome.plan.dropped else []
    lines += [
        f"{record.kind}: {record.plan.fraction:.0%} of the MACs, accuracy {record.accuracy:.2%} "
        f"(drop {100 * record.drop:+.2f} points), {record.seconds:.0f} s"
        + ("" if record.accepted else ", too much")
        for record in outcome.history
    ]
    return [*lines, outcome.reason, *([f"at full width: {outcome.kept}"] if outcome.kept else ())]
