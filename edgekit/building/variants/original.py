"""Float networks as variants: exported to ONNX once, with signature and cost."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from edgekit.building.context import Workshop
from edgekit.data import check_data
from edgekit.files import sha256_file
from edgekit.graph import onnx_cost
from edgekit.model import export_onnx, import_onnx, load_module
from edgekit.types import Signature, Variant, VariantKind

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

__all__ = ["example_inputs", "exporter_versions", "load_original", "make_variant", "original_variant"]

ORIGINAL = "original"


def example_inputs(shop: Workshop) -> tuple[NDArray[np.generic], ...]:
    """One preprocessed sample per network input, batch 1."""
    return shop.setting.source.take(np.zeros(1, np.int64)).inputs


def load_original(shop: Workshop) -> torch.nn.Module:
    """The network as the user gave it, in eval mode."""
    model = shop.setting.request.model
    if isinstance(model, (str, Path)):
        return load_module(shop.setting.model)
    return model.eval()


def original_variant(shop: Workshop) -> Variant:
    """The user's network as ONNX, batch 1. Raises UserError when it or its data cannot be used."""
    setting = shop.setting
    source = Path(setting.model.source)

    def write(path: Path) -> Signature:
        if setting.model.kind == "onnx":
            return import_onnx(source, path)
        return export_onnx(load_original(shop), example_inputs(shop), path)

    shapes = [[str(array.dtype), *array.shape] for array in example_inputs(shop)]
    parts = {"model": setting.model.digest, "example": shapes}
    with shop.reporter.step("Reading the network"):
        variant = make_variant(
            shop, ORIGINAL, "original", None, setting.request.describe_model(), parts, write
        )
    check_data(setting.source, setting.splits, variant.signature)
    return variant


def make_variant(
    shop: Workshop,
    identity: str,
    kind: VariantKind,
    parent: str | None,
    description: str,
    parts: Mapping[str, Any],
    write: Callable[[Path], Signature],
) -> Variant:
    """A variant whose ONNX file `write` makes, cached by `parts`."""

    def make(folder: Path) -> Mapping[str, Any]:
        path = folder / "network.onnx"
        signature = write(path)
        variant = Variant(
            id="",
            kind=kind,
            parent=None,
            description="",
            onnx_path="",
            digest=sha256_file(path),
            signature=signature,
            cost=onnx_cost(path),
        )
        meta: Mapping[str, Any] = msgspec.to_builtins(variant)
        return meta

    entry = shop.cached("network", {**parts, "versions": exporter_versions()}, make)
    found = msgspec.convert(entry.meta, Variant)
    path = str(entry.path / "network.onnx")
    return replace(found, id=identity, parent=parent, description=description, onnx_path=path)


def exporter_versions() -> dict[str, str]:
    """Versions of what turns networks into ONNX; read without importing anything."""
    versions = {}
    for package in ("torch", "onnx", "onnxsim"):
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = ""
    return versions
