"""What a changed network is tried with: a copy and inputs in which a mistake shows."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

from edgekit.compress.base import example_tensors

if TYPE_CHECKING:
    import torch

    from edgekit.compress.base import Example

__all__ = ["make_probe"]


def make_probe(module: torch.nn.Module, example: Example) -> tuple[torch.nn.Module, tuple[torch.Tensor, ...]]:
    """A copy whose norms are neither zero nor one (a fresh network hides mistakes), and noisy inputs."""
    import torch

    probe = copy.deepcopy(module).cpu().float().eval()
    generator = torch.Generator().manual_seed(0)
    norms = (torch.nn.BatchNorm1d, torch.nn.BatchNorm2d, torch.nn.BatchNorm3d)
    with torch.no_grad():
        for layer in probe.modules():
            if not isinstance(layer, norms):
                continue
            for tensor, low, high in (
                (layer.weight, 0.5, 1.5),
                (layer.bias, -0.5, 0.5),
                (layer.running_mean, -0.5, 0.5),
                (layer.running_var, 0.5, 1.5),
            ):
                if tensor is not None:
                    tensor.copy_(torch.rand(tensor.shape, generator=generator) * (high - low) + low)
    inputs = tuple(
        tensor + torch.randn(tensor.shape, generator=generator) if tensor.is_floating_point() else tensor
        for tensor in example_tensors(example)
    )
    return probe, inputs
