"""What a layer reads on samples: mean and covariance of its input channels, by which a factorization's error counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgekit.compress.base import run_watched

if TYPE_CHECKING:
    import torch

__all__ = ["InputMoments", "input_moments"]

WIDEST = 4096
"""Input channels of which a whole covariance is held (128 MiB); of more, variances alone."""


@dataclass(frozen=True)
class InputMoments:
    """Of a layer's input channels, float64: `mean` [I], `covariance` [I, I], both over samples and positions.

    Of very many channels `covariance` is [I], their variances.
    """

    mean: torch.Tensor
    covariance: torch.Tensor


def input_moments(
    module: torch.nn.Module, layers: Mapping[str, Any], batches: Sequence[tuple[torch.Tensor, ...]]
) -> dict[str, InputMoments]:
    """Of each of `layers` (name → linear layer or 2-D convolution of `module`) on `batches` of inputs [N, ...].

    Layers that are not called are left out. Covariances are shrunk towards a multiple of the identity: few samples
    leave directions unseen, in which weights would be thrown away.
    """
    import torch

    sums: dict[str, torch.Tensor] = {}
    squares: dict[str, torch.Tensor] = {}
    counts: dict[str, int] = {}

    def watching(name: str) -> Any:
        def watch(layer: Any, inputs: tuple[torch.Tensor, ...]) -> None:
            rows = _rows(layer, inputs[0])
            sums[name] = sums.get(name, 0) + rows.sum(0, dtype=torch.float64)
            square = rows.T @ rows if rows.shape[1] <= WIDEST else rows.square().sum(0)
            squares[name] = squares.get(name, 0) + square.double()
            counts[name] = counts.get(name, 0) + len(rows)

        return watch

    hooks = [layer.register_forward_pre_hook(watching(name)) for name, layer in layers.items()]
    run_watched(module, hooks, batches)
    samples = sum(len(batch[0]) for batch in batches)
    moments = {}
    for name, count in counts.items():
        mean = sums[name] / count
        square = squares[name] / count
        if square.ndim == 1:
            moments[name] = InputMoments(mean, (square - mean.square()).clamp_min(0.0))
        else:
            moments[name] = InputMoments(mean, _shrunk(square - torch.outer(mean, mean), samples))
    return moments


def _rows(layer: Any, values: torch.Tensor) -> torch.Tensor:
    """[positions, channels], float32."""
    import torch

    if isinstance(layer, torch.nn.Linear):
        return values.detach().float().reshape(-1, values.shape[-1])
    return values.detach().float().movedim(1, -1).reshape(-1, values.shape[1])


def _shrunk(covariance: torch.Tensor, samples: int) -> torch.Tensor:
    """Oracle approximating shrinkage (Chen, Wiesel, Eldar and Hero, IEEE Trans. Signal Processing 58, 2010, eq. 23).

    Positions of one sample are alike, so they count as one.
    """
    import torch

    width = len(covariance)
    trace = float(covariance.trace())
    scale = trace / width
    identity = torch.eye(width, dtype=covariance.dtype)
    if not scale > 0.0:  # a constant input: no direction is better known than another
        return identity
    squared = float((covariance * covariance).sum())
    wanted = (1 - 2 / width) * squared + trace**2
    known = (samples + 1 - 2 / width) * (squared - trace**2 / width)
    share = 1.0 if known <= 0.0 else min(1.0, max(0.0, wanted / known))
    return (1 - share) * covariance + share * scale * identity
