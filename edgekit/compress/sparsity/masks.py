"""Zeros among weights: which ones are taken, and how a training keeps them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from edgekit.compress.sparsity.plan import SparsePlan
from edgekit.compress.sparsity.schedule import share_at
from edgekit.types import SparsityPattern

if TYPE_CHECKING:
    import torch

__all__ = ["ZeroWeights", "weight_of"]

GROUP, LEFT = 4, 2
"""Of each four neighbours two are left."""


def lowest(scores: torch.Tensor, pattern: SparsityPattern, count: int) -> torch.Tensor:
    """Bool like `scores` [O, I, ...]: the `count` lowest, of 2:4 among the two lowest of each four along axis 1.

    Of equal ones the first. 2:4 wants I in multiples of 4.
    """
    import torch

    allowed = scores
    if pattern == "2:4":
        last = scores.movedim(1, -1)
        groups = last.reshape(*last.shape[:-1], -1, GROUP)
        kept = groups.argsort(dim=-1, stable=True)[..., GROUP - LEFT :]
        allowed = groups.scatter(-1, kept, float("inf")).reshape(last.shape).movedim(-1, 1)
    flat = torch.zeros(scores.numel(), dtype=torch.bool, device=scores.device)
    flat[allowed.flatten().sort(stable=True).indices[:count]] = True
    return flat.reshape(scores.shape)


class ZeroWeights:
    """The zeros of a network in training, which are those of its weights themselves: what is zero stays zero.

    So nothing of it has to be kept beside the weights, and a training that was cut off goes on as it would have.
    `hessian`: layer → diagonal, like its weight, of plans by Optimal Brain Damage; it is that of the weights that
    training began with. See `compress.training.held.HeldWeights`.
    """

    def __init__(self, plan: SparsePlan, hessian: Mapping[str, torch.Tensor]) -> None:
        self._plan, self._hessian = plan, hessian
        self._counts: dict[str, int] = {}
        self._live: dict[str, torch.Tensor] = {}

    def advance(self, network: torch.nn.Module, share: float) -> None:
        """Make as many zeros as there are to be after `share` of the training."""
        import torch

        sparsity = self._plan.sparsity
        with torch.no_grad():
            for name in self._plan.layers:
                weight = weight_of(network, name)
                count = round(share_at(share, sparsity.ratio) * weight.numel())
                if count == self._counts.get(name, 0):
                    continue
                self._counts[name] = count
                weight.masked_fill_(lowest(self._scores(name, weight), sparsity.pattern, count), 0.0)

    def stop_gradients(self, network: torch.nn.Module) -> None:
        """No gradient for what is zero: it would count in the gradient's norm, and in momenta."""
        for name in self._plan.layers:
            weight = weight_of(network, name)
            self._live[name] = weight.detach() != 0
            if weight.grad is not None:
                weight.grad.mul_(self._live[name])

    def restore(self, network: torch.nn.Module) -> None:
        """What was zero before the optimizer's step is zero again: momenta from before move it."""
        import torch

        with torch.no_grad():
            for name, live in self._live.items():
                weight_of(network, name).mul_(live)

    def _scores(self, name: str, weight: torch.Tensor) -> torch.Tensor:
        """float32: |w|, or h w^2 / 2 (LeCun, Denker and Solla 1989, equation 5); below all others where it is zero."""
        magnitude = weight.detach().float().abs()
        scores = magnitude
        if self._plan.saliency == "obd":
            scores = 0.5 * self._hessian[name].to(magnitude.device) * magnitude.square()
        return scores.masked_fill(magnitude == 0, -1.0)


def weight_of(network: torch.nn.Module, name: str) -> Any:
    """The weight [O, I, ...] of a layer, by its name."""
    return network.get_submodule(name).weight
