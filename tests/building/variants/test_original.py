"""The user's network as a variant: made once for what it depends on, whatever it is called."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from edgekit.building.executor import InProcessExecutor
from edgekit.building.variants import original
from edgekit.building.variants.original import ORIGINAL, example_inputs, make_variant, original_variant
from edgekit.progress import SilentReporter
from edgekit.testing.onnx_networks import as_variant, residual_network
from edgekit.types import Signature
from tests.building.parts import count_entries, digit_splits, opened_cache
from tests.building.variants.contexts import given_model


def test_a_torch_network_becomes_onnx_with_its_cost(tmp_path: Path) -> None:
    splits, model = digit_splits(), given_model()
    with opened_cache(tmp_path) as cache:
        variant = original_variant(
            cache, InProcessExecutor(), SilentReporter(), model, splits.validation.source, splits
        )
    assert (variant.id, variant.kind, variant.parent, variant.description) == (
        "original",
        "original",
        None,
        "TinyConvNet",
    )
    assert variant.signature.inputs[0].shape == (1, 1, 8, 8)
    assert variant.cost.macs > 0
    assert example_inputs(splits.validation.source)[0].shape == (1, 1, 8, 8)


def writer(folder: Path) -> Callable[[Path], Signature]:
    network = residual_network(folder / "net.onnx")

    def write(path: Path) -> Signature:
        path.write_bytes(network.read_bytes())
        return as_variant(network).signature

    return write


def test_parts_and_exporters_are_in_a_network_s_key_and_names_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = writer(tmp_path)
    with opened_cache(tmp_path / "store") as cache:
        first = make_variant(cache, "a", "original", None, "as given", {"model": "1"}, write)
        named = make_variant(cache, "b", "pruned", ORIGINAL, "another name", {"model": "1"}, write)
        assert count_entries(cache) == 1
        assert (named.id, named.kind, named.parent) == ("b", "pruned", ORIGINAL)
        assert (named.digest, named.cost) == (first.digest, first.cost)
        make_variant(cache, "a", "original", None, "", {"model": "2"}, write)
        assert count_entries(cache) == 2
        for package in ("torch", "onnx", "onnxscript", "onnxsim"):
            others = {**original.exporter_versions(), package: "0"}
            monkeypatch.setattr(original, "exporter_versions", lambda others=others: others)
            make_variant(cache, "a", "original", None, "", {"model": "1"}, write)
            monkeypatch.undo()
        assert count_entries(cache) == 6
