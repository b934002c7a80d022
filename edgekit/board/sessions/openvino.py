"""OpenVINO on any of its devices."""

import collections
import functools
from typing import Any, Callable, Dict, List, Mapping

import numpy as np

from ..session import RuntimeSession, in_order, tensor_spec

WARM_RUNS = 5  # before layers are timed
TOLD = ("layerType", "execOrder", "originalLayersNames", "primitiveType", "runtimePrecision")


class OpenVinoSession(RuntimeSession):
    """OpenVINO. `options` are device properties; the option DEVICE (default CPU) is the device's name."""

    def __init__(self, path: str, options: Dict[str, str], threads: int) -> None:
        import openvino as ov

        given = dict(options)
        device = given.pop("DEVICE", "CPU")
        config = {"PERFORMANCE_HINT": "LATENCY"}
        if device == "CPU":
            # The kernel pins (sched_setaffinity); OpenVINO's own pinning may pick a CPU outside the mask.
            config.update(INFERENCE_NUM_THREADS=str(threads), NUM_STREAMS="1", ENABLE_CPU_PINNING="NO")
        config.update(given)
        core = ov.Core()
        # Names are the model's: compiling moves element-wise operations before reshapes, and an output then bears
        # the name of the tensor inside as well.
        model = core.read_model(path)
        self.signature = {
            "inputs": [self._spec(port, "input_%d" % i) for i, port in enumerate(model.inputs)],
            "outputs": [self._spec(port, "output_%d" % i) for i, port in enumerate(model.outputs)],
        }
        self.raw = core.compile_model(model, device, config)
        self.request = self.raw.create_infer_request()
        supported = {str(name) for name in self.raw.get_property("SUPPORTED_PROPERTIES")}
        wanted = ("INFERENCE_PRECISION_HINT", "INFERENCE_NUM_THREADS", "NUM_STREAMS", "EXECUTION_DEVICES")
        self.facts = {
            name: _property_text(self.raw.get_property(name)) for name in wanted if name in supported
        }

    @staticmethod
    def _spec(port: Any, fallback: str) -> Dict[str, Any]:
        shape = [dim.get_length() if dim.is_static else None for dim in port.get_partial_shape()]
        name = port.get_any_name() if port.get_names() else fallback
        return tensor_spec(name, np.dtype(port.get_element_type().to_dtype()).name, shape)

    def close(self) -> None:
        RuntimeSession.close(self)
        self.request = None

    def run(self, feeds: Mapping[str, Any]) -> Dict[str, Any]:
        """Input name -> array; gives output name -> array."""
        results = self.request.infer(dict(enumerate(in_order(self.signature, feeds))))
        return {spec["name"]: np.array(results[i]) for i, spec in enumerate(self.signature["outputs"])}

    def bind(self, feeds: Mapping[str, Any]) -> None:
        """Put inputs in place: from here on `step()` is one inference on them."""
        import openvino as ov

        for index, value in enumerate(in_order(self.signature, feeds)):
            self.request.set_input_tensor(index, ov.Tensor(value))
        self.step = self._direct_call()

    def layer_rows(self, feeds: Mapping[str, Any], runs: int) -> List[Dict[str, Any]]:
        """Mean time of each executed layer over `runs` runs, in execution order, from OpenVINO's own counters.

        Facts: "kernel", and what the compiled model tells of a layer, if it knows it (TOLD).
        """
        facts = {
            node.get_friendly_name(): told(node.get_rt_info())
            for node in self.raw.get_runtime_model().get_ops()
        }
        self.bind(feeds)
        for _ in range(WARM_RUNS):
            self.step()
        totals: Dict[str, float] = collections.OrderedDict()
        kinds = {}
        for _ in range(runs):
            self.step()
            for entry in self.request.get_profiling_info():
                if entry.status.name == "EXECUTED":
                    name = entry.node_name
                    totals[name] = totals.get(name, 0.0) + entry.real_time.total_seconds() * 1e3
                    kinds[name] = entry.node_type, entry.exec_type
        return [
            {"name": name, "op": kinds[name][0], "mean_ms": total / runs,
             "facts": dict(facts.get(name, {}), kernel=kinds[name][1])}
            for name, total in totals.items()
        ]  # fmt: skip

    def _direct_call(self) -> Callable[[], Any]:
        """The binding's own `infer`, which `InferRequest.infer` wraps in some 25 us of Python: a tenth of a small
        network's time that belongs to no network."""
        try:
            binding: Any = super(type(self.request), self.request)
            direct = functools.partial(binding.infer, {}, share_outputs=True, decode_strings=True)
            direct()
        except (AttributeError, TypeError):  # another version's binding
            return functools.partial(self.request.infer, share_outputs=True)
        return direct


def told(info: Any) -> Dict[str, str]:
    """What the compiled model says of a layer, as texts."""
    return {key: str(info[key].astype(str)) for key in TOLD if key in info}


def _property_text(value: Any) -> str:
    """OpenVINO's value as text: lists joined, types by their name ("<Type: 'float32'>" gives "float32")."""
    if isinstance(value, (list, tuple)):
        return ",".join(_property_text(item) for item in value)
    text = str(value)
    return text.split("'")[1] if text.startswith("<Type: '") else text
