"""ONNX Runtime on the CPU."""

import collections
import functools
import json
from typing import Any, Dict, List, Mapping, Tuple

from ..session import RuntimeSession, in_order, tensor_spec

ORT_DTYPES = {"float": "float32", "double": "float64"}
ORT_ATTRIBUTES = {
    "enable_profiling": bool, "profile_file_prefix": str, "optimized_model_filepath": str, "inter_op_num_threads": int,
}  # fmt: skip
ORT_ENUMS = {"graph_optimization_level": "GraphOptimizationLevel", "execution_mode": "ExecutionMode"}


class OnnxRuntimeSession(RuntimeSession):
    """ONNX Runtime on the CPU. `options` are session config entries, or attributes of ORT_ATTRIBUTES and ORT_ENUMS."""

    def __init__(self, path: str, options: Dict[str, str], threads: int) -> None:
        import onnxruntime as ort

        settings = ort.SessionOptions()
        settings.intra_op_num_threads = threads
        settings.inter_op_num_threads = 1
        settings.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
        settings.log_severity_level = 3
        entries = {"session.intra_op.allow_spinning": "0", "session.inter_op.allow_spinning": "0"}
        for key, value in options.items():
            if key in ORT_ATTRIBUTES:
                setattr(settings, key, ORT_ATTRIBUTES[key](value))
            elif key in ORT_ENUMS:
                setattr(settings, key, getattr(getattr(ort, ORT_ENUMS[key]), value))
            else:
                entries[key] = value
        for key, value in entries.items():
            settings.add_session_config_entry(key, value)
        self.raw = ort.InferenceSession(path, settings, providers=["CPUExecutionProvider"])
        self.signature = {
            "inputs": self._specs(self.raw.get_inputs()),
            "outputs": self._specs(self.raw.get_outputs()),
        }
        self.facts = {"providers": ",".join(self.raw.get_providers())}

    @staticmethod
    def _specs(nodes: Any) -> List[Dict[str, Any]]:
        specs = []
        for node in nodes:
            dtype = node.type[len("tensor(") : -1] if node.type.startswith("tensor(") else node.type
            specs.append(tensor_spec(node.name, ORT_DTYPES.get(dtype, dtype), node.shape))
        return specs

    def run(self, feeds: Mapping[str, Any]) -> Dict[str, Any]:
        """Input name -> array; gives output name -> array."""
        values = in_order(self.signature, feeds)
        named = {spec["name"]: value for spec, value in zip(self.signature["inputs"], values)}
        names = [spec["name"] for spec in self.signature["outputs"]]
        return dict(zip(names, self.raw.run(names, named)))

    def bind(self, feeds: Mapping[str, Any]) -> None:
        """Put inputs in place: from here on `step()` is one inference on them."""
        binding = self.raw.io_binding()
        for spec, value in zip(self.signature["inputs"], in_order(self.signature, feeds)):
            binding.bind_cpu_input(spec["name"], value)
        for spec in self.signature["outputs"]:
            binding.bind_output(spec["name"], "cpu")
        self.step = functools.partial(self.raw.run_with_iobinding, binding)

    def layer_rows(self, feeds: Mapping[str, Any], runs: int) -> List[Dict[str, Any]]:
        """Mean time of each node over `runs` runs, after one that warms up; its fact "takes": types of its inputs."""
        for _ in range(runs + 1):
            self.run(feeds)
        with open(self.raw.end_profiling(), encoding="utf-8") as file:
            events = json.load(file)
        spent: Dict[Tuple[str, str], List[float]] = collections.OrderedDict()
        takes: Dict[Tuple[str, str], str] = {}
        end = "_kernel_time"
        for event in events:
            if event.get("cat") == "Node" and event["name"].endswith(end):
                details = event["args"]
                key = (event["name"][: -len(end)], details["op_name"])
                spent.setdefault(key, []).append(event["dur"] / 1e3)
                kinds = {kind for entry in details.get("input_type_shape", []) for kind in entry}
                takes[key] = ",".join(sorted(kinds))
        return [
            {"name": key[0], "op": key[1], "mean_ms": sum(times[1:]) / max(len(times) - 1, 1),
             "facts": {"takes": takes[key]}}
            for key, times in spent.items()
        ]  # fmt: skip
