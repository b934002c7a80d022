"""Running an engine."""

import collections
from typing import Any, Dict, List, Mapping, Tuple

import numpy as np

from ..session import RuntimeSession
from .cuda import Cuda
from .library import EngineError, is_rtx, make_logger, version_of


class EngineSession(RuntimeSession):
    """One engine on one GPU: buffers on the device, inputs put in place by `bind`, `step` is one inference."""

    def __init__(self, trt: Any, engine_path: str, cuda: Any = None) -> None:
        self.trt = trt
        self.logger = make_logger(trt)
        with open(engine_path, "rb") as file:
            content = file.read()
        self.cuda = cuda or Cuda()
        self.runtime = trt.Runtime(self.logger)
        self.raw = self.runtime.deserialize_cuda_engine(content)
        if self.raw is None:
            raise EngineError(
                "TensorRT %s cannot load the engine: %s" % (trt.__version__, "; ".join(self.logger.lines[:3]))
            )
        self.context = self.raw.create_execution_context()
        self.tensors = io_tensors(trt, self.raw)
        self.signature = {
            side: [
                {"name": name, "dtype": dtype.name, "shape": [dim if dim >= 0 else None for dim in shape]}
                for name, is_input, dtype, shape in self.tensors
                if is_input == (side == "inputs")
            ]
            for side in ("inputs", "outputs")
        }
        self.facts = {"library": trt.__name__, "version": trt.__version__}
        self.buffers: Dict[str, Tuple[int, Any]] = collections.OrderedDict()
        for name, _, dtype, shape in self.tensors:
            array = np.zeros(shape, dtype)
            self.buffers[name] = (self.cuda.allocate(array.nbytes), array)
        self.by_name = is_rtx(trt) or version_of(trt) >= (8, 5)
        if self.by_name:
            for name, (address, _) in self.buffers.items():
                self.context.set_tensor_address(name, address)

    def close(self) -> None:
        self.context = None
        self.raw = None
        self.cuda.close()

    def bind(self, feeds: Mapping[str, Any]) -> None:
        """Put inputs on the device. Raises ValueError on other names or shapes."""
        wanted = [spec["name"] for spec in self.signature["inputs"]]
        if set(feeds) != set(wanted):
            raise ValueError("feeds are named %s, the network takes %s" % (sorted(feeds), wanted))
        for name in wanted:
            address, buffer = self.buffers[name]
            array = np.ascontiguousarray(feeds[name], dtype=buffer.dtype)
            if array.shape != buffer.shape:
                raise ValueError("input %s is %s, the engine takes %s" % (name, array.shape, buffer.shape))
            self.cuda.upload(address, array)

    def step(self) -> None:
        """One inference on the inputs in place; returns when the GPU is done."""
        if self.by_name:
            done = self.context.execute_async_v3(self.cuda.handle())
        else:
            done = self.context.execute_async_v2(
                [address for address, _ in self.buffers.values()], self.cuda.handle()
            )
        if not done:
            raise EngineError("the inference failed: %s" % "; ".join(self.logger.lines[-3:]))
        self.cuda.synchronize()

    def run(self, feeds: Mapping[str, Any]) -> Dict[str, Any]:
        """Input name -> array; gives output name -> array."""
        self.bind(feeds)
        self.step()
        answers = {}
        for spec in self.signature["outputs"]:
            address, buffer = self.buffers[spec["name"]]
            array = np.empty_like(buffer)
            self.cuda.download(address, array)
            answers[spec["name"]] = array
        return answers

    def layer_rows(self, feeds: Mapping[str, Any], runs: int) -> List[Dict[str, Any]]:
        """Mean time of each layer over `runs` runs after one that warms up, by TensorRT's profiler."""
        times: Dict[str, List[float]] = collections.OrderedDict()

        class Times(self.trt.IProfiler):  # type: ignore[misc, name-defined]
            def report_layer_time(self, layer_name: str, ms: float) -> None:
                times.setdefault(layer_name, []).append(ms)

        profiler = Times()
        self.context.profiler = profiler
        self.bind(feeds)
        for _ in range(runs + 1):
            self.step()
        return [
            {"name": name, "op": "engine layer", "mean_ms": sum(ms[1:]) / max(len(ms) - 1, 1), "facts": {}}
            for name, ms in times.items()
        ]


def io_tensors(trt: Any, engine: Any) -> List[Tuple[str, bool, Any, List[int]]]:
    """(name, whether an input, numpy type, shape) of each, by the tensor interface (8.5 on) or by bindings."""
    if is_rtx(trt) or version_of(trt) >= (8, 5):
        names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
        return [
            (
                name,
                engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT,
                np.dtype(trt.nptype(engine.get_tensor_dtype(name))),
                list(engine.get_tensor_shape(name)),
            )
            for name in names
        ]
    return [
        (
            engine.get_binding_name(index),
            bool(engine.binding_is_input(index)),
            np.dtype(trt.nptype(engine.get_binding_dtype(index))),
            list(engine.get_binding_shape(index)),
        )
        for index in range(engine.num_bindings)
    ]
