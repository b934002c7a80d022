from __future__ import annotations

import subprocess
import sys
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgekit.errors import StageError
from edgekit.graph import CalibrationData
from edgekit.graph.taps import load_graph, open_taps
from edgekit.quantize import OBSERVERS, collect_ranges
from edgekit.testing.onnx_networks import INPUT, OUTPUT, residual_network, samples


def reference(network: Path, name: str, inputs: np.ndarray) -> np.ndarray:
    """A tensor of the float network, by ONNX's own evaluator, sample by sample."""
    import onnx
    from onnx.reference import ReferenceEvaluator

    model = onnx.load(str(network))
    model.graph.output.append(onnx.ValueInfoProto(name=name))
    evaluator = ReferenceEvaluator(model)
    return np.concatenate([evaluator.run([name], {INPUT: sample[None]})[0] for sample in inputs])


@pytest.mark.parametrize("name", [INPUT, "r1", "c3", "r3", OUTPUT])
def test_minmax_finds_the_true_ends_of_each_tensor(network: Path, data: CalibrationData, name: str) -> None:
    inputs = np.concatenate([batch for (batch,) in data.batches()])
    values = inputs if name == INPUT else reference(network, name, inputs)
    found = collect_ranges(network, data)[name]
    assert (found.low, found.high) == pytest.approx((values.min(), values.max()), rel=1e-4, abs=1e-5)


def test_outputs_that_only_feed_a_relu_are_left_out(network: Path, data: CalibrationData) -> None:
    names = set(collect_ranges(network, data))
    assert {"c1", "c2"}.isdisjoint(names)
    assert {INPUT, "r1", "r2", "c3", "p1", "a1", "r3", "m1", OUTPUT} <= names


@pytest.mark.parametrize("kind", list(OBSERVERS))
def test_every_observer_stays_within_min_and_max(network: Path, data: CalibrationData, kind: str) -> None:
    full, kept = collect_ranges(network, data), collect_ranges(network, data, kind)
    assert all(full[name].low <= kept[name].low <= kept[name].high <= full[name].high for name in full)


def test_only_the_asked_number_of_samples_is_used(network: Path) -> None:
    taken: list[int] = []

    def batches():  # type: ignore[no-untyped-def]
        for seed in range(10):
            taken.append(seed)
            yield (samples(10, seed),)

    collect_ranges(network, CalibrationData(batches, 100, ""), samples=25)
    assert taken == [0, 1, 2]


def test_samples_run_in_batches_where_the_network_allows_it(network: Path) -> None:
    assert open_taps(load_graph(network), [OUTPUT, "r1"]).batch > 1


def test_a_tensor_is_let_go_before_the_next_is_looked_at(network: Path, data: CalibrationData) -> None:
    seen: list[weakref.ref[NDArray[Any]]] = []

    def look(name: str, array: NDArray[Any]) -> None:
        assert [each() for each in seen if each() is not None] == []
        seen.append(weakref.ref(array))

    taps = open_taps(load_graph(network), [OUTPUT, "r1"])
    taps.visit(data, look)
    assert len(seen) >= 4


def test_a_network_tied_to_batch_one_still_gives_its_ranges(tmp_path: Path, data: CalibrationData) -> None:
    import onnx
    from onnx import helper, numpy_helper

    path = residual_network(tmp_path / "tied.onnx")
    model = onnx.load(str(path))
    # The batch goes into the channels: two samples at once would be mixed.
    model.graph.initializer.append(numpy_helper.from_array(np.array([1, -1], np.int64), "flat"))
    model.graph.node.append(helper.make_node("Reshape", ["r1", "flat"], ["all"], name="all"))
    model.graph.node.append(helper.make_node("ReduceSum", ["all"], ["total"], name="total", keepdims=0))
    model.graph.output.append(helper.make_tensor_value_info("total", onnx.TensorProto.FLOAT, []))
    onnx.save(model, str(path))
    assert open_taps(load_graph(path), [OUTPUT, "total"]).batch == 1
    assert collect_ranges(path, data, tensors=["r1"]) == collect_ranges(path, data, tensors=["r1"])


def test_a_dead_layer_has_a_range_without_width(tmp_path: Path, data: CalibrationData) -> None:
    found = collect_ranges(residual_network(tmp_path / "dead.onnx", dead=True), data)["r1"]
    assert (found.low, found.high) == (0.0, 0.0)


def test_nan_in_a_tensor_is_told_with_its_name(network: Path) -> None:
    broken = np.full((2, 3, 8, 8), np.nan, np.float32)
    with pytest.raises(StageError, match=INPUT):
        collect_ranges(network, CalibrationData(lambda: iter([(broken,)]), 2, ""))


def test_a_file_that_is_not_onnx_is_a_stage_error(tmp_path: Path, data: CalibrationData) -> None:
    path = tmp_path / "text.onnx"
    path.write_text("hello")
    with pytest.raises(StageError, match="cannot be read"):
        collect_ranges(path, data)


PEAK = """
import re, sys
from pathlib import Path
from edgekit.quantize import (collect_ranges)
from edgekit.graph import (CalibrationData)
from edgekit.testing.onnx_networks import samples
count = int(sys.argv[2])
data = CalibrationData(lambda: ((samples(50, seed),) for seed in range(count // 50)), count, "")
collect_ranges(sys.argv[1], data, "mse")
print(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text()).group(1))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_peak_memory_does_not_grow_with_the_number_of_samples(network: Path) -> None:
    few, many = (
        int(
            subprocess.run(
                [sys.executable, "-c", PEAK, str(network), count], check=True, capture_output=True
            ).stdout
        )
        for count in ("500", "8000")
    )
    assert many <= 1.1 * few
