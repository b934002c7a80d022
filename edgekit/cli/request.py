"""The options of `edgekit build` as a request."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from edgekit.cli.options import read_preprocess, read_words
from edgekit.errors import UserError
from edgekit.precisions import OFFERED
from edgekit.quantities import (
    parse_energy_mj,
    parse_fraction,
    parse_latency_ms,
    parse_seconds,
    parse_size_bytes,
    read_confidence,
    read_drop,
)
from edgekit.types import Budget

if TYPE_CHECKING:
    from edgekit.building.request import BuildRequest

__all__ = ["read_request"]


def read_request(options: Mapping[str, Any], given: Sequence[str]) -> BuildRequest:
    """What is to be built; `given`: the command line, without the program's name. Raises UserError."""
    from edgekit.building.methods import with_methods
    from edgekit.building.pipeline import read_pipeline, with_pipeline
    from edgekit.building.request import (
        BuildRequest,
        TrainOptions,
        read_blocks,
        read_features,
        read_low_rank,
        read_sparsity,
        read_teachers,
    )

    limit = options["max_latency"]
    budget = Budget(
        max_latency_ms=None if limit == "auto" else parse_latency_ms(limit),
        fastest=limit == "auto",
        percentile=options["percentile"],
        max_drop=read_drop(options["max_drop"], options["metric"]),
        confidence=read_confidence(options["confidence"]),
        max_size_bytes=parse_size_bytes(options["max_size"]) if options["max_size"] else None,
        max_energy_mj=parse_energy_mj(options["max_energy"]) if options["max_energy"] else None,
        max_memory_bytes=parse_size_bytes(options["max_memory"]) if options["max_memory"] else None,
    )
    train = TrainOptions(
        epochs=options["epochs"],
        optimizer=options["optimizer"],
        learning_rate=options["learning_rate"],
        temperature=options["temperature"],
        alpha=options["alpha"],
        importance=options["importance"],
        step_ratio=parse_fraction(options["prune_step"]),
        device=options["train_on"],
        loss=options["loss"],
        step=options["train_step"],
        qat_epochs=options["qat_epochs"],
        saliency=options["saliency"],
        rewind=options["rewind"],
        outputs=options["outputs"],
    )
    request = BuildRequest(
        target=options["target"],
        model=options["model"],
        weights=options["weights"],
        weights_prefix=options["weights_prefix"],
        weights_key=options["weights_key"],
        data=options["data"],
        budget=budget,
        preprocess=read_preprocess(options),
        threads=options["threads"],
        recipe=options["recipe"],
        precisions=read_precisions(options["precision"]),
        backends=read_runtimes(options["runtime"]),
        prune=not options["no_prune"],
        drop=read_blocks(options["drop"]),
        merge=read_blocks(options["merge"], "merge"),
        latency_table=options["latency_table"],
        low_rank=read_low_rank(options["low_rank"]),
        sparsity=read_sparsity(options["sparsity"]),
        student=options["student"],
        student_weights=options["student_weights"],
        student_features=read_features(options["student_features"]),
        student_relations=read_features(options["student_relations"], "student_relations"),
        student_attention=read_features(options["student_attention"], "student_attention"),
        student_channels=read_features(options["student_channels"], "student_channels"),
        teachers=read_teachers(options["teachers"] or None),
        qat=options["qat"],
        train=train,
        metric=options["metric"],
        calibration_samples=options["calibration_samples"],
        seed=options["seed"],
        time_limit_s=parse_seconds(options["time_limit"]) if options["time_limit"] else None,
        out=options["out"],
        store=options["store"],
        classes=options["classes"],
        timed_s=parse_seconds(options["timed"]),
        repeat=not options["no_repeat"],
        strict=options["strict"],
        meter=read_words("--meter", options["meter"]),
        allow_weak_original=options["allow_weak_original"],
        input_shapes=options["input_shapes"],
        device=options["device"],
        executor=options["executor"],
        command=shlex.join(["edgekit", *given]),
    )
    stages = read_pipeline(options["pipeline"])
    return with_methods(with_pipeline(request, stages, options["compress"]), options["compress"])


def read_precisions(text: str | None) -> Any:
    """`int8,fp16` → ("int8", "fp16"). Raises UserError for a name that is not a precision."""
    if text is None:
        return None
    names = tuple(name.strip().lower() for name in text.split(","))
    for name in names:
        if name not in OFFERED:
            raise UserError(f"--precision {text}: {name!r} is not a precision", allowed=", ".join(OFFERED))
    return names


def read_runtimes(text: str | None) -> Any:
    """`litert,onnxruntime` → ("litert", "onnxruntime"); whether there are such is found by the request's check."""
    return None if text is None else tuple(name.strip().lower() for name in text.split(","))
