"""Which channels depend on each other. The only module that touches torch-pruning.

torch-pruning traces the autograd graph. Its objects are built afresh for every question (its defaults are
mutable and leak between instances), kept quiet, and never leave this module.
"""

from __future__ import annotations

import contextlib
import copy
import io
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from edgekit.compress.base import example_tensors
from edgekit.errors import MissingExtraError, StageError, in_one_line

if TYPE_CHECKING:
    import torch

    from edgekit.compress.base import Example
    from edgekit.compress.pruning.plan import PrunePlan

__all__ = ["ChannelGroup", "Member", "apply_steps", "channel_groups"]

_TRACE_ERRORS = (RuntimeError, ValueError, IndexError, TypeError, AssertionError, AttributeError, KeyError)


@dataclass(frozen=True)
class Member:
    """One layer of a group. `channels[i]` are the layer's channels that go when the group's channel i goes.

    role: "out" makes the channels (convolution, linear), "in" reads them, "through" carries them on
    (batch norm, depthwise convolution, PReLU). `norm` names the batch norm behind a maker.
    """

    layer: str
    role: Literal["out", "in", "through"]
    channels: tuple[tuple[int, ...], ...]
    norm: str | None = None


@dataclass(frozen=True)
class ChannelGroup:
    """`width` channels that must be pruned together, named by `layer`, the first layer to make them."""

    layer: str
    width: int
    members: tuple[Member, ...]

    @property
    def makers(self) -> tuple[Member, ...]:
        """Members that make the channels; more than one where a residual adds them up."""
        return tuple(member for member in self.members if member.role == "out")

    @property
    def readers(self) -> tuple[Member, ...]:
        """Members that read the channels."""
        return tuple(member for member in self.members if member.role == "in")


def channel_groups(module: torch.nn.Module, example: Example) -> tuple[ChannelGroup, ...]:
    """All groups that torch-pruning sees and edgekit can handle, in the order of their first layers.

    Not yet checked for soundness (see verify.py). Groups with grouped (not depthwise) convolutions, attention
    modules, recurrent layers or bare parameters are left out. Raises StageError when tracing fails.
    """
    traced = copy.deepcopy(module)
    with _traced_graph(traced, example) as graph:
        names = {layer: name for name, layer in traced.named_modules()}
        groups: list[ChannelGroup] = []
        seen: set[str] = set()
        for name, layer in traced.named_modules():
            if not _is_maker(layer) or name in seen or layer not in graph.module2node:
                continue
            items = graph.get_pruning_group(layer, _out_handler(graph, layer), list(range(_width(layer))))
            group = _read_group(name, layer, items, names)
            if group is not None:
                seen.update(member.layer for member in group.makers)
                groups.append(group)
    return tuple(groups)


def apply_steps(module: torch.nn.Module, example: Example, plan: PrunePlan) -> torch.nn.Module:
    """A pruned copy of `module`: weights sliced, eval mode. Raises StageError when the plan does not fit."""
    pruned = copy.deepcopy(module)
    if not plan.steps:
        return pruned.eval()
    with _traced_graph(pruned, example) as graph:
        layers = dict(pruned.named_modules())
        for step in plan.steps:
            layer = layers.get(step.layer)
            if layer is None or not _is_maker(layer) or _width(layer) != step.width:
                actual = "no such layer" if layer is None else type(layer).__name__
                raise StageError("prune", f"the plan wants {step.layer} with {step.width} channels: {actual}")
            if step.removed:
                graph.get_pruning_group(layer, _out_handler(graph, layer), list(step.removed)).prune()
    return pruned.eval()


@contextlib.contextmanager
def _traced_graph(module: torch.nn.Module, example: Example) -> Iterator[Any]:
    import torch

    try:
        import torch_pruning
    except ModuleNotFoundError as error:
        raise MissingExtraError("torch-pruning", "torch") from error
    for parameter in module.parameters():
        if parameter.is_floating_point():
            parameter.requires_grad_(True)
    device = next((str(parameter.device) for parameter in module.parameters()), "cpu")
    with (
        warnings.catch_warnings(),
        contextlib.redirect_stdout(io.StringIO()),
        torch.inference_mode(False),
        torch.enable_grad(),
    ):
        warnings.simplefilter("ignore")
        try:
            graph = torch_pruning.DependencyGraph().build_dependency(
                module.eval(),
                example_inputs=example_tensors(example, device),
                ignored_layers=[],
                ignored_params=[],
            )
            yield graph
        except _TRACE_ERRORS as error:
            cause = f"{type(error).__name__}: {in_one_line(error)}"
            raise StageError(
                "prune",
                f"the network cannot be traced for pruning ({cause})",
                "build with --no-prune",
            ) from error


def _is_maker(layer: torch.nn.Module) -> bool:
    import torch

    convolutions = (torch.nn.Conv1d, torch.nn.Conv2d, torch.nn.Conv3d)
    transposed = (torch.nn.ConvTranspose1d, torch.nn.ConvTranspose2d, torch.nn.ConvTranspose3d)
    if isinstance(layer, convolutions + transposed):
        return layer.groups == 1
    return isinstance(layer, torch.nn.Linear)


def _is_carrier(layer: torch.nn.Module) -> bool:
    import torch

    if isinstance(layer, (torch.nn.Conv1d, torch.nn.Conv2d, torch.nn.Conv3d)):
        return layer.groups == layer.in_channels == layer.out_channels
    norms = (torch.nn.BatchNorm1d, torch.nn.BatchNorm2d, torch.nn.BatchNorm3d)
    return isinstance(layer, (*norms, torch.nn.PReLU))


def _width(layer: torch.nn.Module) -> int:
    width = layer.out_features if "out_features" in vars(layer) else layer.out_channels
    assert isinstance(width, int)
    return width


def _out_handler(graph: Any, layer: torch.nn.Module) -> Any:
    return graph.get_pruner_of_module(layer).prune_out_channels


def _read_group(
    name: str, layer: torch.nn.Module, items: Any, names: dict[torch.nn.Module, str]
) -> ChannelGroup | None:
    import torch

    width = _width(layer)
    members: dict[tuple[str, str], Member] = {}
    norm_of: dict[str, str] = {}
    for item in items:
        source, target = item.dep.source.module, item.dep.target.module
        if isinstance(target, torch.nn.Parameter):
            return None
        if target not in names:
            continue  # torch-pruning's stand-ins for additions, reshapes, concatenations
        _note_norm(source, target, names, norm_of)
        role = _role(target, item.dep.handler)
        if role is None:
            return None
        channels = _channel_map(width, item.idxs, item.root_idxs)
        members[(names[target], role)] = Member(names[target], role, channels)
    complete = tuple(
        Member(member.layer, member.role, member.channels, norm_of.get(member.layer))
        for member in members.values()
    )
    return ChannelGroup(name, width, complete)


def _role(layer: torch.nn.Module, handler: Any) -> Literal["out", "in", "through"] | None:
    if _is_carrier(layer):
        return "through"
    if not _is_maker(layer):
        return None
    return "in" if handler.__name__ == "prune_in_channels" else "out"


def _note_norm(source: Any, target: Any, names: dict[torch.nn.Module, str], norm_of: dict[str, str]) -> None:
    import torch

    norms = (torch.nn.BatchNorm1d, torch.nn.BatchNorm2d, torch.nn.BatchNorm3d)
    for maker, norm in ((source, target), (target, source)):
        if isinstance(norm, norms) and maker in names and _is_maker(maker) and norm in names:
            norm_of.setdefault(names[maker], names[norm])


def _channel_map(width: int, indices: Sequence[int], roots: Sequence[int]) -> tuple[tuple[int, ...], ...]:
    channels: list[list[int]] = [[] for _ in range(width)]
    for index, root in zip(indices, roots, strict=True):
        channels[root].append(index)
    return tuple(tuple(indices) for indices in channels)
