"""A factorized network: which layers can be taken apart, and the network with factors in their place."""

from __future__ import annotations

import copy
import difflib
import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from edgekit.compress.base import Samples, example_tensors, whole_batches
from edgekit.compress.folding import folded
from edgekit.compress.lowrank.factors import factor_layers, full_ranks
from edgekit.compress.lowrank.moments import InputMoments, input_moments
from edgekit.compress.lowrank.plan import FactorForm, FactorStep, LowRankPlan
from edgekit.compress.pruning.cost import network_macs
from edgekit.compress.pruning.soundness import output_shapes
from edgekit.errors import StageError, UserError, in_one_line

if TYPE_CHECKING:
    import torch

    from edgekit.compress.base import Example

__all__ = ["apply_low_rank", "asked_ranks", "counted", "factorizable", "forms_of", "sample_batches"]

SAMPLES = 512
"""Training samples that decide what a factor keeps."""

BATCH = 64

_FORWARD_ERRORS = (RuntimeError, ValueError, IndexError, TypeError, AssertionError, AttributeError)


def forms_of(layer: Any) -> tuple[FactorForm, ...]:
    """The forms that a layer can be factorized in; none for what is no linear layer or plain 2-D convolution."""
    import torch

    if type(layer) is torch.nn.Linear:
        return ("svd",)
    plain = type(layer) is torch.nn.Conv2d and layer.groups == 1 and layer.padding_mode == "zeros"
    if not plain or isinstance(layer.padding, str):
        return ()
    if tuple(layer.kernel_size) == (1, 1):
        return ("svd",)
    return ("spatial", "tucker") if min(layer.kernel_size) > 1 else ("tucker",)


def factorizable(module: torch.nn.Module, example: Example) -> dict[str, Any]:
    """The layers that can be factorized, by name; `module` is folded.

    Left out: what the network does not call as a layer (it reads the weights itself), and weights that several hold.
    """
    import torch

    trial = copy.deepcopy(module).eval()
    inputs = example_tensors(example)
    owners: dict[int, int] = {}
    for _, parameter in trial.named_parameters(remove_duplicate=False):
        owners[id(parameter)] = owners.get(id(parameter), 0) + 1
    called: set[str] = set()
    layers = {name: layer for name, layer in trial.named_modules() if name and forms_of(layer)}
    handles = [
        layer.register_forward_hook(lambda *_, name=name: called.add(name)) for name, layer in layers.items()
    ]
    with torch.no_grad():
        trial(*inputs)
        for handle in handles:
            handle.remove()
        fitting = []
        for name, layer in layers.items():
            if name not in called or owners[id(layer.weight)] > 1:
                continue
            try:
                _put(trial, name, torch.nn.Sequential(layer))
                trial(*inputs)
                fitting.append(name)
            except _FORWARD_ERRORS:  # it asks the layer for more than its outputs
                pass
            finally:
                _put(trial, name, layer)
    return {name: module.get_submodule(name) for name in fitting}


def sample_batches(samples: Samples, seed: int = 0) -> list[tuple[torch.Tensor, ...]]:
    """The inputs of up to 512 of the samples, in an order of `seed`."""
    batches = whole_batches(samples, BATCH, seed)
    return list(itertools.islice(batches, max(1, SAMPLES // min(BATCH, len(samples)))))


def apply_low_rank(
    module: torch.nn.Module,
    example: Example,
    plan: LowRankPlan,
    batches: Sequence[tuple[torch.Tensor, ...]] | None = None,
) -> torch.nn.Module:
    """A copy of the original `module` with the plan's layers factorized, in eval mode; `module` is left as it is.

    `batches`: inputs by which the factors are chosen; without them they are 0, for weights that are loaded. Raises
    StageError when the plan does not fit or the network does not run.
    """
    network = copy.deepcopy(folded(module)).eval()
    before = output_shapes(network, example)
    layers = {step.layer: _layer(network, step) for step in plan.steps}
    moments: dict[str, InputMoments] = {} if batches is None else input_moments(network, layers, batches)
    for step in plan.steps:
        if batches is not None and step.layer not in moments:
            raise StageError("low rank", f"{step.layer} is not called")
        _put(network, step.layer, factor_layers(layers[step.layer], step, moments.get(step.layer)))
    try:
        after = output_shapes(network, example)
    except _FORWARD_ERRORS as error:
        raise StageError("low rank", f"the factorized network does not run: {in_one_line(error)}") from error
    if after != before:
        raise StageError("low rank", f"factors change the output shapes from {before} to {after}")
    return network.eval()


def asked_ranks(
    module: torch.nn.Module, example: Example, ranks: Sequence[tuple[str, tuple[int, ...]]]
) -> LowRankPlan:
    """The plan of (layer, ranks): one rank for a linear layer, a 1x1 convolution, or k x 1 and 1 x k; two for Tucker-2.

    Raises UserError in one line for a layer that is none or cannot be factorized, and for a rank that is full or more.
    """
    module = folded(module)
    layers = factorizable(module, example)
    steps = []
    for name, wanted in ranks:
        if name not in layers:
            near = difflib.get_close_matches(name, layers, n=1, cutoff=0.4)
            raise UserError(
                f"low rank: {name!r} is no layer that can be factorized",
                allowed=", ".join(layers) or "none here",
                remedy=f"did you mean {near[0]!r}?" if near else "",
            )
        fitting = [form for form in forms_of(layers[name]) if len(wanted) == (2 if form == "tucker" else 1)]
        if not fitting:
            as_what = "one rank" if len(wanted) == 2 else "two ranks, as 16x16 (channels in, channels out)"
            raise UserError(f"low rank: {name} has {len(wanted)} ranks", allowed=as_what)
        full = full_ranks(layers[name], fitting[0])
        if any(rank >= most for rank, most in zip(wanted, full, strict=True)):
            raise UserError(
                f"low rank: {name} has a full rank of {'x'.join(map(str, full))}, and "
                f"{'x'.join(map(str, wanted))} would not be lower",
                allowed=f"up to {'x'.join(str(most - 1) for most in full)}",
            )
        steps.append(FactorStep(name, fitting[0], wanted))
    return counted(module, example, tuple(steps))


def counted(module: torch.nn.Module, example: Example, steps: tuple[FactorStep, ...]) -> LowRankPlan:
    """The steps with what the network multiplies before and after; `module` is folded."""
    before = network_macs(module, example)
    after = network_macs(apply_low_rank(module, example, LowRankPlan(steps)), example)
    return LowRankPlan(steps, before, after)


def _layer(network: torch.nn.Module, step: FactorStep) -> Any:
    try:
        layer: Any = network.get_submodule(step.layer)
    except AttributeError as error:
        raise StageError("low rank", f"the plan wants {step.layer}: no such layer") from error
    if step.form not in forms_of(layer):
        raise StageError("low rank", f"the plan wants {step.layer} as {step.form}, which it cannot be")
    return layer


def _put(network: torch.nn.Module, name: str, layer: torch.nn.Module) -> None:
    parent, _, last = name.rpartition(".")
    setattr(network.get_submodule(parent), last, layer)
