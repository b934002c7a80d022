"""Ranges that a network's file carries, and the recipe that writes them down."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from edgekit.backends import get_backend
from edgekit.backends.base import ExportRequest
from edgekit.errors import StageError
from edgekit.graph import CalibrationData
from edgekit.graph.taps import load_graph
from edgekit.hardware import find_target
from edgekit.quantize import Range, find_recipe
from edgekit.quantize.placement import Placement
from edgekit.quantize.simulate import Scheme
from edgekit.quantize.trained import CHANNELS_KEY, KEY, trained_by_channel, trained_ranges, with_trained
from edgekit.testing.onnx_networks import as_variant
from edgekit.types import Candidate

RANGES = {"r1": Range(0.0, 2.55), "scores": Range(-1.0, 1.55)}


def planned(network: Path, data: CalibrationData, backend: str = "onnxruntime", recipe: str = "int8-trained"):  # type: ignore[no-untyped-def]
    candidate = Candidate("x", "original", backend, "int8", recipe)
    request = ExportRequest(
        as_variant(network), candidate, find_target("generic-cpu"), frozenset({"avx2"}), network.parent,
        find_recipe(recipe), data,
    )  # fmt: skip
    return get_backend(backend).plan(request)


def test_what_is_written_into_a_network_is_read_again(network: Path) -> None:
    new = np.zeros((8,), np.float32)
    written = with_trained(
        with_trained(load_graph(network), {}, {"r1": Range(0.0, 1.0)}), {"b1": new}, RANGES
    )
    assert trained_ranges(onnx.load_from_string(written.SerializeToString())) == RANGES
    assert np.array_equal(
        next(onnx.numpy_helper.to_array(t) for t in written.graph.initializer if t.name == "b1"), new
    )


def test_a_plan_takes_trained_ranges_and_observes_the_others(
    network: Path, data: CalibrationData, tmp_path: Path
) -> None:
    path = tmp_path / "trained.onnx"
    onnx.save(with_trained(load_graph(network), {}, RANGES), str(path))
    plan = planned(path, data)
    observed = planned(network, data, recipe="int8-minmax")
    assert plan.observer == "trained"
    assert plan.bias_correction == "none"
    assert {name: plan.ranges[name] for name in RANGES} == RANGES
    assert plan.ranges["r2"] == observed.ranges["r2"]


def test_a_network_without_trained_ranges_is_refused(network: Path, data: CalibrationData) -> None:
    with pytest.raises(StageError, match="the network holds no trained ranges"):
        planned(network, data)


def test_damaged_ranges_are_refused(network: Path) -> None:
    model = with_trained(load_graph(network), {}, RANGES)
    model.metadata_props[-1].value = '{"r1": [2.0, 1.0]}'
    assert model.metadata_props[-1].key == KEY
    with pytest.raises(StageError, match="trained ranges are damaged: a range needs finite low <= high"):
        trained_ranges(model)


def test_ranges_of_channels_are_written_and_read_beside_those_that_span_them(network: Path) -> None:
    channels = {"r1": (Range(0.0, 2.55), Range(-0.5, 0.25))}
    model = with_trained(load_graph(network), {}, RANGES, channels)
    assert trained_by_channel(model) == channels
    assert trained_ranges(model) == RANGES
    assert trained_by_channel(with_trained(model, {}, RANGES)) == {}
    next(entry for entry in model.metadata_props if entry.key == CHANNELS_KEY).value = '{"r1": [0.0, 1.0]}'
    with pytest.raises(StageError, match="trained ranges are damaged"):
        trained_by_channel(model)


def test_no_network_is_trained_for_tensorrt(network: Path, data: CalibrationData) -> None:
    pytest.importorskip("onnxsim")
    candidate = Candidate("x", "original", "tensorrt", "int8", "int8-trained")
    request = ExportRequest(
        as_variant(network), candidate, find_target("jetson-orin-nano"), frozenset(), network.parent,
        find_recipe("int8-trained"), data,
    )  # fmt: skip
    with pytest.raises(StageError, match='observer = "trained" is not for TensorRT'):
        get_backend("tensorrt").plan(request)


PLACED = Placement("onnxruntime", Scheme(), RANGES, (("r1", "scores"),), ("stem",))


def test_runtimes_have_the_same_rules_whatever_their_ranges_and_signs_are() -> None:
    other = replace(
        PLACED,
        backend="litert",
        integers=Scheme("int8"),
        ranges={"scores": Range(0.0, 1.0), "r1": Range(0.0, 1.0)},
    )
    assert other.rules == PLACED.rules
    assert other.digest != PLACED.digest


@pytest.mark.parametrize(
    "change",
    [
        {"integers": Scheme(weight_bits=7)},
        {"integers": Scheme(per_channel=False)},
        {"ranges": {"r1": Range(0.0, 2.55)}},
        {"shared": ()},
        {"layers": ("stem", "inner")},
        {"by_channel": {"r1": (Range(0.0, 2.55),) * 8}},
        {"clipped": ("r1",)},
    ],
)
def test_other_integers_are_other_rules(change: dict[str, object]) -> None:
    assert replace(PLACED, **change).rules != PLACED.rules  # type: ignore[arg-type]


def test_a_group_stands_once_and_the_others_alone() -> None:
    assert PLACED.groups() == (("r1", "scores"),)
    assert replace(PLACED, shared=()).groups() == (("r1",), ("scores",))
