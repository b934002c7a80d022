"""Rounding to integers that gradients go through. Imports torch: loaded by functions only.

Straight-through in the tensor, as learned step sizes in its range: Esser et al. 2020, "Learned Step Size Quantization"
(arXiv:1902.08153), section 2.1, with the zero point of Bhalgat et al. 2020, "LSQ+" (arXiv:2004.09576), section 3.
"""

from __future__ import annotations

from typing import Any

import torch

__all__ = [
    "LEVELS",
    "clipped",
    "rounded",
    "rounded_bias",
    "rounded_by_channel",
    "rounded_weights",
    "weight_scale",
]

LEVELS = 255
"""Steps between the least and the largest of 256 integers."""


class _Rounded(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, scale: torch.Tensor, zero_point: torch.Tensor) -> torch.Tensor:
        step, zero = float(scale), float(zero_point)
        y = torch.mul(x, 1.0 / step).round_().clamp_(-zero, LEVELS - zero).mul_(step)
        ctx.save_for_backward(x, y)
        ctx.grid = step, zero
        return y

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """With y = s (clip(round(x / s) + z) - z): dy/ds = (y - x) / s where nothing is clipped, else y / s; dy/dz = 0,
        else -s."""
        (grad,) = grads
        x, y = ctx.saved_tensors
        step, zero = ctx.grid
        low, high = (-zero - 0.5) * step, (LEVELS - zero + 0.5) * step
        passed = torch.ops.aten.hardtanh_backward(grad, x, low, high)
        by_scale = ((grad * y).sum() - (passed * x).sum()) / step
        by_zero = (passed.sum() - grad.sum()) * step
        return passed, by_scale, by_zero


def rounded(x: torch.Tensor, low: torch.Tensor, high: torch.Tensor) -> torch.Tensor:
    """`x` on the grid of 256 integers from `low` (0 or less) to `high` (above it), two scalars, zero among them."""
    scale, zero_point = _parameters(low, high)
    y: torch.Tensor = _Rounded.apply(x, scale, zero_point)  # type: ignore[no-untyped-call]
    return y


def clipped(x: torch.Tensor, low: torch.Tensor, high: torch.Tensor) -> torch.Tensor:
    """`x` between the ends of the grid that `rounded` has."""
    scale, zero_point = _parameters(low, high)
    ends = -zero_point * scale, (LEVELS - zero_point) * scale
    return torch.minimum(torch.maximum(x, ends[0].to(x.dtype)), ends[1].to(x.dtype))


class _RoundedByChannel(torch.autograd.Function):
    """As `_Rounded`, with a scale and a zero point for each place along an axis."""

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, scale: torch.Tensor, zero_point: torch.Tensor, axis: int
    ) -> torch.Tensor:
        shape = [-1 if place == axis else 1 for place in range(x.ndim)]
        step, zero = scale.float().view(shape), zero_point.float().view(shape)
        integers = torch.mul(x, 1.0 / step).round_()
        y = torch.minimum(torch.maximum(integers, -zero), LEVELS - zero).mul_(step)
        ctx.save_for_backward(x, y, step, zero)
        ctx.others = [place for place in range(x.ndim) if place != axis]
        ctx.kinds = scale.dtype, zero_point.dtype
        return y

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, None]:
        (grad,) = grads
        x, y, step, zero = ctx.saved_tensors
        inside = (x > (-zero - 0.5) * step) & (x < (LEVELS - zero + 0.5) * step)
        passed = grad * inside
        by_scale = ((grad * y).sum(ctx.others) - (passed * x).sum(ctx.others)) / step.flatten()
        by_zero = (passed.sum(ctx.others) - grad.sum(ctx.others)) * step.flatten()
        return passed, by_scale.to(ctx.kinds[0]), by_zero.to(ctx.kinds[1]), None


def rounded_by_channel(x: torch.Tensor, low: torch.Tensor, high: torch.Tensor, axis: int) -> torch.Tensor:
    """As `rounded`, each channel along `axis` by its own range; `low`, `high`: [channels]."""
    scale, zero_point = _parameters(low, high)
    y: torch.Tensor = _RoundedByChannel.apply(x, scale, zero_point, axis)  # type: ignore[no-untyped-call]
    return y


def _parameters(low: torch.Tensor, high: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    low, high = low.double(), high.double()  # as `affine_parameters` computes: the same zero point, always
    scale = (high - low) / LEVELS
    exact = -low / scale
    return scale, exact + (exact.round() - exact).detach()


def rounded_weights(weight: torch.Tensor, axis: int | None, bits: int) -> torch.Tensor:
    """Weights on the grid of `quantize.simulate.fake_quantize_weights`, straight through; `axis` None: one scale."""
    with torch.no_grad():
        largest, scale = _largest(bits), weight_scale(weight, axis, bits)
        difference = (weight / scale).round_().clamp_(-largest, largest).mul_(scale).sub_(weight)
    return weight + difference


def weight_scale(weight: torch.Tensor, axis: int | None, bits: int) -> torch.Tensor:
    """Of each channel along `axis`, in a form that broadcasts over the weights; `axis` None: of all of them."""
    with torch.no_grad():
        others = [other for other in range(weight.ndim) if axis is None or other != axis]
        edge = weight.abs().amax(others, keepdim=True) if others else weight.abs()
        return torch.where(edge > 0, edge, torch.ones_like(edge)) / _largest(bits)


def rounded_bias(bias: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """A bias [output channels] as runtimes add it: in 32 bits, on the scale of the sums (input × weights)."""
    with torch.no_grad():
        step = scale.reshape(-1).to(torch.float64)
        difference = (bias.to(torch.float64) / step).round_().mul_(step).to(bias.dtype).sub_(bias)
    return bias + difference


def _largest(bits: int) -> int:
    return 127 if bits == 8 else 2 ** (bits - 1)
