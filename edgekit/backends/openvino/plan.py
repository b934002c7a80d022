"""What OpenVINO says of a network that is to become INT8; the plan is made in `edgekit.quantize.planning`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.backends.openvino.quantize import SMALL_SHARE, place_quantizers
from edgekit.quantize import Scheme
from edgekit.quantize.apart import mixed_scales
from edgekit.quantize.measured import MeasuredNetwork
from edgekit.quantize.plan import Part, united
from edgekit.quantize.planning import Refusal, Settled, named_by_recipe, refused_keys, unique_layers
from edgekit.types import FloatLayer

if TYPE_CHECKING:
    import onnx

    from edgekit.hardware import Int8Rule
    from edgekit.quantize import Recipe
    from edgekit.types import Variant

__all__ = ["OpenVinoPlanner"]

COARSE = Refusal(
    "without VNNI its weights have 7 bits, in steps of 2/127 of a channel's largest (NNCF's overflow fix), which NNCF "
    "does not find again in weights that were trained on them",
    "train for ONNX Runtime or LiteRT, or use int8-nncf-mse",
)


@dataclass(frozen=True)
class OpenVinoPlanner:
    """See `edgekit.quantize.planning.Planner`. `rule` is the target's for its features."""

    variant: Variant
    rule: Int8Rule
    versions: Mapping[str, str]

    @property
    def runtime(self) -> str:
        return "OpenVINO"

    def refused(self, recipe: Recipe) -> Mapping[str, Refusal]:
        refused = dict(refused_keys(recipe, nncf=True))
        if recipe.observer == "trained" and self.rule.weight_bits != 8:
            refused["observer"] = COARSE
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
            Path(self.variant.onnx_path),
            self.integers(recipe),
            names,
            frozenset(ranges),
            trained=recipe.observer == "trained",
        )
        return Settled(*united({name: ranges[name] for name in ranges if name in tensors}, groups))

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
