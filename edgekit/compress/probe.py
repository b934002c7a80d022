"""What a changed network is tried with: a copy and inputs in which a mistake shows."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

from edgekit.compress.base import example_tensors

if TYPE_CHECKING:
    import torch

    from edgekit.compress.base import Example

__all__ = ["make_lively", "make_probe"]


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


def make_lively(probe: torch.nn.Module) -> None:
    """Give linear layers, embeddings and one-dimensional parameters values of about one, in place.

    Fresh transformers attend to everything alike, and scale their branches by almost nothing: a wrong query would not
    show in the outputs.
    """
    import torch

    generator = torch.Generator().manual_seed(1)
    norms = (torch.nn.BatchNorm1d, torch.nn.BatchNorm2d, torch.nn.BatchNorm3d)
    with torch.no_grad():
        for layer in probe.modules():
            for parameter in () if isinstance(layer, norms) else layer.parameters(recurse=False):
                if not parameter.is_floating_point():
                    continue
                drawn = torch.randn(parameter.shape, generator=generator)
                if isinstance(layer, torch.nn.Linear) and parameter.ndim == 2:
                    parameter.copy_(drawn * 1.5 / parameter.shape[1] ** 0.5)
                elif isinstance(layer, torch.nn.Embedding):
                    parameter.copy_(drawn)
                elif parameter.ndim == 1:
                    parameter.copy_(0.3 * drawn + (0.5 if "bias" not in _name_of(layer, parameter) else 0.0))


def _name_of(layer: torch.nn.Module, parameter: torch.nn.Parameter) -> str:
    return next((name for name, own in layer.named_parameters(recurse=False) if own is parameter), "")
