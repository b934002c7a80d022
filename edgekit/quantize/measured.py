"""What a plan is made of: ranges, sensitivity and biases, measured on a float ONNX network once for all who ask."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, TypeVar

from edgekit.graph.taps import load_graph
from edgekit.quantize.bias import corrected_biases
from edgekit.quantize.collect import collect_ranges
from edgekit.quantize.observers.ranges import Range
from edgekit.quantize.precision_times import Noise
from edgekit.quantize.sensitivity import LayerSensitivity, rounding_noise, sensitivity
from edgekit.quantize.simulate import Scheme
from edgekit.quantize.trained import OBSERVED, trained_ranges

if TYPE_CHECKING:
    import onnx

    from edgekit.graph.calibration import CalibrationData
    from edgekit.quantize.recipe import Recipe

__all__ = ["MeasuredNetwork", "Memo", "measure", "remember_nothing", "versions"]

Value = TypeVar("Value")

RANKING_OBSERVER = "mse"
"""Whose ranges layers are ranked with where the recipe leaves ranges to the runtime."""

PACKAGES = ("numpy", "onnx", "onnxruntime")
"""What measures ranges, sensitivity and biases."""


class Memo(Protocol):
    """Keeps what took long: gives the bytes that `make` gave when these parts, all that they depend on, were last asked
    for."""

    def __call__(self, stage: str, parts: Mapping[str, object], make: Callable[[], bytes]) -> bytes: ...


def remember_nothing(stage: str, parts: Mapping[str, object], make: Callable[[], bytes]) -> bytes:
    """A memo that makes everything anew."""
    return make()


@dataclass(frozen=True)
class MeasuredNetwork:
    """A float ONNX network at `path` on calibration samples; each result is computed once for all who ask alike.

    Runtimes that measure the same graph share it: `graph` is the SHA-256 of the graph with names and shapes inferred,
    so that it does not matter who prepared it.
    """

    path: Path
    model: onnx.ModelProto
    graph: str
    data: CalibrationData
    memo: Memo
    threads: int

    def ranges(self, recipe: Recipe, *, symmetric: bool = False) -> Mapping[str, Range]:
        """Tensor → range of every float activation, by the recipe's observer."""
        observer = {"nncf": RANKING_OBSERVER, "trained": OBSERVED}.get(recipe.observer, recipe.observer)
        percentile = recipe.percentile if observer == "percentile" else 0.0
        samples = min(recipe.samples, self.data.samples)

        def make() -> Mapping[str, Range]:
            return collect_ranges(
                self.path,
                self.data,
                observer,
                percentile=recipe.percentile,
                samples=samples,
                symmetric=symmetric,
                threads=self.threads,
            )

        parts = {"observer": observer, "percentile": percentile, "samples": samples, "symmetric": symmetric}
        ranges: Mapping[str, Range] = self.recall("ranges", parts, make, dict[str, Range])
        return {**ranges, **self.trained(ranges)} if recipe.observer == "trained" else ranges

    def trained(self, observed: Mapping[str, Range]) -> dict[str, Range]:
        """The trained ranges of those tensors. Raises StageError for a network that has none."""
        return {name: values for name, values in trained_ranges(self.model).items() if name in observed}

    def ranking(self, recipe: Recipe, scheme: Scheme) -> tuple[LayerSensitivity, ...]:
        """Layers with weights, the most sensitive first."""
        ranges, simulated = self.ranges(recipe, symmetric=scheme.symmetric), _as_simulated(scheme)

        def make() -> tuple[LayerSensitivity, ...]:
            return sensitivity(self.path, self.data, ranges, scheme=simulated, threads=self.threads)

        parts = {"ranges": ranges, "scheme": simulated}
        return self.recall("sensitivity", parts, make, tuple[LayerSensitivity, ...])

    def noise(
        self,
        recipe: Recipe,
        scheme: Scheme,
        tensors: Sequence[str],
        reads: Mapping[str, Sequence[Sequence[str]]],
    ) -> Noise:
        """What rounding the weights of each layer and each of these tensors adds at the outputs: `rounding_noise`."""
        ranges, simulated = self.ranges(recipe, symmetric=scheme.symmetric), _as_simulated(scheme)

        def make() -> Noise:
            return rounding_noise(
                self.path, self.data, ranges, tensors, reads, scheme=simulated, threads=self.threads
            )

        parts = {"ranges": ranges, "scheme": simulated, "tensors": list(tensors), "reads": reads}
        return self.recall("noise", parts, make, Noise)

    def biases(self, recipe: Recipe, scheme: Scheme) -> Mapping[str, bytes]:
        """Layer → its corrected bias as float32 bytes; none where the recipe says so."""
        mode = recipe.bias_correction
        if mode == "none":
            return {}
        # The fast way looks at weights alone.
        ranges = {} if mode == "fast" else self.ranges(recipe, symmetric=scheme.symmetric)
        simulated = _weights_alone(scheme) if mode == "fast" else _as_simulated(scheme)

        def make() -> dict[str, bytes]:
            biases = corrected_biases(
                self.path, self.data, ranges, mode=mode, scheme=simulated, threads=self.threads
            )
            return {layer: bias.astype("<f4").tobytes() for layer, bias in biases.items()}

        parts = {"mode": mode, "ranges": ranges, "scheme": simulated}
        return self.recall("biases", parts, make, dict[str, bytes])

    def recall(
        self, stage: str, parts: Mapping[str, object], make: Callable[[], Value], kind: type[Value]
    ) -> Value:
        """A result that depends on these parts, the graph and the samples: from the memo, or made now."""
        import msgspec

        common = {
            "graph": self.graph,
            "calibration": self.data.digest,
            "threads": self.threads,
            "versions": versions(),
        }
        content = self.memo(stage, {**common, **parts}, lambda: msgspec.json.encode(make()))
        return msgspec.json.decode(content, type=kind)


def measure(path: Path, data: CalibrationData, memo: Memo, threads: int) -> MeasuredNetwork:
    """Open a float network for measuring. Raises StageError when it cannot be read."""
    import hashlib

    model = load_graph(path)
    graph = hashlib.sha256(model.SerializeToString(deterministic=True)).hexdigest()
    return MeasuredNetwork(path, model, graph, data, memo, threads)


def _as_simulated(scheme: Scheme) -> Scheme:
    """Affine activations come out alike with either sign, so runtimes of either share what is simulated."""
    activation: Literal["int8", "uint8"] = "int8" if scheme.symmetric else "uint8"
    return Scheme(activation, scheme.weight_bits, scheme.per_channel, scheme.symmetric)


def _weights_alone(scheme: Scheme) -> Scheme:
    return Scheme(weight_bits=scheme.weight_bits, per_channel=scheme.per_channel)


def versions() -> dict[str, str]:
    """Package → version of all that measures."""
    from importlib import metadata

    return {package: metadata.version(package) for package in PACKAGES}
