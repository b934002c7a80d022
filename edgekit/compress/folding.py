"""A network in plain layers: weights that are computed anew at every call are folded, packed ones taken apart."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from edgekit.compress.attention import unpacked

if TYPE_CHECKING:
    import torch

__all__ = ["folded"]


def folded(module: torch.nn.Module) -> torch.nn.Module:
    """`module` itself where all weights are plain; else a copy, in eval mode, that computes the same with plain ones.

    Weight norm and spectral norm are known in both forms: torch.nn.utils.weight_norm and spectral_norm (hooks), and
    torch.nn.utils.parametrizations. nn.MultiheadAttention gets a layer for each of its weights (see attention.py).
    """
    return unpacked(_without_norms(module))


def _without_norms(module: torch.nn.Module) -> torch.nn.Module:
    import torch
    from torch.nn.utils import parametrize

    hooked = [layer for layer in module.modules() if _hooks(layer)]
    if not hooked and not any(parametrize.is_parametrized(layer) for layer in module.modules()):
        return module
    training = module.training
    module.eval()
    with torch.no_grad():
        for layer in hooked:  # what autograd computed cannot be copied; without it, it can
            for hook in _hooks(layer).values():
                setattr(layer, hook.name, _computed(layer, hook))
        plain = copy.deepcopy(module)
        module.train(training)
        for layer in plain.modules():
            for key, hook in _hooks(layer).items():
                hook.remove(layer)
                del layer._forward_pre_hooks[key]
            if parametrize.is_parametrized(layer):
                _without_parametrizations(layer)
    return plain


def _hooks(layer: torch.nn.Module) -> dict[int, Any]:
    from torch.nn.utils.spectral_norm import SpectralNorm
    from torch.nn.utils.weight_norm import WeightNorm

    hooks = layer._forward_pre_hooks.items()
    return {key: hook for key, hook in hooks if isinstance(hook, (WeightNorm, SpectralNorm))}


def _without_parametrizations(layer: Any) -> None:
    """As parametrize.remove_parametrizations, which would change the class that a copy shares with the original."""
    import torch

    values = {name: getattr(layer, name).detach().clone() for name in layer.parametrizations}
    layer.__class__ = type(layer).__bases__[0]
    del layer.parametrizations
    for name, value in values.items():
        layer.register_parameter(name, torch.nn.Parameter(value))


def _computed(layer: torch.nn.Module, hook: Any) -> torch.Tensor:
    from torch.nn.utils.weight_norm import WeightNorm

    computed: torch.Tensor
    if isinstance(hook, WeightNorm):
        computed = hook.compute_weight(layer)
    else:
        computed = hook.compute_weight(layer, do_power_iteration=False)
    return computed
