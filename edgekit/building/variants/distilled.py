"""One smaller network: what its training depends on, the training itself, and what a time limit leaves of it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from edgekit.building.cache import Cache
from edgekit.building.time_limit import TimeLimit
from edgekit.building.variants.base import MadeVariant, MakerContext
from edgekit.building.variants.described import done_to, kind_of, name_stem, taught_by
from edgekit.building.variants.job import CutShortError, Job, PruneJob, Student, TrainingJob, distil
from edgekit.building.variants.named_task import why_it_stays
from edgekit.building.variants.original import ORIGINAL, example_inputs, make_variant
from edgekit.building.variants.teaching import teacher_digest, teachers_of
from edgekit.building.variants.training import (
    STEP_BATCHES,
    at_least,
    training_config,
    training_deadline,
)
from edgekit.building.variants.training_task import train_elsewhere
from edgekit.compress import (
    IterateConfig,
    PruneConfig,
    SparsePlan,
    fits,
    load_low_rank,
    load_pruned,
    load_sparse,
    load_student,
)
from edgekit.errors import UserError
from edgekit.files import sha256_file
from edgekit.model import export_onnx
from edgekit.model.state import combined, function_digest
from edgekit.opened import digests_now, native_files
from edgekit.reference import is_installed, load_function, local_sources, locate_reference
from edgekit.result import TrainedStep
from edgekit.store import Store, StoreEntry
from edgekit.types import Rejection, Signature

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

    Arrays = tuple[NDArray[np.generic], ...]

__all__ = [
    "SLACK_TO_FRACTION",
    "code_digest",
    "is_trained",
    "job_for",
    "kept_training",
    "train_pruned",
    "trained",
    "trained_already",
    "with_opened",
]

STAGE = "pruned"
DEFAULT_LIMIT = 0.01  # where the user set no accuracy limit, pruning still needs one to stop at
COARSER = (1, 2, 4, 8)  # multiples of this target's channel multiple that a stored network may have
TITLE = "Pruning and distilling"
SLACK, SLACK_TO_FRACTION = 0.03, 0.10
"""How far above the accuracy limit a step may be before pruning ends: its short training leaves much to the final one.

More where the budget asks for a fraction: stopping short of it misses the budget for certain (ResNet-20 at half of its
MACs: 4.4 points below after a step, within 1 point after the final training).
"""


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
        teacher=teacher_digest(context),
    )


def code_digest(spec: str) -> str:
    """Of a function of the user's: its files, and what it holds once they were imported, such as an array of weights.

    What it opens only when it is called is told by its training (`with_opened`), but for files that Python does not see
    being opened: those that its source names are in it. Raises UserError.
    """
    function, reference = load_function(spec, UserError), locate_reference(spec, UserError)
    file = Path(reference.file or source_file(function))
    root = Path(reference.root) if reference.root else file.parent
    sources = local_sources(file, root, UserError) if file.is_file() and not is_installed(file) else []
    native = {str(path): sha256_file(path) for path in native_files(sources)}
    return combined({"files": reference.digest, "held": function_digest(function), **native})


def source_file(function: Callable[..., Any]) -> str:
    """Where it was written; of an object that is called, such as a criterion of torch's, its class; "" if nowhere."""
    written = inspect.unwrap(function)
    while isinstance(written, partial):
        written = written.func
    named = written if inspect.isroutine(written) or inspect.isclass(written) else type(written)
    try:
        return inspect.getsourcefile(named) or ""
    except TypeError:  # built in
        return ""


def whole_parts(job: TrainingJob) -> dict[str, Any]:
    """What the whole training depends on."""
    return job.key_parts()


def with_opened(
    job: Job, store: Store, parts_of: Callable[[Job], dict[str, Any]] = whole_parts, stage: str = STAGE
) -> Job:
    """The job with the files that its loss or step is known to read when it is called, as they are now.

    An entry of the store tells what its training read; if that has changed since, the job with what lies there now is
    another, whose own entry is asked in turn. The end is an entry that was made from the files as they are, or none.
    """
    while job.code:
        entry = store.peek(stage, parts_of(job))
        if entry is None:
            break
        read: dict[str, str] = entry.meta.get("opened", {})
        now = digests_now({**dict(job.opened), **read})
        known = tuple(sorted(now.items()))
        if known == job.opened or all(now[path] == digest for path, digest in read.items()):
            break
        job = job.having_opened(known)
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


def train_pruned(context: MakerContext, job: PruneJob, name: str = "") -> Iterator[MadeVariant | Rejection]:
    """The network, and what the time limit left out of its training. `name`: what it is called; "": by its MACs.

    Raises StageError, TimeLimitReached.
    """
    example = example_inputs(context.source)
    entry, cut = trained(context, job)
    for note in entry.meta.get("notes", ()):
        context.reporter.say(note)

    def write(path: Path) -> Signature:
        module = loaded(context, job, entry.path / "pruned.safetensors", example)
        if job.student:  # fed and judged as the original is, whatever its file calls inputs and outputs
            inputs, outputs = context.original.signature.inputs, context.original.signature.outputs
            names = [port.name for port in inputs], [port.name for port in outputs]
            return export_onnx(module, example, path, input_names=names[0], output_names=names[1])
        return export_onnx(module, example, path)

    fraction = entry.meta["fraction"]
    name = name or f"{name_stem(job)}-{round(100 * fraction)}"
    parent, whose = context.original.id, ""
    if parent != ORIGINAL:
        name, whose = f"{parent}-{name}", f" of {parent}"
    description = (
        f"{done_to(context, job)}{fraction:.0%} of the MACs{whose}, distilled from {taught_by(context)}"
    )
    kind = kind_of(job)
    # What was trained is handed over: its export is outside of what the makers' limit keeps free.
    cache = replace(context.cache, time_limit=None)
    variant = make_variant(cache, name, kind, parent, description, {"pruned": entry.key}, write)
    if job.sparsity:
        variant = replace(variant, sparsity=SparsePlan.from_json(job.sparsity).sparsity)
    steps = msgspec.convert(entry.meta["steps"], tuple[TrainedStep, ...])
    load = partial(loaded, context, job, entry.path / "pruned.safetensors", example)
    yield MadeVariant(variant, tuple(entry.meta["history"]), steps, load=load)
    if cut is not None:
        yield cut.cut_short(f"training of {name}")


def loaded(context: MakerContext, job: PruneJob, path: Path, example: Arrays) -> torch.nn.Module:
    """The trained network at `path` as a module. Raises ModelError."""
    if job.student:
        assert context.student is not None
        return load_student(path, context.student.load())
    if job.sparsity:
        return load_sparse(path, context.model.load())
    if job.low_rank:
        return load_low_rank(path, context.model.load(), example)
    return load_pruned(path, context.model.load(), example)[0]


def trained(context: MakerContext, job: PruneJob, title: str = TITLE) -> tuple[StoreEntry, TimeLimit | None]:
    """The pruned network's entry; see kept_training."""
    return kept_training(
        context.cache,
        context.time_limit,
        STAGE,
        job,
        lambda known, folder: train(context, known, folder, title),
    )


def kept_training(
    cache: Cache,
    limit: TimeLimit | None,
    stage: str,
    job: Job,
    perform: Callable[[Job, Path], dict[str, Any]],
) -> tuple[StoreEntry, TimeLimit | None]:
    """A trained network's entry: the whole training, or what the time limit, given beside it, left of it.

    `perform` trains, writes into a folder and gives the meta of its entry; it may raise CutShortError.
    """
    job = with_opened(job, cache.store, stage=stage)
    if limit is None or cache.store.holds(stage, job.key_parts()):
        whole = job
        return cache.entry(stage, job.key_parts(), lambda folder: perform(whole, folder)), None
    job = cut = with_opened(job, cache.store, lambda known: known.cut_parts(limit), stage)
    parts = job.cut_parts(limit)
    if not cache.store.holds(stage, parts):
        try:
            return cache.entry(stage, job.key_parts(), lambda folder: perform(cut, folder)), None
        except CutShortError as short:
            save = short.save
            cache = replace(cache, time_limit=None)
            return cache.entry(stage, parts, save), limit
    return cache.entry(stage, parts, lambda folder: performed_anyhow(perform, cut, folder)), limit


def is_trained(context: MakerContext, job: PruneJob) -> bool:
    """Whether the store has the network: trained wholly, or as this very time limit cut it short."""
    store, limit = context.cache.store, context.time_limit
    if store.holds(STAGE, with_opened(job, store).key_parts()):
        return True
    if limit is None:
        return False
    cut = with_opened(job, store, lambda known: known.cut_parts(limit))
    return store.holds(STAGE, cut.cut_parts(limit))


def performed_anyhow(
    perform: Callable[[Job, Path], dict[str, Any]], job: Job, folder: Path
) -> dict[str, Any]:
    """What the time limit allows, where a network that it cut short is stored, but damaged. Raises StageError."""
    try:
        return perform(job, folder)
    except CutShortError as short:
        return short.save(folder)


def train(context: MakerContext, job: PruneJob, folder: Path, title: str = TITLE) -> dict[str, Any]:
    """Prune in steps, fine-tune with the original as the teacher, save; elsewhere where an executor takes it there.

    Raises StageError, CutShortError.
    """
    store, samples = context.cache.store, context.splits.train
    assert samples is not None
    if context.executor is not None:
        stays = "a student is trained where the build runs" if job.student else why_it_stays(context)
        if not stays:
            with context.reporter.step(f"{title} on the cluster"):
                return train_elsewhere(context, context.executor, job, folder)
        context.reporter.say(f"training stays in this process: {stays}")
    module = context.model.load()
    student = None
    if job.student:
        assert context.student is not None
        student = Student(context.student.load(), context.student.name)
    own = job.train.loss is not None or job.train.step is not None
    if samples.labelled and not own and not fits(samples, module):
        context.reporter.say(
            "the labels fit no output: pruned networks learn from the original alone (see --loss)"
        )
    with context.reporter.step(title) as step:
        scratch = store.scratch(store.key("pruned", job.key_parts()))
        deadline = training_deadline(context.time_limit)
        return distil(
            module,
            context.source,
            samples,
            context.splits.validation,
            job,
            scratch,
            deadline,
            step,
            folder,
            context.teacher_outputs,
            student,
            None if context.teacher is None else context.teacher.load(),
            teachers_of(context.request, context.teachers),
        )
