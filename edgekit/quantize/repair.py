"""What a recipe does to the float network before anything is quantized: in closed form, on calibration samples.

The result is a float network again, so that each runtime gets it from the same file: scale moved between channels
(`rescale`), weights that lie on the integers chosen for them (`rounding`), channels scaled and shifted (`affine`). A
runtime that rounds such weights finds those integers, since the largest of each scale is one of them.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from edgekit.errors import StageError
from edgekit.graph.taps import load_graph
from edgekit.quantize.affine import repair_channels
from edgekit.quantize.bias import with_biases
from edgekit.quantize.measured import Memo, measure, remember_nothing, versions
from edgekit.quantize.rescale import Rescaled, rescaled
from edgekit.quantize.rounding import round_adaptively

if TYPE_CHECKING:
    import numpy as np
    import onnx
    from numpy.typing import NDArray

    from edgekit.graph.calibration import CalibrationData
    from edgekit.quantize.recipe import Recipe
    from edgekit.quantize.simulate import Scheme

__all__ = ["repaired_network", "told_repairs", "without_repairs"]

KEY = "edgekit.repairs"
"""Of the file's metadata; JSON: a sentence for each repair."""

RANGED = ("minmax", "percentile", "entropy", "mse")
"""Observers that measure ranges here, which a repair of channels needs."""


def repaired_network(
    network: Path,
    recipe: Recipe,
    integers: Scheme,
    data: CalibrationData,
    *,
    memo: Memo | None = None,
    threads: int = 1,
) -> bytes:
    """The ONNX file of the network as the recipe repairs it for these integers. Raises StageError."""
    from edgekit.files import sha256_file

    recall = memo or remember_nothing

    def make() -> bytes:
        content: bytes = _repaired(network, recipe, integers, data, recall, threads).SerializeToString(
            deterministic=True
        )
        return content

    parts = {
        "network": sha256_file(network),
        "equalize": recipe.equalize,
        "smooth": recipe.smooth,
        "rounding": recipe.rounding,
        "affine": recipe.affine,
        "per channel": recipe.granularity == "per-channel",
        "integers": integers if recipe.rounding != "nearest" or recipe.affine else None,
        "ranges": [recipe.observer, recipe.percentile, recipe.samples] if recipe.affine else None,
        "calibration": data.digest,
        "samples": data.samples,
        "threads": threads,
        "versions": versions(),
    }
    return recall("repair", parts, make)


def without_repairs(recipe: Recipe) -> Recipe:
    """The recipe for a network that was repaired already."""
    return msgspec.structs.replace(recipe, equalize=False, smooth=0.0, rounding="nearest", affine=False)


def told_repairs(network: Path) -> tuple[str, ...]:
    """What was done to the network in this file, in words; nothing for one that was not repaired."""
    import onnx

    model = onnx.load(str(network), load_external_data=False)
    written = next((entry.value for entry in model.metadata_props if entry.key == KEY), "[]")
    return msgspec.json.decode(written, type=tuple[str, ...])


def _repaired(
    network: Path, recipe: Recipe, integers: Scheme, data: CalibrationData, memo: Memo, threads: int
) -> onnx.ModelProto:
    """The steps one after the other: each sees the network that the one before left."""
    model = load_graph(network)
    told = []
    if recipe.equalize or recipe.smooth:
        moved = rescaled(
            model,
            data,
            equalize=recipe.equalize,
            smooth=recipe.smooth,
            per_channel=integers.per_channel,
            threads=threads,
        )
        model = moved.model
        told += _told_moves(recipe, moved)
    before = model
    if recipe.rounding == "adaptive":
        rounded = round_adaptively(model, data, integers, threads=threads)
        model = with_biases(_with_weights(model, rounded.weights), rounded.biases)
        told.append(
            f"{rounded.flipped:,} of {rounded.total:,} weights rounded to the other of their two integers (AdaRound's "
            "problem, by descent)"
        )
    if recipe.affine:
        if recipe.observer not in RANGED:
            raise StageError(
                "quantize",
                f'recipe "{recipe.name}": affine = true needs ranges, which observer = "{recipe.observer}" leaves open',
                f"use one of {', '.join(RANGED)}",
            )
        with tempfile.TemporaryDirectory(prefix="edgekit-") as folder:
            ranges = measure(_saved(before, Path(folder)), data, memo, threads).ranges(
                recipe, symmetric=integers.symmetric
            )
        model = repair_channels(before, model, data, ranges, integers, threads=threads)
        told.append("each channel of convolutions and linear layers scaled and shifted to where float is")
    kept = [entry for entry in model.metadata_props if entry.key != KEY]
    del model.metadata_props[:]
    model.metadata_props.extend(kept)
    model.metadata_props.add(key=KEY, value=msgspec.json.encode(told).decode())
    return model


def _told_moves(recipe: Recipe, moved: Rescaled) -> list[str]:
    """What was moved, in sentences, and at which layers nothing could be, with the commonest reason."""
    told = []
    if recipe.equalize:
        kept = Counter(moved.left.values()).most_common(1)
        why = f"; not behind {_counted(len(moved.left), 'layer')}, e.g. since {kept[0][0]}" if kept else ""
        told.append(f"channels equalized across layers at {_counted(moved.equalized, 'tensor')}{why}")
    if recipe.smooth and (moved.smoothed or not recipe.equalize):
        told.append(f"channels smoothed behind normalizations at {_counted(moved.smoothed, 'tensor')}")
    return told


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def _saved(model: onnx.ModelProto, folder: Path) -> Path:
    import onnx

    path = folder / "before.onnx"
    onnx.save(model, str(path))
    return path


def _with_weights(model: onnx.ModelProto, weights: Mapping[str, NDArray[np.float32]]) -> onnx.ModelProto:
    """A copy with these initializers (name → values of the same shape)."""
    import onnx
    from onnx import numpy_helper

    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for tensor in copy.graph.initializer:
        if tensor.name in weights:
            tensor.CopyFrom(numpy_helper.from_array(weights[tensor.name], tensor.name))
    return copy
