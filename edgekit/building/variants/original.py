"""Float networks as variants: exported to ONNX once, with signature and cost."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from edgekit.building.cache import Cache
from edgekit.building.executor import Executor
from edgekit.building.given import GivenModel
from edgekit.building.reading import read_network
from edgekit.data import ATTENTION_MASK, DataSource, Splits, check_data, check_tokens, most_different
from edgekit.errors import DataError
from edgekit.files import sha256_file
from edgekit.graph import onnx_cost, read_signature
from edgekit.graph.sizes import sizes_told
from edgekit.graph.tokens import vocabularies
from edgekit.model import check_example, export_onnx, names_of_inputs
from edgekit.model.tokens import forward_names, torch_vocabularies
from edgekit.progress import Reporter
from edgekit.types import InputShape, Signature, Variant, VariantKind

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["ORIGINAL", "example_inputs", "make_variant", "original_variant"]

ORIGINAL = "original"


def example_inputs(source: DataSource) -> tuple[NDArray[np.generic], ...]:
    """One preprocessed sample per network input, batch 1."""
    return source.take(np.zeros(1, np.int64)).inputs


def original_variant(
    cache: Cache,
    executor: Executor,
    reporter: Reporter,
    model: GivenModel,
    source: DataSource,
    splits: Splits,
    given: Sequence[InputShape] = (),
    metric: str | None = None,
) -> Variant:
    """The user's network as ONNX, batch 1. `given`: shapes of its inputs, for sizes that an ONNX file leaves open.

    A file (.onnx, .pt2) is read and exported by a worker; what a function or a live module of the user's gives, here.
    What torch wrote is compared with torch on samples of the whole source, those that differ most among them. Raises
    UserError when it or its data cannot be used.
    """
    example = example_inputs(source)
    is_onnx = model.ref.kind == "onnx"
    if not is_onnx and given:
        module = None if model.ref.kind == "pt2" else model.load()
        check_example(given, example, names_of_inputs(module, len(example)))
    if model.ref.kind in ("factory", "module"):
        refuse_bad_tokens(model, source)

    def write(path: Path) -> Signature:
        ref = model.ref
        samples = () if is_onnx else source.take(most_different(source)).inputs
        if ref.kind == "onnx" or ref.kind == "pt2":
            return read_network(
                executor, ref.kind, Path(ref.source), ref.digest, samples, path.parent, tuple(given)
            )
        return export_onnx(model.load(), samples, path)

    shapes = [[str(array.dtype), *array.shape] for array in example]
    parts: dict[str, Any] = {
        "model": model.ref.digest,
        "example": shapes,
        "given": [shape.text() for shape in given],
    }
    if not is_onnx:  # an export that is right for one set of samples may not be for another
        parts["compared on"] = source.digest
    with reporter.step("Reading the network"):
        variant = make_variant(cache, ORIGINAL, "original", None, model.name, parts, write)
    if is_onnx:
        for line in sizes_told(read_signature(model.ref.source), variant.signature):
            reporter.say(line)
    check_data(source, splits, variant.signature, metric)
    ports = variant.signature.inputs
    floats = [port.name for port in ports if port.dtype.startswith("float")]
    check_tokens(source, [port.name for port in ports], vocabularies(variant.onnx_path), floats)
    return variant


def refuse_bad_tokens(model: GivenModel, source: DataSource) -> None:
    """Ids that the network has no row for, and a mask that the data lacks: told before it is run on samples.

    Raises DataError.
    """
    example = example_inputs(source)
    if all(array.ndim > 2 for array in example):  # ids are [N, T], or [N]
        return
    module = model.load()
    names, needed = forward_names(module)
    picked = torch_vocabularies(module, example, names)
    masked = names.index(ATTENTION_MASK) + 1 if picked and ATTENTION_MASK in names else 0
    lacking = names[len(example) : max(needed, masked)]
    if lacking:
        inputs = "one input" if len(example) == 1 else f"{len(example)} inputs"
        raise DataError(
            f"{source.name} has {inputs} per sample, and the network takes {', '.join(lacking)} as well",
            allowed=f"({', '.join(names[: len(example) + len(lacking)])}), as forward() has them",
            remedy="give a tuple of inputs per sample; a mask holds 1 where a token is, 0 where none is",
        )
    check_tokens(source, names, picked)


def make_variant(
    cache: Cache,
    identity: str,
    kind: VariantKind,
    parent: str | None,
    description: str,
    parts: Mapping[str, Any],
    write: Callable[[Path], Signature],
) -> Variant:
    """A variant whose ONNX file `write` makes, cached by `parts` and the exporter's versions.

    The other arguments are names: they are given to the variant, not written into the file.
    """

    def make(folder: Path) -> Mapping[str, Any]:
        path = folder / "network.onnx"
        signature = write(path)
        variant = Variant(
            id="",
            kind="original",
            parent=None,
            description="",
            onnx_path="",
            digest=sha256_file(path),
            signature=signature,
            cost=onnx_cost(path),
        )
        meta: Mapping[str, Any] = msgspec.to_builtins(variant)
        return meta

    entry = cache.entry("network", {**parts, "versions": exporter_versions()}, make)
    stored = msgspec.convert(entry.meta, Variant)
    path = str(entry.path / "network.onnx")
    return replace(stored, id=identity, kind=kind, parent=parent, description=description, onnx_path=path)


def exporter_versions() -> dict[str, str]:
    """Versions of what turns networks into ONNX; read without importing anything."""
    versions = {}
    for package in ("torch", "onnx", "onnxscript", "onnxsim"):
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = ""
    return versions
