"""ONNX as a graph: reading, checking, costing, rewriting, looking into it; `to_torch/` makes it a torch module."""

from __future__ import annotations

from edgekit.graph.calibration import CalibrationData
from edgekit.graph.cost import onnx_cost
from edgekit.graph.signature import read_signature

__all__ = ["CalibrationData", "onnx_cost", "read_signature"]
