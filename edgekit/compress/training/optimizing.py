"""Which optimizer trains a network where nobody said."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

    from edgekit.compress.training.config import TrainConfig

__all__ = ["settled"]

OVER_FEATURES = ("layer_norm", "rms_norm", "scaled_dot_product_attention", "multi_head_attention_forward")
"""Functions of torch by which a network is taken for a transformer, or for one of its kin."""


def settled(
    config: TrainConfig, network: torch.nn.Module, inputs: Callable[[], tuple[torch.Tensor, ...]]
) -> TrainConfig:
    """`config` with the optimizer that `network` is trained with; `inputs` gives it a batch.

    "auto" is AdamW where the network normalizes over features or attends, SGD elsewhere. Their gradients differ in size
    from layer to layer so much that one rate of SGD fits few of them (Zhang et al. 2020, arXiv:1912.03194).
    """
    optimizer = config.optimizer
    if optimizer == "auto":
        optimizer = "adamw" if _is_transformer(network, inputs) else "sgd"
    return dataclasses.replace(config, optimizer=optimizer)


def _is_transformer(network: torch.nn.Module, inputs: Callable[[], tuple[torch.Tensor, ...]]) -> bool:
    """By its layers, or by what one call runs: a network that was read from a graph has functions in their place."""
    import torch
    from torch.overrides import TorchFunctionMode

    layers = (torch.nn.LayerNorm, torch.nn.RMSNorm, torch.nn.MultiheadAttention)
    if any(isinstance(module, layers) for module in network.modules()):
        return True
    called: set[str] = set()

    class Watch(TorchFunctionMode):
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            called.add(getattr(func, "__name__", ""))
            return func(*args, **(kwargs or {}))

    training = network.training
    try:
        with torch.no_grad(), Watch():
            network.eval()(*inputs())
    finally:
        network.train(training)
    return not called.isdisjoint(OVER_FEATURES)
