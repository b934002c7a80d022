"""What rounding each part of a network adds at its outputs."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgekit.graph import CalibrationData
from edgekit.graph.taps import load_graph
from edgekit.quantize import Scheme, collect_ranges
from edgekit.quantize.sensitivity import rounding_noise
from edgekit.testing.onnx_networks import residual_network, samples

pytest.importorskip("onnxruntime")


def test_parts_are_rounded_one_by_one(tmp_path: Path) -> None:
    path = residual_network(tmp_path / "net.onnx")
    data = CalibrationData(lambda: iter([(samples(16),)]), 16, "made up")
    ranges = collect_ranges(path, data)
    tensors = tuple(ranges)
    told = rounding_noise(path, data, ranges, (*tensors, "not there"))
    assert set(told.tensors) == set(tensors)
    assert len(told.weights) == sum(node.op_type in ("Conv", "Gemm") for node in load_graph(path).graph.node)
    assert all(0 < energy < 0.1 for energy in (*told.weights.values(), *told.tensors.values()))
    coarse = rounding_noise(path, data, ranges, tensors, scheme=Scheme(weight_bits=4))
    assert all(coarse.weights[name] > 10 * told.weights[name] for name in told.weights)
    assert coarse.tensors == pytest.approx(told.tensors)
