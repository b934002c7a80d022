"""Models: where they are, loading them, writing them as ONNX, and what they cost."""

from __future__ import annotations

from edgekit.hashing import sha256_file
from edgekit.model.cost import onnx_cost
from edgekit.model.export import export_onnx
from edgekit.model.importing import import_onnx
from edgekit.model.load import load_module
from edgekit.model.locate import ModelRef, locate, locate_module
from edgekit.model.signature import read_signature

__all__ = [
    "ModelRef",
    "export_onnx",
    "import_onnx",
    "load_module",
    "locate",
    "locate_module",
    "onnx_cost",
    "read_signature",
    "sha256_file",
]
