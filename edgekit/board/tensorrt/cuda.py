"""The GPU, by libcuda, which every driver brings: no CUDA toolkit is needed."""

import ctypes
import ctypes.util
from typing import Any, Dict, List, Optional

from .library import EngineError

MAJOR, MINOR = 75, 76  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR (cuda.h)


def load_libcuda() -> Any:
    """The driver's library, or None where there is no driver."""
    for name in (
        "libcuda.so.1",
        ctypes.util.find_library("cuda"),
        "/usr/lib/aarch64-linux-gnu/tegra/libcuda.so.1",
    ):
        if not name:
            continue
        try:
            return ctypes.CDLL(name)
        except OSError:
            continue
    return None


def gpu() -> Optional[Dict[str, str]]:
    """{"sm", "name"} of the first NVIDIA GPU, or None."""
    library = load_libcuda()
    if library is None or library.cuInit(0) != 0:
        return None
    device = ctypes.c_int()
    if library.cuDeviceGet(ctypes.byref(device), 0) != 0:
        return None
    name = ctypes.create_string_buffer(256)
    library.cuDeviceGetName(name, 256, device)
    numbers = []
    for attribute in (MAJOR, MINOR):
        value = ctypes.c_int()
        library.cuDeviceGetAttribute(ctypes.byref(value), attribute, device)
        numbers.append(value.value)
    return {"sm": "sm_%d%d" % tuple(numbers), "name": name.value.decode(errors="replace")}


class Cuda(object):
    """Device memory and one stream, by the driver API in the device's primary context, which TensorRT uses too."""

    def __init__(self) -> None:
        self.library = load_libcuda()
        if self.library is None:
            raise EngineError("there is no NVIDIA driver here")
        device, self.context, self.stream = ctypes.c_int(), ctypes.c_void_p(), ctypes.c_void_p()
        self.call("cuInit", 0)
        self.call("cuDeviceGet", ctypes.byref(device), 0)
        self.device = device
        self.call("cuDevicePrimaryCtxRetain", ctypes.byref(self.context), device)
        self.call("cuCtxSetCurrent", self.context)
        self.call("cuStreamCreate", ctypes.byref(self.stream), 0)
        self.allocated: List[Any] = []

    def call(self, function: str, *arguments: Any) -> None:
        """Raises EngineError with CUDA's number when the call fails."""
        code = getattr(self.library, function)(*arguments)
        if code != 0:
            raise EngineError("%s failed with CUDA error %d" % (function, code))

    def allocate(self, size: int) -> int:
        """Address of so many bytes on the device."""
        address = ctypes.c_uint64()
        self.call("cuMemAlloc_v2", ctypes.byref(address), ctypes.c_size_t(max(size, 1)))
        self.allocated.append(address)
        return int(address.value)

    def upload(self, address: int, array: Any) -> None:
        """Copy a contiguous array to the device, and wait for it."""
        self.call("cuMemcpyHtoDAsync_v2", ctypes.c_uint64(address), ctypes.c_void_p(array.ctypes.data),
                  ctypes.c_size_t(array.nbytes), self.stream)  # fmt: skip
        self.synchronize()

    def download(self, address: int, array: Any) -> None:
        """Copy from the device into a contiguous array, and wait for it."""
        self.call("cuMemcpyDtoHAsync_v2", ctypes.c_void_p(array.ctypes.data), ctypes.c_uint64(address),
                  ctypes.c_size_t(array.nbytes), self.stream)  # fmt: skip
        self.synchronize()

    def synchronize(self) -> None:
        self.call("cuStreamSynchronize", self.stream)

    def handle(self) -> int:
        """The stream as TensorRT takes it."""
        return int(self.stream.value or 0)

    def close(self) -> None:
        for address in self.allocated:
            self.call("cuMemFree_v2", address)
        self.allocated = []
        self.call("cuStreamDestroy_v2", self.stream)
        self.call("cuDevicePrimaryCtxRelease", self.device)
