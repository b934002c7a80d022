"""A network that shows what its layers give behind its outputs, as what a student learns from it.

values: the layer's own output, through a projection where channels differ. relations: how the samples of a batch lie to
each other, by their distances over the mean distance and by the cosines of the angles that every three of them make
(RKD: Park et al., CVPR 2019); of images and tokens, those of the mean over positions. attention: where a layer looks,
the mean over heads of what its softmax gives (as TinyBERT: Jiao et al., EMNLP 2020), or of an image's channels the sum
of squares, at length one over positions (attention transfer: Zagoruyko & Komodakis, ICLR 2017). channels: an image as
values show it, of which the loss looks at where each channel is active (CWD, see `training/dense.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

from edgekit.compress.base import flat_outputs

if TYPE_CHECKING:
    import torch

__all__ = ["LearntKind", "ShownLayer", "ShownOutput", "attention_of", "seen_in", "showing", "shown_outputs"]

LearntKind = Literal["values", "relations", "attention", "channels"]
ShownOutput = Literal["values", "relations", "maps"]
"""What a loss has to know of what is shown."""

SHOWN: Mapping[LearntKind, Sequence[ShownOutput]] = {
    "values": ("values",),
    "relations": ("relations", "relations"),
    "attention": ("values",),
    "channels": ("maps",),
}

MOST_RELATED = 128
"""Samples of a batch whose relations are looked at: angles grow with the third power of them."""


@dataclass(frozen=True)
class ShownLayer:
    """One layer of a network. `tensor`: which of the tensors that it gives.

    `positions`: height and width at which images are compared, None for what is no image.
    """

    kind: LearntKind
    name: str
    tensor: int = 0
    positions: tuple[int, int] | None = None


def showing(
    network: torch.nn.Module, layers: Sequence[ShownLayer], projections: Sequence[torch.nn.Module]
) -> torch.nn.Module:
    """`network` with the `layers` behind its outputs; `network` of it is the module itself. A projection per layer."""
    shown: torch.nn.Module = _showing_class()(network, layers, projections)
    return shown


def shown_outputs(module: torch.nn.Module | None) -> tuple[ShownOutput, ...]:
    """What the last outputs of a network are that came of `showing`; of any other module nothing."""
    if not isinstance(module, _showing_class()):
        return ()
    kinds: list[ShownOutput] = []
    for layer in module.layers:
        kinds += SHOWN[layer.kind]
    return tuple(kinds)


def seen_in(
    module: torch.nn.Module, inputs: Sequence[torch.Tensor], names: Sequence[str]
) -> tuple[Any, dict[str, tuple[torch.Tensor, ...]]]:
    """What the network gives, and the tensors that each layer gave in its last call; {} of those not called."""
    seen: dict[str, tuple[torch.Tensor, ...]] = {}

    def catching(name: str) -> Any:
        def catch(_: object, __: object, output: object) -> None:
            tensors = flat_outputs(output)
            if tensors:
                seen[name] = tensors

        return catch

    handles = [
        module.get_submodule(name).register_forward_hook(catching(name)) for name in dict.fromkeys(names)
    ]
    try:
        return module(*inputs), seen
    finally:
        for handle in handles:
            handle.remove()


def attention_of(tensors: Sequence[torch.Tensor]) -> tuple[int, bool] | None:
    """Which of a layer's tensors says where it looks, and whether a softmax gave it; else the first image; or None."""
    for index, tensor in enumerate(tensors):
        if tensor.ndim in (3, 4) and tensor.shape[-1] > 1 and tensor.is_floating_point():
            rows = tensor.detach().float()
            if bool((rows >= 0.0).all()) and bool(((rows.sum(-1) - 1.0).abs() < 1e-3).all()):
                return index, True
    images = [index for index, tensor in enumerate(tensors) if tensor.ndim == 4]
    return (images[0], False) if images else None


def _values(value: torch.Tensor, positions: tuple[int, int] | None) -> torch.Tensor:
    import torch

    if positions is None:
        return value
    return torch.nn.functional.adaptive_avg_pool2d(value, positions)


def _relations(value: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Distances [P] of all P pairs over their mean, and cosines [N, N, N] of the angles at the second sample."""
    import torch

    value = value[:MOST_RELATED].float()
    if value.ndim > 2:  # channels are second in images and last in tokens
        value = value.flatten(2).mean(2) if value.ndim == 4 else value.flatten(1, -2).mean(1)
    distances = torch.pdist(value)
    apart = value[None] - value[:, None]
    squares = apart.square().sum(-1, keepdim=True)
    # Samples that lie on each other have no direction; without the addend the gradient of one would be infinite.
    directions = apart / (squares + 1e-8 * squares.mean() + 1e-12).sqrt()
    return distances / (distances.mean() + 1e-12), directions @ directions.transpose(1, 2)


def _attention(value: torch.Tensor, positions: tuple[int, int] | None) -> torch.Tensor:
    import torch

    value = value.float()
    if positions is None:
        return value.mean(1) if value.ndim == 4 else value
    energy = torch.nn.functional.adaptive_avg_pool2d(value.square().mean(1, keepdim=True), positions)
    return torch.nn.functional.normalize(energy.flatten(1), dim=1)


@cache
def _showing_class() -> Any:
    import torch

    class Showing(torch.nn.Module):
        """A network that gives what its layers give behind its outputs."""

        def __init__(
            self,
            network: torch.nn.Module,
            layers: Sequence[ShownLayer],
            projections: Sequence[torch.nn.Module],
        ) -> None:
            super().__init__()
            self.network, self.layers = network, tuple(layers)
            self.projections = torch.nn.ModuleList(projections)

        def extra_repr(self) -> str:
            """What is shown: outputs that are kept of one network are not another's (see `training/shared.py`)."""
            return repr(self.layers)

        def forward(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
            outputs, seen = seen_in(self.network, inputs, [layer.name for layer in self.layers])
            shown: list[torch.Tensor] = []
            for layer, projection in zip(self.layers, self.projections, strict=True):
                value = seen[layer.name][layer.tensor]
                if layer.kind in ("values", "channels"):
                    shown.append(projection(_values(value, layer.positions)))
                    continue
                with torch.autocast(value.device.type, enabled=False):
                    if layer.kind == "relations":
                        shown += _relations(value)
                    else:
                        shown.append(_attention(value, layer.positions))
            return (*flat_outputs(outputs), *shown)

    return Showing
