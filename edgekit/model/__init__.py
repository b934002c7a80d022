"""Models: where they are, loading them, and writing them as ONNX."""

from __future__ import annotations

from edgekit.model.export import check_example, export_onnx, names_of_inputs
from edgekit.model.importing import import_onnx
from edgekit.model.load import identified, load_module
from edgekit.model.locate import ModelRef, WeightsPart, locate, locate_module, unwrapped
from edgekit.model.weights import check_weights

__all__ = [
    "ModelRef",
    "WeightsPart",
    "check_example",
    "check_weights",
    "export_onnx",
    "identified",
    "import_onnx",
    "load_module",
    "locate",
    "locate_module",
    "names_of_inputs",
    "unwrapped",
]
