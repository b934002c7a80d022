"""A layer's weight taken apart into factors whose product moves its outputs least, on inputs with known moments.

Weights are multiplied by a square root of the inputs' covariance first, so that what a truncated singular value
decomposition throws away is the outputs' own variance and not that of weights: exactly for linear layers and 1x1
convolutions (Zhang et al., TPAMI 2016; DRONE: Chen et al., NeurIPS 2021), and for others where neighbouring positions
vary apart. What the factors lose of the mean goes into the last one's bias.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgekit.compress.lowrank.plan import FactorStep
from edgekit.errors import StageError

if TYPE_CHECKING:
    import torch

    from edgekit.compress.lowrank.moments import InputMoments

__all__ = ["factor_layers", "full_ranks", "kept_shares"]

SMALLEST = 1e-6
"""Of the covariance's largest eigenvalue: the floor of all, so that it can be inverted."""


def full_ranks(layer: Any, form: str) -> tuple[int, ...]:
    """The ranks at which a product is as general as the weight itself."""
    weight = layer.weight
    if form == "svd":
        return (min(weight.shape[0], weight.shape[1]),)
    if form == "spatial":
        out, channels, height, width = weight.shape
        return (min(channels * height, out * width),)
    return weight.shape[1], weight.shape[0]


def factor_layers(layer: Any, step: FactorStep, moments: InputMoments | None) -> torch.nn.Sequential:
    """The factors, one after the other, in the layer's place. Without `moments`: the structure, with weights of 0.

    `layer`: a linear layer or a 2-D convolution without groups. Raises StageError where a rank is none.
    """
    import torch

    full = full_ranks(layer, step.form)
    if any(not 1 <= rank < most for rank, most in zip(step.ranks, full, strict=True)):
        most_text = "x".join(str(most - 1) for most in full)
        raise StageError("low rank", f"{step.text()}: the ranks of {step.layer} may be up to {most_text}")
    factors = _structure(layer, step)
    with torch.no_grad():
        weights = [torch.zeros_like(factor.weight) for factor in factors]
        bias = torch.zeros_like(factors[-1].bias)
        if moments is not None:
            weights = [part.to(layer.weight) for part in _weights(layer, step, moments)]
            bias = _bias(layer, weights, moments)
        for factor, weight in zip(factors, weights, strict=True):
            factor.weight.copy_(weight.reshape(factor.weight.shape))
        factors[-1].bias.copy_(bias)
    return torch.nn.Sequential(*factors).train(layer.training)


def kept_shares(layer: Any, moments: InputMoments) -> torch.Tensor:
    """[r - 1]: the share of the outputs' variance that rank r keeps; of linear layers and 1x1 convolutions. float64."""
    import torch

    root, _ = _roots(_moment(layer, moments))
    values = torch.linalg.svdvals(_times(layer.weight.detach().double().flatten(1), root)).square()
    shares: torch.Tensor = values.cumsum(0) / values.sum().clamp_min(1e-300)
    return shares


def _structure(layer: Any, step: FactorStep) -> list[Any]:
    """The factors with any weights; only the last one has a bias, whatever the layer had."""
    import torch

    if isinstance(layer, torch.nn.Linear):
        rank = step.ranks[0]
        first = torch.nn.Linear(layer.in_features, rank, bias=False)
        return [part.to(layer.weight) for part in (first, torch.nn.Linear(rank, layer.out_features))]
    channels, out = layer.in_channels, layer.out_channels
    kernel, stride, padding, dilation = layer.kernel_size, layer.stride, layer.padding, layer.dilation
    conv = torch.nn.Conv2d
    if step.form == "svd":
        rank = step.ranks[0]
        parts = [conv(channels, rank, 1, stride, padding, bias=False), conv(rank, out, 1)]
    elif step.form == "spatial":
        rank = step.ranks[0]
        down = conv(
            channels, rank, (kernel[0], 1), (stride[0], 1), (padding[0], 0), (dilation[0], 1), bias=False
        )
        parts = [down, conv(rank, out, (1, kernel[1]), (1, stride[1]), (0, padding[1]), (1, dilation[1]))]
    else:
        rank_in, rank_out = step.ranks
        core = conv(rank_in, rank_out, kernel, stride, padding, dilation, bias=False)
        parts = [conv(channels, rank_in, 1, bias=False), core, conv(rank_out, out, 1)]
    return [part.to(layer.weight) for part in parts]


def _weights(layer: Any, step: FactorStep, moments: InputMoments) -> list[torch.Tensor]:
    """Of the factors in their order, float64, in any shape of as many entries."""
    import torch

    weight = layer.weight.detach().double()
    root, inverse = _roots(_moment(layer, moments))
    if step.form == "svd":
        first, last = _halves(_times(weight.flatten(1), root), step.ranks[0])
        return [_times(first, inverse), last]
    if root.ndim == 1:
        root, inverse = root.diag(), inverse.diag()
    out, channels, height, width = weight.shape
    seen = torch.einsum("oihw,ij->ojhw", weight, root)
    if step.form == "spatial":
        rank = step.ranks[0]
        first, last = _halves(seen.permute(0, 3, 1, 2).reshape(out * width, channels * height), rank)
        down = torch.einsum("rjh,ji->rih", first.reshape(rank, channels, height), inverse)
        return [down, last.reshape(out, width, rank).transpose(1, 2)]
    rank_in, rank_out = step.ranks
    left = torch.linalg.svd(seen.flatten(1), full_matrices=False).U[:, :rank_out]
    right = torch.linalg.svd(seen.transpose(0, 1).flatten(1), full_matrices=False).U[:, :rank_in]
    core = torch.einsum("oihw,op,iq->pqhw", seen, left, right)
    return [right.T @ inverse, core, left]


def _moment(layer: Any, moments: InputMoments) -> torch.Tensor:
    """The covariance; where zeros are padded, with the mean as one direction more.

    At an image's edge the mean is seen in part, which no bias makes good.
    """
    import torch

    covariance, mean = moments.covariance, moments.mean
    if not any(getattr(layer, "padding", ())):
        return covariance
    return covariance + (mean.square() if covariance.ndim == 1 else torch.outer(mean, mean))


def _halves(matrix: torch.Tensor, rank: int) -> tuple[torch.Tensor, torch.Tensor]:
    """[rank, columns] and [rows, rank], whose product is nearest to `matrix`; the singular values are shared out."""
    import torch

    left, values, right = torch.linalg.svd(matrix, full_matrices=False)
    shared = values[:rank].sqrt()
    return shared[:, None] * right[:rank], left[:, :rank] * shared


def _roots(covariance: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """A symmetric square root, and its inverse; of variances alone, both are their diagonals."""
    import torch

    if covariance.ndim == 1:
        values = covariance.clamp_min(max(SMALLEST * float(covariance.max()), 1e-300)).sqrt()
        return values, 1.0 / values
    values, vectors = torch.linalg.eigh(covariance)
    values = values.clamp_min(max(SMALLEST * float(values[-1]), 1e-300)).sqrt()
    return (vectors * values) @ vectors.T, (vectors / values) @ vectors.T


def _times(matrix: torch.Tensor, root: torch.Tensor) -> torch.Tensor:
    """[rows, I] by a root of the covariance, or by its diagonal."""
    return matrix * root if root.ndim == 1 else matrix @ root


def _bias(layer: Any, weights: list[torch.Tensor], moments: InputMoments) -> torch.Tensor:
    """The layer's own, and what its factors lose of the mean output; at an image's edge that is less than it says."""
    mean = moments.mean.to(layer.weight)
    before = layer.weight.detach().flatten(2).sum(2) if layer.weight.ndim > 2 else layer.weight.detach()
    after = mean
    for weight in weights[:-1]:
        after = _summed(weight) @ after
    lost: torch.Tensor = before @ mean - _summed(weights[-1]) @ after
    return lost if layer.bias is None else lost + layer.bias.detach()


def _summed(weight: torch.Tensor) -> torch.Tensor:
    """[out, in]: over the kernel's positions."""
    return weight.flatten(2).sum(2) if weight.ndim > 2 else weight
