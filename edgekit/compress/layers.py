"""Layers that compression asks for by kind. torch is imported when they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

__all__ = ["transposed_convolutions", "weighted_layers"]


def transposed_convolutions() -> tuple[type[torch.nn.Module], ...]:
    """Those whose weight is [in, out, ...], the other way round."""
    import torch

    return torch.nn.ConvTranspose1d, torch.nn.ConvTranspose2d, torch.nn.ConvTranspose3d


def weighted_layers(module: torch.nn.Module) -> dict[str, torch.nn.Module]:
    """Convolutions, transposed ones too, and linear layers by name."""
    import torch

    plain = (torch.nn.Conv1d, torch.nn.Conv2d, torch.nn.Conv3d, torch.nn.Linear)
    kinds: tuple[type[torch.nn.Module], ...] = (*plain, *transposed_convolutions())
    return {name: layer for name, layer in module.named_modules() if isinstance(layer, kinds)}
