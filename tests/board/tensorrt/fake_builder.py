"""A stand-in for the builder of plain TensorRT, which needs a GPU even to be made. It records how it was configured."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np


def flags(*names: str) -> Any:
    """An enumeration as pybind11 makes it: attributes, and `__members__`."""
    members = {name: index for index, name in enumerate(names)}
    return type("Flags", (), {**members, "__members__": members})


class _Base:
    def __init__(self) -> None: ...


class FakeConfig:
    def __init__(self) -> None:
        self.set, self.cleared, self.pools = set[int](), set[int](), dict[int, int]()
        self.max_workspace_size = 0
        self.default_device_type: Any = None
        self.DLA_core = -1
        self.int8_calibrator: Any = None
        self.cache = b""

    def set_flag(self, flag: int) -> None:
        self.set.add(flag)

    def clear_flag(self, flag: int) -> None:
        self.cleared.add(flag)

    def set_memory_pool_limit(self, pool: int, size: int) -> None:
        self.pools[pool] = size

    def create_timing_cache(self, content: bytes) -> bytes:
        return content

    def set_timing_cache(self, cache: bytes, ignore_mismatch: bool) -> bool:
        self.cache = cache
        return True

    def get_timing_cache(self) -> Any:
        return SimpleNamespace(serialize=lambda: self.cache + b"timed")


class FakeParser:
    """Takes what begins with b"good"."""

    num_errors = 1

    def __init__(self, network: Any, logger: Any) -> None: ...

    def parse(self, content: bytes) -> bool:
        return content.startswith(b"good")

    def get_error(self, index: int) -> Any:
        """As before TensorRT 10: no node names."""
        return SimpleNamespace(node=lambda: 7, desc=lambda: "no importer\nfor Foo")


class FakeBuilderTensorRt:
    """The part of `tensorrt` that building needs, of the version given."""

    __name__ = "tensorrt"

    def __init__(self, version: str, *, dla_cores: int = 0, strong: bool = False) -> None:
        self.__version__ = version
        self.config = FakeConfig()
        self.network_flags = -1
        names = ["EXPLICIT_BATCH", *(["STRONGLY_TYPED"] if strong else [])]
        self.NetworkDefinitionCreationFlag = flags(*names)
        self.BuilderFlag = flags("FP16", "INT8", "TF32", "GPU_FALLBACK", "SPARSE_WEIGHTS")
        self.MemoryPoolType = SimpleNamespace(WORKSPACE=0)
        self.DeviceType = SimpleNamespace(DLA="dla")
        self.ILogger = type("ILogger", (_Base,), {"Severity": SimpleNamespace(INTERNAL_ERROR=0, ERROR=1)})
        self.IInt8EntropyCalibrator2 = type("IInt8EntropyCalibrator2", (_Base,), {})
        self.OnnxParser = FakeParser
        self.dla_cores = dla_cores

    def Builder(self, logger: Any) -> Any:  # noqa: N802
        return SimpleNamespace(
            num_DLA_cores=self.dla_cores,
            create_network=self._network,
            create_builder_config=lambda: self.config,
            build_serialized_network=lambda network, config: np.frombuffer(b"engine", np.uint8),
        )

    def _network(self, given: int) -> Any:
        self.network_flags = given
        return SimpleNamespace(num_inputs=0)
