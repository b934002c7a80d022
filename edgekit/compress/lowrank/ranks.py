"""Which ranks a network's layers may have, what each keeps of its layer's outputs, and the plan at one share of them.

Ranks are chosen by energy, and energy is the outputs' own: the share of the variance of what a layer gives on training
samples that is still there behind its factors. One share for all layers makes the relative error that each adds
alike, whatever its weights' scale; a weight's own singular values would keep directions that no input has.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgekit.compress.base import run_watched
from edgekit.compress.folding import folded
from edgekit.compress.lowrank.applying import counted, factorizable, forms_of
from edgekit.compress.lowrank.factors import factor_layers, full_ranks, kept_shares
from edgekit.compress.lowrank.moments import InputMoments, input_moments
from edgekit.compress.lowrank.plan import FactorForm, FactorStep, LowRankPlan
from edgekit.compress.pruning.cost import layer_macs

if TYPE_CHECKING:
    import torch

    from edgekit.compress.base import Example

__all__ = ["RankOption", "chosen_steps", "plan_of", "rank_options"]

FRACTIONS = (0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875)
"""Of the MACs of a k x k convolution: the ranks that are tried are those whose factors take about so much."""

MOST_SHARE = 0.9
"""Of a layer's MACs: factors that take more are not worth two calls."""

MOST_RANKS = 32
"""Of one layer that are looked at."""


@dataclass(frozen=True)
class RankOption:
    """One way to factorize one layer. `macs`: of its factors, for one sample; `saved`: that it goes without.

    `kept`: the share of the variance of the layer's outputs that the factors keep, on training samples.
    """

    step: FactorStep
    macs: int
    saved: int
    kept: float


def rank_options(
    module: torch.nn.Module, example: Example, batches: Sequence[tuple[torch.Tensor, ...]], round_to: int
) -> tuple[RankOption, ...]:
    """All that may be done to the network's layers, one at a time; ranks in multiples of `round_to`.

    `batches`: inputs of training samples. Of linear layers and 1x1 convolutions the share is exact for the shrunk
    covariance; other convolutions run in each form on the samples.
    """
    module = folded(module).eval()
    layers = factorizable(module, example)
    moments = input_moments(module, layers, batches)
    macs = {layer.layer: layer.macs for layer in layer_macs(module, example)}
    options: list[RankOption] = []
    tried: dict[str, list[tuple[FactorStep, int]]] = {}
    for name, layer in layers.items():
        if name not in moments:
            continue
        for form in forms_of(layer):
            steps = [(step, round(macs[name] * share)) for step, share in _steps(name, layer, form, round_to)]
            if form == "svd" and steps:
                shares = kept_shares(layer, moments[name])
                options += [
                    RankOption(step, cost, macs[name] - cost, float(shares[step.ranks[0] - 1]))
                    for step, cost in steps
                ]
            elif steps:
                tried.setdefault(name, []).extend(steps)
    errors = _errors(module, {name: layers[name] for name in tried}, tried, moments, batches)
    options += [
        RankOption(step, cost, macs[name] - cost, 1.0 - error)
        for name, steps in tried.items()
        for (step, cost), error in zip(steps, errors[name], strict=True)
    ]
    return tuple(options)


def chosen_steps(
    options: Sequence[RankOption],
    energy: float,
    cost: Callable[[RankOption], float] = lambda option: option.macs,
) -> dict[str, RankOption]:
    """Of each layer the cheapest way that keeps at least that share of its outputs' variance, by layer.

    `cost`: what is compared between the options of a layer.
    """
    chosen: dict[str, RankOption] = {}
    for option in options:
        now = chosen.get(option.step.layer)
        if option.kept >= energy and (now is None or (cost(option), -option.kept) < (cost(now), -now.kept)):
            chosen[option.step.layer] = option
    return chosen


def plan_of(module: torch.nn.Module, example: Example, steps: Sequence[FactorStep]) -> LowRankPlan:
    """The steps with what the network multiplies before and after. Raises StageError where they do not fit."""
    return counted(folded(module), example, tuple(steps))


def _steps(name: str, layer: Any, form: FactorForm, round_to: int) -> list[tuple[FactorStep, float]]:
    """The steps in that form that are worth trying, each with its share of the layer's MACs."""
    full = full_ranks(layer, form)
    if form == "tucker":
        channels, out = full
        scaled = [
            tuple(max(round_to, round(share**0.5 * width / round_to) * round_to) for width in (channels, out))
            for share in FRACTIONS
        ]
        ranks = [pair for pair in dict.fromkeys(scaled) if pair[0] < channels and pair[1] < out]
    else:
        most = [
            rank for rank in range(round_to, full[0], round_to) if _share(layer, form, (rank,)) <= MOST_SHARE
        ]
        every = -(-len(most) // MOST_RANKS) if form == "svd" else -(-len(most) // len(FRACTIONS))
        ranks = [(rank,) for rank in most[:: max(1, every)]]
    shares = [(pair, _share(layer, form, pair)) for pair in ranks]
    return [(FactorStep(name, form, tuple(pair)), share) for pair, share in shares if share <= MOST_SHARE]


def _share(layer: Any, form: FactorForm, ranks: tuple[int, ...]) -> float:
    """Of the layer's own MACs that the factors take. A stride makes the first of several work on more positions."""
    out, channels, *kernel = (int(size) for size in layer.weight.shape)
    if form == "svd":
        return ranks[0] * (out + channels) / (out * channels)
    height, width = kernel
    whole = out * channels * height * width
    down, across = int(layer.stride[0]), int(layer.stride[1])
    if form == "spatial":
        return ranks[0] * (channels * height * across + out * width) / whole
    rank_in, rank_out = ranks
    taken = channels * rank_in * down * across + rank_in * rank_out * height * width + rank_out * out
    return taken / whole


def _errors(
    module: torch.nn.Module,
    layers: Mapping[str, Any],
    tried: Mapping[str, Sequence[tuple[FactorStep, int]]],
    moments: Mapping[str, InputMoments],
    batches: Sequence[tuple[torch.Tensor, ...]],
) -> dict[str, list[float]]:
    """Of each step the squared error of its layer's outputs by their variance, on the layer's own inputs."""

    factors = {
        name: [factor_layers(layers[name], step, moments[name]).eval() for step, _ in steps]
        for name, steps in tried.items()
    }
    wrong = {name: [0.0] * len(steps) for name, steps in tried.items()}
    sums: dict[str, torch.Tensor] = {}
    squares: dict[str, float] = {}
    counts: dict[str, int] = {}

    def watching(name: str) -> Any:
        def watch(layer: Any, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
            sums[name] = sums.get(name, 0) + output.double().sum((0, 2, 3))
            squares[name] = squares.get(name, 0.0) + float(output.double().square().sum())
            counts[name] = counts.get(name, 0) + output.numel() // output.shape[1]
            for index, factor in enumerate(factors[name]):
                wrong[name][index] += float((factor(inputs[0]) - output).double().square().sum())

        return watch

    hooks = [layer.register_forward_hook(watching(name)) for name, layer in layers.items()]
    run_watched(module, hooks, batches)
    spreads = {name: squares[name] - float(sums[name].square().sum()) / counts[name] for name in counts}
    return {
        name: [error / max(spreads.get(name, 0.0), 1e-30) for error in errors]
        for name, errors in wrong.items()
    }
