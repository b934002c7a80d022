"""The user's network as a variant: made once for what it depends on, whatever it is called."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

from edgekit.building.executor import InProcessExecutor
from edgekit.building.given import GivenModel
from edgekit.building.variants import original
from edgekit.building.variants.original import ORIGINAL, example_inputs, make_variant, original_variant
from edgekit.data import from_arrays, make_splits
from edgekit.errors import DataError, ModelError
from edgekit.model import locate, locate_module
from edgekit.progress import SilentReporter
from edgekit.testing.onnx_networks import as_variant, residual_network
from edgekit.types import InputShape, Signature
from tests.backends.graphs import graph, node, weights
from tests.building.parts import count_entries, digit_splits, opened_cache
from tests.building.variants.contexts import given_model
from tests.model.test_fidelity import UntilTheEnd


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


def test_a_network_is_compared_with_torch_on_samples_of_the_whole_source(tmp_path: Path) -> None:
    """Only the last of 70 sentences is shorter: the network is right for all others."""
    ids = np.random.default_rng(0).integers(1, 9, (70, 6))
    ids[-1, 4:] = 0
    model = GivenModel(locate_module(UntilTheEnd().eval()), UntilTheEnd().eval(), "UntilTheEnd")
    with opened_cache(tmp_path) as cache:
        source = from_arrays(ids, None)
        splits = make_splits(source, seed=0, calibration_samples=16)
        with pytest.raises(ModelError, match="1 of 64 samples"):
            original_variant(cache, InProcessExecutor(), SilentReporter(), model, source, splits)


def test_other_samples_are_compared_anew(tmp_path: Path) -> None:
    model = given_model()
    with opened_cache(tmp_path) as cache:
        for source in (digit_splits().validation.source, digit_splits(200).validation.source):
            splits = make_splits(source, seed=0, calibration_samples=16)
            original_variant(cache, InProcessExecutor(), SilentReporter(), model, source, splits)
        assert count_entries(cache) == 2


class Telling(SilentReporter):
    """Keeps what it was told."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        self.lines.append(text)


def open_network(folder: Path) -> GivenModel:
    """[n, 1, h, w] → ten class scores."""
    nodes = [
        node("Conv", ["x", "w"], ["a"]),
        node("GlobalAveragePool", ["a"], ["b"]),
        node("Flatten", ["b"], ["y"]),
    ]
    model = graph(nodes, {"w": weights(10, 1, 3, 3)}, shape=("n", 1, "h", "w"))
    onnx.save(model, str(folder / "net.onnx"))
    return GivenModel(locate(folder / "net.onnx"), None, "net.onnx")


def test_given_shapes_fill_open_sizes_are_told_and_are_in_the_key(tmp_path: Path) -> None:
    splits, model, reporter = digit_splits(), open_network(tmp_path), Telling()
    source = splits.validation.source
    with opened_cache(tmp_path / "store") as cache:
        eight = original_variant(
            cache, InProcessExecutor(), reporter, model, source, splits, [InputShape("x", (1, 1, 8, 8))]
        )
        assert eight.signature.inputs[0].shape == (1, 1, 8, 8)
        assert "dimension 2 of input x is dynamic; it becomes 8" in reporter.lines
        with pytest.raises(DataError, match=r"samples become \[1, 8, 8\], the network takes \[1, 16, 16\]"):
            original_variant(
                cache, InProcessExecutor(), reporter, model, source, splits, [InputShape("", (1, 1, 16, 16))]
            )
        assert count_entries(cache) == 2
        with pytest.raises(ModelError, match="give its size: --input-shape x=1x1xHxW"):
            original_variant(cache, InProcessExecutor(), reporter, model, source, splits)


def test_a_torch_network_takes_the_shape_of_its_samples(tmp_path: Path) -> None:
    splits, model = digit_splits(), given_model()
    source = splits.validation.source
    with opened_cache(tmp_path) as cache:
        same = [InputShape("input", (1, 1, 8, 8))]
        assert (
            original_variant(
                cache, InProcessExecutor(), SilentReporter(), model, source, splits, same
            ).cost.macs
            > 0
        )
        with pytest.raises(ModelError, match=r"--input-shape input=1x1x9x9, but a sample of the data is"):
            original_variant(
                cache,
                InProcessExecutor(),
                SilentReporter(),
                model,
                source,
                splits,
                [InputShape("", (1, 1, 9, 9))],
            )
