"""Backend name → backend: the only place that knows them all."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from edgekit.errors import MissingExtraError, UserError

if TYPE_CHECKING:
    from edgekit.backends.base import Backend
    from edgekit.backends.tensors import Reader
    from edgekit.types import Artifact, BackendName

__all__ = ["BACKENDS", "READERS", "SIMULATION", "get_backend", "open_reader", "simulated", "usable_backends"]

BACKENDS: Mapping[BackendName, tuple[str, str]] = {
    "onnxruntime": ("edgekit.backends.onnxruntime.backend", "OnnxRuntimeBackend"),
    "openvino": ("edgekit.backends.openvino.backend", "OpenVinoBackend"),
    "litert": ("edgekit.backends.litert.backend", "LiteRtBackend"),
    "tensorrt": ("edgekit.backends.tensorrt.backend", "TensorRtBackend"),
}
"""Name → module and class, loaded when asked for."""

READERS: Mapping[BackendName, tuple[str, str]] = {
    "onnxruntime": ("edgekit.backends.onnxruntime.tensors", "OnnxTensors"),
    "openvino": ("edgekit.backends.openvino.tensors", "OpenVinoTensors"),
    "litert": ("edgekit.backends.litert.tensors", "LiteRtTensors"),
    "tensorrt": ("edgekit.backends.onnxruntime.tensors", "OnnxTensors"),
}
"""Name → module and class that shows an artifact's tensors; an ONNX file for TensorRT is read by ONNX Runtime."""


SIMULATION: Mapping[BackendName, Mapping[str, str]] = {
    "onnxruntime": {"session.disable_quant_qdq": "1"},
    "openvino": {"LP_TRANSFORMS_MODE": "NO"},
}
"""Name → runtime options with which a quantized artifact is computed in float, every rounding included.

OpenVINO's is a property of its CPU plugin (src/plugins/intel_cpu/src/config.cpp; seen in 2026.4.1).
"""


def get_backend(name: BackendName) -> Backend:
    """The backend of that name; its runtime need not be installed. Raises UserError for a name not in BACKENDS."""
    if name not in BACKENDS:
        raise UserError(f'no backend "{name}"', allowed=", ".join(BACKENDS))
    module, attribute = BACKENDS[name]
    backend: Backend = getattr(importlib.import_module(module), attribute)()
    return backend


def open_reader(artifact: Artifact, threads: int = 1) -> Reader:
    """The artifact with its tensors shown, in a runtime of this machine (`Backend.on_host`).

    Raises ModelError when it cannot be opened, MissingExtraError.
    """
    artifact = get_backend(artifact.backend).on_host(artifact)
    module, attribute = READERS[artifact.backend]
    reader: Reader = getattr(importlib.import_module(module), attribute)(artifact, threads)
    return reader


def simulated(artifact: Artifact) -> Artifact | None:
    """The same quantized graph computed in float instead of by integer kernels; None where no runtime offers it."""
    options = SIMULATION.get(artifact.backend)
    return None if options is None else replace(artifact, options={**artifact.options, **options})


def usable_backends() -> dict[BackendName, str | None]:
    """Backend → None where it can be used here, else what is missing with the pip line that mends it."""
    usable: dict[BackendName, str | None] = {}
    for name in BACKENDS:
        try:
            get_backend(name).versions()
        except MissingExtraError as error:
            usable[name] = str(error)
        else:
            usable[name] = None
    return usable
