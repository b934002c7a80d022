"""One layer quantized in simulation: its weights per channel and symmetric, its input per tensor and asymmetric."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from edgekit.compress.base import run_watched
from edgekit.compress.layers import transposed_convolutions, weighted_layers
from edgekit.quantize import Range, Scheme, affine_parameters
from edgekit.quantize.simulate import fake_quantize_weights

if TYPE_CHECKING:
    import torch

__all__ = ["input_ranges", "quantized_layer"]

WEIGHTS = Scheme()
"""8 bits per channel, as every runtime's default."""


def input_ranges(module: torch.nn.Module, batches: Sequence[tuple[torch.Tensor, ...]]) -> dict[str, Range]:
    """Smallest and largest value that each layer with weights reads; layers that are not called have none."""

    ranges: dict[str, Range] = {}

    def watcher(name: str) -> Any:
        def watch(_: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
            low, high = (float(edge) for edge in inputs[0].detach().aminmax())
            before = ranges.get(name, Range(low, high))
            ranges[name] = Range(min(low, before.low), max(high, before.high))

        return watch

    hooks = [
        layer.register_forward_pre_hook(watcher(name)) for name, layer in weighted_layers(module).items()
    ]
    run_watched(module, hooks, batches)
    return ranges


@contextlib.contextmanager
def quantized_layer(layer: Any, values: Range) -> Iterator[None]:
    """While it is entered, `layer` computes with int8 weights and input, whose values lie in `values`."""
    import torch

    grid = affine_parameters(values, 0, 255)
    weight = layer.weight.detach().clone()
    rounded = fake_quantize_weights(
        weight.cpu().numpy(), WEIGHTS, 1 if isinstance(layer, transposed_convolutions()) else 0
    )

    def quantize(_: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        x = torch.fake_quantize_per_tensor_affine(inputs[0], grid.scale, grid.zero_point, 0, 255)
        return (x, *inputs[1:])

    handle = layer.register_forward_pre_hook(quantize)
    try:
        with torch.no_grad():
            layer.weight.copy_(torch.from_numpy(rounded))
        yield
    finally:
        handle.remove()
        with torch.no_grad():
            layer.weight.copy_(weight)
