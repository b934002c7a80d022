"""Whole networks that a table is corrected by: one network at random aligned widths, built as a build would."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgekit.latency.grid import head_counts
from edgekit.latency.unit import UnitPrecision
from edgekit.types import Artifact, BackendName, Candidate, Variant, VariantKind

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

    from edgekit.compress.base import Example
    from edgekit.compress.pruning.plan import PruneStep
    from edgekit.compress.pruning.propose import Prunable
    from edgekit.hardware import Target
    from edgekit.quantize import PrecisionTimes

__all__ = ["build_whole", "fewer_heads", "random_networks"]

DROPPED = 0.25

SAMPLES = 4
"""Made-up ones for ranges: time does not hang on them."""


def random_networks(
    module: torch.nn.Module,
    example: Example,
    count: int,
    seed: int,
    *,
    multiple: int = 8,
    droppable: Sequence[str] = (),
) -> Iterator[torch.nn.Module]:
    """`count` copies of `module` in which every group of channels has a random width of those that a build may give.

    Widths are multiples of `multiple`, as `compress.pruning` allows them; heads are as many as tables are measured for.
    Of `droppable`, residual blocks by their modules' names, each goes in one copy of four. Raises StageError when it
    cannot be pruned.
    """
    from edgekit.compress.pruning.plan import PrunePlan
    from edgekit.compress.pruning.propose import PruneConfig, apply_plan, prunable

    config = PruneConfig(round_to=multiple)
    known: dict[tuple[str, ...], tuple[Prunable, ...]] = {}
    rng = random.Random(seed)
    for _ in range(count):
        dropped = tuple(name for name in droppable if rng.random() < DROPPED)
        if dropped not in known:
            left = apply_plan(module, example, PrunePlan(dropped=dropped)) if dropped else module
            known[dropped] = prunable(left, example, config)
        widths = {
            group.layer: rng.choice(head_counts(group.width) if group.unit == "head" else group.allowed)
            for group in known[dropped]
        }
        yield apply_plan(module, example, PrunePlan(_steps(known[dropped], widths), dropped=dropped))


def fewer_heads(module: torch.nn.Module, example: Example, *, multiple: int = 8) -> Iterator[torch.nn.Module]:
    """`module` with each smaller number of heads that its attention may get, the same in all blocks.

    Units of attention with other heads are families of their own, hence a table needs them at their full widths.
    Nothing for a network that does not attend. Raises StageError when it cannot be pruned.
    """
    from edgekit.compress.pruning.plan import PrunePlan
    from edgekit.compress.pruning.propose import PruneConfig, apply_plan, prunable

    groups = [
        group for group in prunable(module, example, PruneConfig(round_to=multiple)) if group.unit == "head"
    ]
    counts = {count for group in groups for count in head_counts(group.width) if count < group.width}
    for heads in sorted(counts):
        widths = {group.layer: max(heads, min(group.allowed)) for group in groups if group.width > heads}
        yield apply_plan(module, example, PrunePlan(_steps(groups, widths)))


def _steps(groups: Sequence[Prunable], widths: Mapping[str, int]) -> tuple[PruneStep, ...]:
    """Which channels stay does not matter to time, and finding the best would prove every group anew."""
    from edgekit.compress.pruning.plan import PruneStep

    return tuple(
        PruneStep(group.layer, group.width, tuple(range(widths[group.layer])))
        for group in groups
        if widths.get(group.layer, group.width) < group.width
    )


def build_whole(
    onnx_path: Path,
    runtime: BackendName,
    precision: UnitPrecision,
    target: Target,
    features: frozenset[str],
    folder: Path,
    *,
    times: PrecisionTimes | None = None,
    float_time: float = 0.0,
) -> Artifact:
    """The artifact of a float network, by the runtime's own exporter, with made-up samples. `folder` is empty.

    With `times`, an INT8 one has layers in float that add about the share `float_time` to its time. Raises StageError
    when it cannot be made.
    """
    from edgekit.backends.base import ExportRequest
    from edgekit.backends.table import get_backend
    from edgekit.files import sha256_file
    from edgekit.graph import CalibrationData, onnx_cost, read_signature
    from edgekit.quantize import Recipe

    signature = read_signature(onnx_path)
    original: VariantKind = "original"
    variant = Variant(
        "original",
        original,
        None,
        "",
        str(onnx_path),
        sha256_file(onnx_path),
        signature,
        onnx_cost(onnx_path),
    )
    rng = np.random.default_rng(0)
    arrays: tuple[NDArray[np.generic], ...] = tuple(
        rng.standard_normal((SAMPLES, *(size or 1 for size in spec.shape[1:]))).astype(spec.dtype)
        for spec in signature.inputs
    )
    data = CalibrationData(lambda: iter([arrays]), SAMPLES, "made up")
    recipe = Recipe(
        "made-up",
        "INT8 on made-up samples",
        (runtime,),
        "minmax",
        samples=SAMPLES,
        keep_float=1.0 if float_time else 0.0,
        float_time=float_time,
    )
    quantized = precision == "int8"
    request = ExportRequest(
        variant,
        Candidate(folder.name, variant.id, runtime, precision, recipe.name if quantized else ""),
        target,
        features,
        folder,
        recipe if quantized else None,
        data if quantized else None,
        times=times,
    )
    return get_backend(runtime).export(request)
