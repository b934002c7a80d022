"""Weights that a training keeps at zero."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import torch

__all__ = ["HeldWeights"]


class HeldWeights(Protocol):
    """What is done to the weights around each step. All of it follows from the weights and the share of the training,
    so that a checkpoint needs nothing more."""

    def advance(self, network: torch.nn.Module, share: float) -> None:
        """Before a step, at `share` of the training; once more after the last, at 1."""

    def stop_gradients(self, network: torch.nn.Module) -> None:
        """After the gradients are computed."""

    def restore(self, network: torch.nn.Module) -> None:
        """After the optimizer's step."""
