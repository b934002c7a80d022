"""Batch norms after surgery: their running statistics are those of another network."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from edgekit.compress.base import whole_batches

if TYPE_CHECKING:
    import torch

    from edgekit.compress.base import Samples

__all__ = ["NormPace", "norm_batches", "reestimate_norms"]

NORM_BATCH, NORM_BATCHES = 64, 8  # 512 samples


def norm_batches(data: Samples, seed: int) -> Iterator[tuple[torch.Tensor, ...]]:
    """The inputs of up to 512 samples of `data`, as they are, to re-estimate batch norms on; which, says `seed`."""
    return itertools.islice(whole_batches(data, NORM_BATCH, seed), NORM_BATCHES)


def reestimate_norms(module: torch.nn.Module, batches: Iterable[tuple[torch.Tensor, ...]]) -> None:
    """Replace the running mean and variance of every batch norm, in place, by their averages over `batches`.

    All else stays in eval mode (dropout draws nothing), weights are not touched; the module ends in eval mode. The
    variance is that within batches, averaged (Ioffe & Szegedy 2015, algorithm 2). Norms that no batch reaches, and
    those without running statistics, stay as they are. Batches hold two samples or more.
    """
    import torch

    norms = _with_statistics(module)
    module.eval()
    if not norms:
        return
    before = [
        (norm.momentum, {name: tensor.clone() for name, tensor in norm.state_dict().items()})
        for norm in norms
    ]
    try:
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # a cumulative average
            norm.train()
        with torch.no_grad():
            for batch in batches:
                module(*batch)
    finally:
        module.eval()
        for norm, (momentum, state) in zip(norms, before, strict=True):
            norm.momentum = momentum
            if not bool(norm.num_batches_tracked):  # no batch has reached it
                norm.load_state_dict(state)


class NormPace:
    """Momenta of batch norms in a training so short that their own would leave another network's statistics in place.

    A momentum of 0.01 (MobileNetV3's) leaves 78 % of them after 25 steps, 0.1 leaves 7 %. At step t it is raised to
    min(0.1, 2 / (t + 1)), about the mean over the latter half of the steps; one of 0.1 or more, as torch has it by
    itself, and one of 0 (frozen) stay as they are.
    """

    def __init__(self, module: torch.nn.Module) -> None:
        self._own = [(norm, norm.momentum) for norm in _with_statistics(module) if norm.momentum != 0.0]

    def set(self, step: int) -> None:
        """Before step number `step`, counted from 1. None (the mean over all batches ever seen) is raised, too."""
        least = min(0.1, 2.0 / (step + 1))
        for norm, own in self._own:
            norm.momentum = least if own is None else max(own, least)

    def restore(self) -> None:
        """Their own again."""
        for norm, own in self._own:
            norm.momentum = own


def _with_statistics(module: torch.nn.Module) -> list[torch.nn.modules.batchnorm._BatchNorm]:
    import torch

    kinds = (torch.nn.BatchNorm1d, torch.nn.BatchNorm2d, torch.nn.BatchNorm3d)
    return [
        layer
        for layer in module.modules()
        if isinstance(layer, kinds)
        and layer.running_mean is not None
        and layer.num_batches_tracked is not None
    ]
