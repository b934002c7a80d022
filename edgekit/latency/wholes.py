"""Whole networks that a table is corrected by: one network at random aligned widths, built as a build would."""

from __future__ import annotations

import random
from collections.abc import Iterator
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
    from edgekit.hardware import Target

__all__ = ["build_whole", "random_networks"]

SAMPLES = 4
"""Made-up ones for ranges: time does not hang on them."""


def random_networks(
    module: torch.nn.Module, example: Example, count: int, seed: int, *, multiple: int = 8
) -> Iterator[torch.nn.Module]:
    """`count` copies of `module` in which every group of channels has a random width of those that a build may give.

    Widths are multiples of `multiple`, as `compress.pruning` allows them; heads are as many as tables are measured for.
    Raises StageError when it cannot be pruned.
    """
    from edgekit.compress.pruning.plan import PrunePlan, PruneStep
    from edgekit.compress.pruning.propose import PruneConfig, apply_plan, prunable

    groups = prunable(module, example, PruneConfig(round_to=multiple))
    rng = random.Random(seed)
    for _ in range(count):
        widths = [
            rng.choice(head_counts(group.width) if group.unit == "head" else group.allowed)
            for group in groups
        ]
        # Which channels stay does not matter to time, and finding the best would prove every group anew.
        steps = [
            PruneStep(group.layer, group.width, tuple(range(width)))
            for group, width in zip(groups, widths, strict=True)
            if width < group.width
        ]
        yield apply_plan(module, example, PrunePlan(tuple(steps)))


def build_whole(
    onnx_path: Path,
    runtime: BackendName,
    precision: UnitPrecision,
    target: Target,
    features: frozenset[str],
    folder: Path,
) -> Artifact:
    """The artifact of a float network, by the runtime's own exporter, with made-up samples. `folder` is empty.

    Raises StageError when it cannot be made.
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
    recipe = Recipe("made-up", "INT8 on made-up samples", (runtime,), "minmax", samples=SAMPLES)
    quantized = precision == "int8"
    request = ExportRequest(
        variant,
        Candidate(folder.name, variant.id, runtime, precision, recipe.name if quantized else ""),
        target,
        features,
        folder,
        recipe if quantized else None,
        data if quantized else None,
    )
    return get_backend(runtime).export(request)
