"""What OpenVINO says of a network that is to become INT8; the plan is made in `edgekit.quantize.planning`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.backends.openvino.quantize import SMALL_SHARE, place_quantizers
from edgekit.quantize import Scheme
from edgekit.quantize.apart import mixed_scales
from edgekit.quantize.measured import MeasuredNetwork
from edgekit.quantize.plan import Part, united
from edgekit.quantize.planning import Refusal, Settled, named_by_recipe, refused_keys, unique_layers
from edgekit.quantize.trained import trained_by_channel
from edgekit.types import FloatLayer

if TYPE_CHECKING:
    import onnx

    from edgekit.hardware import Int8Rule, Target
    from edgekit.quantize import Recipe
    from edgekit.types import Variant

__all__ = ["OpenVinoPlanner", "refused_floats"]


def refused_floats(target: Target, features: frozenset[str]) -> dict[str, Refusal]:
    """Precisions that layers in float cannot have there, by the target's own rows, and why."""
    runtime = target.runtime("openvino")
    if runtime is not None and runtime.device != "CPU":
        own = Refusal(
            f"the plugin of the {runtime.device} computes what is in float in fp16", "leave float_as out"
        )
        return {"fp32": own, "bf16": own}
    refused = {
        "fp16": Refusal(
            "its CPU plugin stores float16 and computes float32", "use bf16, or leave float_as out"
        )
    }
    missing = None if runtime is None else runtime.missing_feature("bf16", features)
    if missing is not None:
        refused["bf16"] = Refusal(missing.reason, "leave float_as out")
    elif runtime is None or "bf16" not in runtime.precisions:
        refused["bf16"] = Refusal(f"{target.name} has no bf16", "leave float_as out")
    return refused


COARSE = Refusal(
    "without VNNI its weights have 7 bits, in steps of 2/127 of a channel's largest (NNCF's overflow fix), which NNCF "
    "does not find again in weights that were trained on them",
    "train for ONNX Runtime or LiteRT, or use int8-nncf-mse",
)


@dataclass(frozen=True)
class OpenVinoPlanner:
    """See `edgekit.quantize.planning.Planner`. `rule` is the target's for its features; `float_as` what it refuses."""

    variant: Variant
    rule: Int8Rule
    versions: Mapping[str, str]
    float_as: Mapping[str, Refusal] = field(default_factory=dict)

    @property
    def runtime(self) -> str:
        return "OpenVINO"

    def refused(self, recipe: Recipe) -> Mapping[str, Refusal]:
        refused = dict(refused_keys(recipe, nncf=True, float_as=self.float_as))
        if recipe.observer == "trained" and self.rule.weight_bits != 8:
            refused["observer"] = COARSE
        if recipe.rounding == "adaptive" and self.rule.weight_bits != 8:
            refused["rounding"] = replace(COARSE, instead="leave rounding out, or use int8-nncf-equalized")
        return refused

    def depends_on(self) -> Mapping[str, object]:
        return {"versions": self.versions, "small": self._small_products()}

    def integers(self, recipe: Recipe) -> Scheme:
        """Activations as NNCF has them for CPUs, uint8 with any zero point."""
        return Scheme("uint8", self.rule.weight_bits, recipe.granularity == "per-channel")

    def network(self, folder: Path) -> Path:
        return Path(self.variant.onnx_path)

    def in_float(self, measured: MeasuredNetwork, recipe: Recipe) -> tuple[FloatLayer, ...]:
        small = self._small_products()
        return unique_layers(
            *(FloatLayer(name, "small") for name in small),
            *named_by_recipe(recipe, measured.model),
            *mixed_scales(measured, recipe),
        )

    def cannot_keep(self, model: onnx.ModelProto) -> frozenset[str]:
        return frozenset()

    def settle(self, measured: MeasuredNetwork, recipe: Recipe, in_float: tuple[FloatLayer, ...]) -> Settled:
        ranges = measured.ranges(recipe)
        names = tuple(layer.name for layer in in_float)
        tensors, groups = place_quantizers(
            Path(self.variant.onnx_path), self.integers(recipe), names, frozenset(ranges)
        )
        by_channel = trained_by_channel(measured.model) if recipe.observer == "trained" else {}
        settled, shared = united({name: ranges[name] for name in ranges if name in tensors}, groups)
        return Settled(
            settled, shared, by_channel={name: by_channel[name] for name in settled if name in by_channel}
        )

    def leaves(self, recipe: Recipe) -> tuple[Part, ...]:
        """NNCF corrects biases itself, on the network as it has quantized it."""
        ranges: tuple[Part, ...] = ("ranges",) if recipe.observer == "nncf" else ()
        biases: tuple[Part, ...] = ("biases",) if recipe.bias_correction != "none" else ()
        return (*ranges, *biases)

    def _small_products(self) -> tuple[str, ...]:
        """Matrix products too small to gain from int8; none where nothing else would be quantized."""
        layers = [layer for layer in self.variant.cost.layers if layer.macs]
        limit = SMALL_SHARE * sum(layer.macs for layer in layers)
        small = tuple(layer.name for layer in layers if layer.op in ("Gemm", "MatMul") and layer.macs < limit)
        return small if len(small) < len(layers) else ()
