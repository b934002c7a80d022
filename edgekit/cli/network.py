"""A network as commands take it: what its inputs look like, and its float ONNX file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.cli.options import read_preprocess
from edgekit.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from edgekit.model import ModelRef
    from edgekit.types import Signature

    Arrays = tuple[NDArray[np.generic], ...]

__all__ = ["example_inputs", "exported", "first_sample", "float_onnx"]


def first_sample(options: Mapping[str, Any], scratch: Path) -> Arrays | None:
    """The first sample of --data as arrays [1, ...], or nothing."""
    if options["data"] is None:
        return None
    import numpy as np

    from edgekit.data import open_source

    source = open_source(options["data"], read_preprocess(options), scratch / "cache")
    return source.take(np.zeros(1, np.int64)).inputs


def example_inputs(sample: Arrays | None, shapes: Sequence[str]) -> Arrays:
    """The sample, or zeros of the shapes of --input-shape. Raises UserError without either, or on what is no shape."""
    if sample:
        return sample
    import numpy as np

    made = []
    for text in shapes:
        parts = text.split(",")
        if not all(part.strip().isdecimal() and int(part) > 0 for part in parts):
            raise UserError(
                f"--input-shape {text!r}", allowed="whole numbers above 0 with commas, as 1,3,32,32"
            )
        made.append(np.zeros([1, *(int(part) for part in parts[1:])], np.float32))
    if not made:
        raise UserError(
            "a torch model does not say the shape of its inputs",
            remedy="give --data or --input-shape 1,3,32,32",
        )
    return tuple(made)


def float_onnx(model: str, options: Mapping[str, Any], scratch: Path) -> Path:
    """An ONNX file as it is, or another model exported by --weights, --data and --input-shape.

    Raises ModelError for what cannot be read or exported, and what `example_inputs` raises.
    """
    from edgekit.graph.proto import read_model
    from edgekit.model import locate

    reference = locate(model, options["weights"])
    if reference.kind == "onnx":
        read_model(Path(reference.source), external=False)
        return Path(reference.source)
    exported(reference, example_inputs(first_sample(options, scratch), options["shapes"]), scratch)
    return scratch / "network.onnx"


def exported(reference: ModelRef, example: Arrays, scratch: Path) -> Signature:
    """A model as `scratch`/network.onnx, batch 1; what comes from a file is read by a worker. Raises ModelError."""
    from edgekit.building.executor import DEFAULT_EXECUTOR, make_executor
    from edgekit.building.reading import read_network, read_weights
    from edgekit.model import export_onnx, load_module

    with closing(make_executor(DEFAULT_EXECUTOR)) as executor:
        if reference.kind == "onnx" or reference.kind == "pt2":
            path = Path(reference.source)
            return read_network(executor, reference.kind, path, reference.digest, example, scratch)
        if reference.weights is not None:
            read_weights(executor, reference.weights)
    return export_onnx(load_module(reference), example, scratch / "network.onnx")
