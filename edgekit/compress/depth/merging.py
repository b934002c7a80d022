"""Convolutions in a chain as one: the activations between them go, and what is left is linear.

Kim et al., "LayerMerge: Neural Network Depth Compression through Layer Pruning and Merging", ICML 2024.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgekit.compress.depth.bypass import put
from edgekit.compress.depth.naming import refuse_unknown
from edgekit.compress.depth.skip import Scopes, products
from edgekit.compress.folding import folded
from edgekit.compress.program import exported_program, operator_name

if TYPE_CHECKING:
    import torch

    from edgekit.compress.base import Example

__all__ = ["ConvolutionChain", "MergedShape", "Mergers", "find_mergers"]

BRANCHED = "what {} gives is read in more than one place"
UNTAGGED = frozenset(("hardswish",))
"""Operators that change each value by itself, though torch does not say so of them."""

MOST_GROWTH = 4.0
"""Times the weights of a chain: more is what depthwise layers with as many channels on both sides become."""

NOT_CHAINED = (
    "{} follows {} by something else than a batch norm and an activation that are layers of their own"
)


@dataclass(frozen=True)
class MergedShape:
    """The one convolution in the place of a chain. kernel, stride, padding: of height and width."""

    channels_in: int
    channels_out: int
    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]


@dataclass(frozen=True)
class ConvolutionChain:
    """A module in which convolutions follow each other, with nothing between them but batch norms and activations.

    `convolutions` in their order, by their names in the network; the merged one stands in the place of the last.
    `norms`: behind each but the last. `shape`: that of the merged one; `growth`: its weights by those of the chain.
    """

    name: str
    convolutions: tuple[str, ...]
    norms: tuple[str | None, ...]
    activations: tuple[str, ...]
    shape: MergedShape
    growth: float

    @property
    def gone(self) -> tuple[str, ...]:
        """Layers that are no longer there once it is merged."""
        inner = [name for name in self.norms if name is not None]
        return (*self.convolutions[:-1], *inner, *self.activations)


@dataclass(frozen=True)
class Mergers:
    """The chains of one network, in the order of its modules. `reasons`: modules that are none → why."""

    chains: tuple[ConvolutionChain, ...]
    reasons: Mapping[str, str]

    @property
    def plausible(self) -> tuple[ConvolutionChain, ...]:
        """Those that a plan may try: one dense layer of so many more weights is slower, and would have to be timed."""
        return tuple(chain for chain in self.chains if chain.growth <= MOST_GROWTH)

    def merged(self, network: torch.nn.Module, names: Collection[str]) -> torch.nn.Module:
        """A copy of the network, in eval mode, with one convolution for each of these chains.

        Raises UserError for a name that is no chain.
        """
        chains = {chain.name: chain for chain in self.chains}
        refuse_unknown(
            names, chains, kind="chain of convolutions that can be merged",
            none="the network has no chain in a module of its own", reasons=self.reasons,
        )  # fmt: skip
        other = copy.deepcopy(network).eval()
        for name in names:
            _merge(other, chains[name])
        return other


def find_mergers(module: torch.nn.Module, example: Example) -> Mergers:
    """All modules whose convolutions can be merged. Of modules in each other the innermost counts.

    Raises StageError when the network cannot be traced.
    """
    module = folded(module)
    scopes = Scopes(module, exported_program(copy.deepcopy(module), example))
    chains: dict[str, ConvolutionChain] = {}
    reasons: dict[str, str] = {}
    order = [name for name, _ in module.named_modules() if name in scopes.inside and name]
    for name in sorted(order, key=lambda name: -name.count(".")):
        if any(other.startswith(f"{name}.") for other in (*chains, *reasons)):
            continue
        told = _Following(scopes, name).chain()
        if isinstance(told, ConvolutionChain):
            chains[name] = told
        elif told:
            reasons[name] = told
    return Mergers(tuple(chains[name] for name in order if name in chains), reasons)


class _Following:
    """From convolution to convolution in one module."""

    def __init__(self, scopes: Scopes, name: str) -> None:
        self._scopes, self._name = scopes, name
        self._inside = scopes.inside[name]

    def chain(self) -> ConvolutionChain | str:
        """The module's chain, or why it is none; "" where there is nothing to merge."""
        import torch

        scopes = self._scopes
        count = products(self._inside)
        if count < 2 or self._name not in scopes.called_once:
            return ""
        first = next(node for node in self._ordered() if products([node]))
        names, norms, activations, node = [], list[str | None](), list[str](), first
        while True:
            name = scopes.innermost[node]
            layer = scopes.modules[name]
            why = (
                _unusable(layer, name) if isinstance(layer, torch.nn.Conv2d) else f"{name} is no convolution"
            )
            if why or name not in scopes.called_once:
                return why or f"{name} is called more than once"
            names.append(name)
            if len(names) == count:
                break
            step = self._next(node)
            if isinstance(step, str):
                return step
            node, norm, passed = step
            norms.append(norm)
            activations += passed
        layers: list[Any] = [scopes.modules[name] for name in names]
        shape = _shape_of(layers)
        weights = shape.channels_in * shape.channels_out * shape.kernel[0] * shape.kernel[1]
        growth = weights / sum(layer.weight.numel() for layer in layers)
        return ConvolutionChain(self._name, tuple(names), tuple(norms), tuple(activations), shape, growth)

    def _ordered(self) -> Iterator[Any]:
        anyone = next(iter(self._inside))
        return (node for node in anyone.graph.nodes if node in self._inside)

    def _next(self, node: Any) -> tuple[Any, str | None, list[str]] | str:
        """The convolution behind one, with the norm and activations between; or why there is none."""
        import torch

        scopes, before = self._scopes, self._scopes.innermost[node]
        norm: str | None = None
        passed: list[str] = []
        while True:
            if len(node.users) != 1:
                return BRANCHED.format(scopes.innermost[node])
            (reader,) = node.users
            name = scopes.innermost.get(reader, "")
            layer = scopes.modules.get(name)
            if reader not in self._inside:
                return f"what {before} gives leaves {self._name}"
            if products([reader]):
                return (reader, norm, passed) if reader.args[0] is node else NOT_CHAINED.format(name, before)
            is_norm = isinstance(layer, torch.nn.BatchNorm2d) and layer.running_mean is not None
            if is_norm and norm is None and not passed and name in scopes.called_once:
                norm, node = name, reader
                continue
            end = self._activation(reader, node)
            if end is None:
                return NOT_CHAINED.format(name or operator_name(reader), before)
            passed.append(name)
            node = end

    def _activation(self, reader: Any, source: Any) -> Any:
        """The last node of a layer that changes each value by itself; None where `reader` begins no such layer."""
        import torch

        scopes, name = self._scopes, self._scopes.innermost.get(reader, "")
        layer = scopes.modules.get(name)
        if layer is None or name not in scopes.called_once or any(True for _ in layer.children()):
            return None
        if scopes.entries(name) != [source] or len(exits := scopes.exits(name)) != 1:
            return None
        pointwise = all(
            torch.Tag.pointwise in getattr(node.target, "tags", ()) or operator_name(node) in UNTAGGED
            for node in scopes.inside[name]
            if node.op == "call_function"
        )
        return exits[0] if pointwise else None


def _unusable(layer: torch.nn.Conv2d, name: str) -> str:
    """Why a convolution cannot be one of several; "" where it can."""
    if set(layer.dilation) != {1}:
        return f"{name} is dilated"
    if layer.padding_mode != "zeros" or isinstance(layer.padding, str):
        return f"{name} pads by {layer.padding_mode if layer.padding_mode != 'zeros' else layer.padding}"
    return ""


def _shape_of(layers: list[Any]) -> MergedShape:
    """Kernels grow by what later ones reach over, paddings add up, strides multiply."""
    kernel, stride, padding = [1, 1], [1, 1], [0, 0]
    for layer in layers:
        for axis in (0, 1):
            kernel[axis] += (layer.kernel_size[axis] - 1) * stride[axis]
            padding[axis] += layer.padding[axis] * stride[axis]
            stride[axis] *= layer.stride[axis]
    return MergedShape(
        layers[0].in_channels, layers[-1].out_channels, (kernel[0], kernel[1]), (stride[0], stride[1]),
        (padding[0], padding[1]),
    )  # fmt: skip


def _merge(network: torch.nn.Module, chain: ConvolutionChain) -> None:
    """In place. Equal to the chain without its activations but at the border: there a layer behind another one pads
    with zeros what the one before would give."""
    import torch

    layers = [network.get_submodule(name) for name in chain.convolutions]
    norms = [network.get_submodule(name) if name is not None else None for name in (*chain.norms, None)]
    with torch.no_grad():
        weight, bias, stride = _dense(layers[0], norms[0])
        for layer, norm in zip(layers[1:], norms[1:], strict=True):
            behind, own, step = _dense(layer, norm)
            bias = own + behind.sum((2, 3)) @ bias
            weight = _composed(behind, weight, stride)
            stride = (stride[0] * step[0], stride[1] * step[1])
        shape = chain.shape
        whole = torch.nn.Conv2d(
            shape.channels_in, shape.channels_out, shape.kernel, shape.stride, shape.padding,
            device=layers[0].weight.device, dtype=layers[0].weight.dtype,
        )  # fmt: skip
        whole.weight.copy_(weight)
        whole.bias.copy_(bias)  # type: ignore[union-attr]
    for name in chain.gone:
        put(network, name, torch.nn.Identity())
    put(network, chain.convolutions[-1], whole.train(network.training))


def _dense(layer: Any, norm: Any) -> tuple[torch.Tensor, torch.Tensor, tuple[int, int]]:
    """Weight [out, in, height, width] without groups and bias [out], a norm behind it folded in; and the stride."""
    import torch

    weight = layer.weight.detach().double()
    if layer.groups > 1:
        made, read = layer.out_channels // layer.groups, weight.shape[1]
        whole = weight.new_zeros(layer.out_channels, layer.in_channels, *weight.shape[2:])
        for group in range(layer.groups):
            rows, columns = slice(group * made, (group + 1) * made), slice(group * read, (group + 1) * read)
            whole[rows, columns] = weight[rows]
        weight = whole
    bias = weight.new_zeros(layer.out_channels) if layer.bias is None else layer.bias.detach().double()
    if norm is not None:
        scale = torch.rsqrt(norm.running_var.double() + norm.eps)
        if norm.affine:
            scale = scale * norm.weight.detach()
        bias = (bias - norm.running_mean) * scale + (norm.bias.detach() if norm.affine else 0.0)
        weight = weight * scale[:, None, None, None]
    return weight, bias, layer.stride


def _composed(behind: torch.Tensor, before: torch.Tensor, stride: tuple[int, int]) -> torch.Tensor:
    """Weight of two convolutions at once, [out, in, height, width]; `stride` is that of all before.

    Σ over the channels between of behind[o, m, v] before[m, i, u] stands at v · stride + u: a transposed convolution.
    """
    import torch

    result: torch.Tensor = torch.nn.functional.conv_transpose2d(behind, before, stride=stride)
    return result
