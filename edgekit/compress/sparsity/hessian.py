"""The diagonal of a Hessian by random signs: what a small change of each weight does to the outputs."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING

from edgekit.compress.base import Samples, forward_outputs, whole_batches
from edgekit.compress.sparsity.masks import weight_of
from edgekit.errors import StageError

if TYPE_CHECKING:
    import torch

__all__ = ["hessian_diagonal"]

SAMPLES, BATCH = 512, 32
DRAWS = 4
"""Of random signs for each batch."""


def hessian_diagonal(
    network: torch.nn.Module, layers: Sequence[str], samples: Samples, seed: int
) -> dict[str, torch.Tensor]:
    """Layer → float32 like its weight: the diagonal of the Hessian, by the weights, of half the squared distance of the
    outputs from what they are now, a mean over up to 512 samples.

    At the weights as they are it is E[J^T J], exactly, where J are the outputs' derivatives; and E[(J^T v)^2] has its
    diagonal for v of independent random signs (Bekas, Kokiopoulou and Saad 2007). No label enters: this is what
    distillation begins with. Raises StageError where no output has a gradient.
    """
    import torch

    trial = copy.deepcopy(network).cpu().eval()
    for parameter in trial.parameters():
        parameter.requires_grad_(False)
    weights = {name: weight_of(trial, name) for name in layers}
    for weight in weights.values():
        weight.requires_grad_(True)
    sums = {name: torch.zeros_like(weight, dtype=torch.float32) for name, weight in weights.items()}
    signs = torch.Generator().manual_seed(seed)
    seen = 0
    with torch.inference_mode(False), torch.enable_grad():
        batches = itertools.islice(whole_batches(samples, BATCH, seed), max(1, SAMPLES // BATCH))
        for batch, _ in itertools.product(batches, range(DRAWS)):
            outputs = [output for output in forward_outputs(trial, batch) if output.requires_grad]
            if not outputs:
                raise StageError(
                    "sparsity", "no output of the network has a gradient", "importance magnitude"
                )
            drawn = [torch.randint(0, 2, output.shape, generator=signs) * 2.0 - 1.0 for output in outputs]
            total = sum(
                ((output * sign).sum() for output, sign in zip(outputs, drawn, strict=True)), torch.zeros(())
            )
            gradients = torch.autograd.grad(total, list(weights.values()), allow_unused=True)
            for name, gradient in zip(weights, gradients, strict=True):
                if gradient is not None:
                    sums[name] += gradient.square()
            seen += len(batch[0])
    return {name: total / max(1, seen) for name, total in sums.items()}
