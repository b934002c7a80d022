"""Stand-ins for what needs a GPU: the engine and its context, and device memory. Building is never faked."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np


class FakeCuda:
    """Device memory in host memory; one stream that is always done."""

    def __init__(self) -> None:
        self.memory: dict[int, Any] = {}
        self.synchronized = 0
        self.closed = False

    def allocate(self, size: int) -> int:
        block = ctypes.create_string_buffer(size)
        address = ctypes.addressof(block)
        self.memory[address] = block
        return address

    def upload(self, address: int, array: Any) -> None:
        ctypes.memmove(address, array.ctypes.data, array.nbytes)

    def download(self, address: int, array: Any) -> None:
        ctypes.memmove(array.ctypes.data, address, array.nbytes)

    def synchronize(self) -> None:
        self.synchronized += 1

    def handle(self) -> int:
        return 7

    def close(self) -> None:
        self.closed = True


class FakeContext:
    """Doubles its input."""

    def __init__(self, engine: FakeEngine) -> None:
        self.addresses: dict[str, int] = {}
        self.engine = engine

    def set_tensor_address(self, name: str, address: int) -> None:
        self.addresses[name] = address

    def execute_async_v3(self, stream: int) -> bool:
        return self._double(self.addresses["x"], self.addresses["y"])

    def execute_async_v2(self, bindings: list[int], stream: int) -> bool:
        return self._double(*bindings)

    def _double(self, source: int, target: int) -> bool:
        size = int(np.prod(self.engine.shape)) * 4
        values = np.frombuffer(ctypes.string_at(source, size), np.float32) * 2
        ctypes.memmove(target, values.ctypes.data, size)
        return True


class FakeEngine:
    """x [1, 3] float32 → y [1, 3], by both interfaces: tensors by name (8.5 on) and bindings (before)."""

    shape = (1, 3)
    num_io_tensors = num_bindings = 2

    def get_tensor_name(self, index: int) -> str:
        return "xy"[index]

    get_binding_name = get_tensor_name

    def get_tensor_mode(self, name: str) -> str:
        return "INPUT" if name == "x" else "OUTPUT"

    def binding_is_input(self, index: int) -> bool:
        return index == 0

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return self.shape

    get_binding_shape = get_tensor_shape  # type: ignore[assignment]

    def get_tensor_dtype(self, name: str) -> str:
        return "float32"

    get_binding_dtype = get_tensor_dtype  # type: ignore[assignment]

    def create_execution_context(self) -> FakeContext:
        return FakeContext(self)


class _Severity:
    INTERNAL_ERROR, ERROR, WARNING = range(3)


class _Logger:
    Severity = _Severity

    def __init__(self) -> None: ...


class _Mode:
    INPUT = "INPUT"


class FakeRuntime:
    def __init__(self, logger: Any) -> None: ...

    def deserialize_cuda_engine(self, content: bytes) -> FakeEngine | None:
        return FakeEngine() if content == b"engine" else None


class FakeTensorRt:
    """The part of the module that running an engine needs, of the version given."""

    __name__ = "tensorrt"
    ILogger, TensorIOMode, Runtime = _Logger, _Mode, FakeRuntime

    def __init__(self, version: str) -> None:
        self.__version__ = version

    def nptype(self, kind: str) -> Any:
        return np.dtype(kind).type
