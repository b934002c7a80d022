"""A network as commands take it: what its inputs look like, and its float ONNX file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.cli.options import read_preprocess
from edgekit.errors import DataError, ModelError, UserError
from edgekit.types import InputShape, Signature

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

    from edgekit.model import ModelRef

    Arrays = tuple[NDArray[np.generic], ...]

__all__ = ["example_inputs", "feeds_for", "first_sample", "float_onnx", "located"]


def located(model: str, options: Mapping[str, Any]) -> ModelRef:
    """The model with what `weights_options` said of its weights. Raises ModelError."""
    from edgekit.model import WeightsPart, locate

    return locate(model, options["weights"], WeightsPart(options["weights_prefix"], options["weights_key"]))


def first_sample(options: Mapping[str, Any], scratch: Path) -> Arrays | None:
    """The first sample of --data as arrays [1, ...], or nothing."""
    if options["data"] is None:
        return None
    import numpy as np

    from edgekit.data import open_source

    source = open_source(options["data"], read_preprocess(options), scratch / "cache")
    return source.take(np.zeros(1, np.int64)).inputs


def example_inputs(
    sample: Arrays | None, shapes: Sequence[InputShape], module: torch.nn.Module | None
) -> Arrays:
    """The sample, or zeros of the shapes of --input-shape, for a module, or for a program in a file (None).

    Raises UserError without either, and where they differ.
    """
    import numpy as np

    from edgekit.graph.sizes import shapes_by_name
    from edgekit.model import check_example, names_of_inputs
    from edgekit.types import TensorSpec

    names = names_of_inputs(module, len(sample or shapes))
    if sample:
        check_example(shapes, sample, names)
        return sample
    if not shapes:
        raise UserError(
            "a torch model does not say the shape of its inputs",
            remedy="give --data or --input-shape 1x3x32x32",
        )
    chosen = shapes_by_name(shapes, [TensorSpec(name, "float32", ()) for name in names])
    return tuple(np.zeros(chosen[name], np.float32) for name in names)


def float_onnx(model: str, options: Mapping[str, Any], path: Path, sample: Arrays | None) -> Signature:
    """Write the network to `path` (network.onnx in a folder of its own) in float, for one sample, as a build does.

    `options`: those of the weights, input_shapes. What comes from a file is read by a worker.

    Raises ModelError for what cannot be read or exported, and what `example_inputs` raises.
    """
    from edgekit.building.executor import DEFAULT_EXECUTOR, make_executor
    from edgekit.building.reading import read_network, read_weights
    from edgekit.model import export_onnx, load_module

    reference, shapes = located(model, options), options["input_shapes"]
    with closing(make_executor(DEFAULT_EXECUTOR)) as executor:
        if reference.kind == "onnx" or reference.kind == "pt2":
            example = () if reference.kind == "onnx" else example_inputs(sample, shapes, None)
            source = Path(reference.source)
            return read_network(
                executor, reference.kind, source, reference.digest, example, path.parent, tuple(shapes)
            )
        if reference.weights is not None:
            read_weights(executor, reference.weights)
    module = load_module(reference)
    return export_onnx(module, example_inputs(sample, shapes, module), path)


def feeds_for(
    signature: Signature, sample: Arrays | None, shapes: Sequence[InputShape]
) -> dict[str, NDArray[np.generic]]:
    """Input name → the sample, or random numbers; open sizes are those of --input-shape, else 1.

    Raises DataError where the sample is no input of this network, ModelError where the shapes are none.
    """
    from dataclasses import asdict, replace

    from edgekit.board.session import random_feeds
    from edgekit.data import check_values
    from edgekit.graph.sizes import shapes_by_name

    given = shapes_by_name(shapes, signature.inputs)
    specs = [replace(spec, shape=given.get(spec.name, spec.shape)) for spec in signature.inputs]
    for spec in specs:
        if not spec.shape:
            raise ModelError(
                f"the file does not tell the shape of input {spec.name!r}",
                remedy=f"give it, as --input-shape {spec.name}=1x3x224x224",
            )
    if sample is None:
        random: dict[str, NDArray[np.generic]] = random_feeds({"inputs": [asdict(spec) for spec in specs]}, 0)
        return random
    if len(sample) != len(specs):
        raise DataError(f"the data gives {len(sample)} inputs, the network takes {len(specs)}")
    feeds = {}
    for spec, array in zip(specs, sample, strict=True):
        wanted = [dim or "any" for dim in spec.shape]
        same = len(array.shape) == len(spec.shape)
        if not same or any(d is not None and d != a for d, a in zip(spec.shape, array.shape, strict=True)):
            raise DataError(f"a sample is {list(array.shape)}, input {spec.name} takes {wanted}")
        check_values(array, spec, "a sample of the data")
        feeds[spec.name] = array
    return feeds
