"""LiteRT, which was TensorFlow Lite."""

import json
from typing import Any, Dict, List, Mapping, Optional, Tuple

import numpy as np

from ..hush import without_talk
from ..runtimes import find_runtime
from ..session import RuntimeSession, import_first, in_order, tensor_spec
from ..timing import timed_runs

WARM_RUNS = 20  # before one operation is timed

DELEGATES: Dict[str, Tuple[str, Any]] = {
    "none": ("experimental_op_resolver_type", "BUILTIN_WITHOUT_DEFAULT_DELEGATES"),
    "latest": ("experimental_default_delegate_latest_features", True),
    "unclustered": ("experimental_disable_delegate_clustering", True),
}
"""What may become of XNNPACK -> the interpreter's argument and its value; a text is a name of OpResolverType."""


class LiteRtSession(RuntimeSession):
    """LiteRT (TFLite) with XNNPACK, which is on by default. Networks are seen as before their conversion:

    float32 in and out, images as [N, C, H, W], signals as [N, C, L]; what the file has instead (channels last,
    int8) is put right in `run` and `bind`, so that `step` is inference alone. `options`: "inputs" and "outputs",
    each a JSON list of {"name", "channels_last", "dtype"} in the file's order. Without them names are the file's, and
    inputs with four axes are images with channels last, as TFLite has them. "delegate": a key of DELEGATES, XNNPACK as
    it is by default without it.
    """

    def __init__(self, path: str, options: Dict[str, str], threads: int) -> None:
        module = import_first(find_runtime("litert").modules)
        with without_talk():  # of the delegate that it made
            self.raw = module.Interpreter(path, num_threads=threads, **_delegate(module, options))
            self.raw.allocate_tensors()
        self.inputs = self._ports(self.raw.get_input_details(), options.get("inputs"), True)
        self.outputs = self._ports(self.raw.get_output_details(), options.get("outputs"), False)
        self.signature = {
            "inputs": [port["spec"] for port in self.inputs],
            "outputs": [port["spec"] for port in self.outputs],
        }
        self.facts = {"package": module.__name__.split(".")[0]}

    @staticmethod
    def _ports(details: Any, said: Optional[str], images_last: bool) -> List[Dict[str, Any]]:
        known = json.loads(said) if said else [{}] * len(details)
        if len(known) != len(details):
            raise ValueError("the file has %d ports, its description %d" % (len(details), len(known)))
        ports = []
        for detail, facts in zip(details, known):
            shape = [int(size) for size in detail["shape"]]
            last = len(shape) > 2 and facts.get("channels_last", images_last and len(shape) == 4)
            scale, zero = detail["quantization"]
            dtype = np.dtype(detail["dtype"])
            stored = dtype if scale and dtype.kind in "iu" else None  # integers that stand for real numbers
            seen = [shape[0], shape[-1]] + shape[1:-1] if last else shape
            name = facts.get("name", detail["name"])
            wanted = facts.get("dtype", "float32" if stored is not None else dtype.name)
            spec = tensor_spec(name, wanted, seen)
            ports.append({"spec": spec, "index": detail["index"], "last": last, "stored": stored, "dtype": dtype,
                          "scale": scale, "zero": zero})  # fmt: skip
        return ports

    def run(self, feeds: Mapping[str, Any]) -> Dict[str, Any]:
        """Input name -> array; gives output name -> array."""
        self._put(feeds)
        self.raw.invoke()
        return {port["spec"]["name"]: self._get(port) for port in self.outputs}

    def bind(self, feeds: Mapping[str, Any]) -> None:
        """Put inputs in place: from here on `step()` is one inference on them."""
        self._put(feeds)
        self.step = self.raw.invoke

    def part_ms(self, path: str, feeds: Mapping[str, Any], runs: int, threads: int) -> float:
        """Mean time of one operation as a file of its own, which is given the file's own types."""
        module = import_first(find_runtime("litert").modules)
        with without_talk():
            part = module.Interpreter(path, num_threads=threads)
            part.allocate_tensors()
        for details in part.get_input_details():
            part.set_tensor(details["index"], feeds[details["name"]])
        timed_runs(part.invoke, WARM_RUNS)
        samples = timed_runs(part.invoke, runs)
        return sum(samples) / len(samples)

    def _put(self, feeds: Mapping[str, Any]) -> None:
        for port, value in zip(self.inputs, in_order(self.signature, feeds)):
            if port["last"]:
                value = np.moveaxis(value, 1, -1)
            if port["stored"] is not None:
                limits = np.iinfo(port["stored"])
                steps = np.rint(value / np.float32(port["scale"])) + port["zero"]
                value = np.clip(steps, limits.min, limits.max).astype(port["stored"])
            elif value.dtype != port["dtype"]:
                value = _narrowed(value, port)
            self.raw.set_tensor(port["index"], np.ascontiguousarray(value))

    def _get(self, port: Dict[str, Any]) -> Any:
        value = self.raw.get_tensor(port["index"])
        if port["stored"] is not None:
            value = (value.astype(np.float32) - np.float32(port["zero"])) * np.float32(port["scale"])
        value = value.astype(port["spec"]["dtype"], copy=False)
        return np.ascontiguousarray(np.moveaxis(value, -1, 1)) if port["last"] else value


def _delegate(module: Any, options: Mapping[str, str]) -> Dict[str, Any]:
    """The interpreter's arguments for what becomes of its default delegate. Raises ValueError."""
    name = options.get("delegate")
    if name is None:
        return {}
    if name not in DELEGATES:
        raise ValueError("delegate is %r; allowed: %s" % (name, ", ".join(sorted(DELEGATES))))
    key, value = DELEGATES[name]
    return {key: getattr(module.OpResolverType, value) if isinstance(value, str) else value}


def _narrowed(value: Any, port: Dict[str, Any]) -> Any:
    """Integers in the file's type, which has fewer bits. Raises ValueError for those that it cannot hold."""
    narrow = value.astype(port["dtype"])
    if not np.array_equal(narrow, value):
        raise ValueError("input %s holds values that %s cannot" % (port["spec"]["name"], port["dtype"]))
    return narrow
