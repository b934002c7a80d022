"""A block replaced by its skip path: the layers that go are no longer in the network."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from edgekit.compress.depth.skip import SkipPath, Taken

if TYPE_CHECKING:
    import torch

__all__ = ["CallPlace", "make_bypass", "put", "put_aside"]


@dataclass(frozen=True)
class CallPlace:
    """How a block is called: where its input stands among the arguments, and its output in what it returns.

    `given`: a position or a keyword. `holder` and `length`: the tuple or list that the output is returned in, as
    number `index`; the others are None there, since nothing reads them. A `holder` of None: the tensor itself.
    """

    given: int | str
    holder: type | None = None
    index: int = 0
    length: int = 1


def make_bypass(block: torch.nn.Module, path: SkipPath, place: CallPlace) -> torch.nn.Module:
    """A module that takes what `block` takes and returns what it returns, and computes its skip path alone.

    The layers of the path are the block's own, under their own names; so are its plain attributes, which a network may
    ask for, and those of the layers that go (torch's encoder asks its first layer's attention for `batch_first`).
    """
    import torch
    from torch.utils import _pytree

    class Bypass(torch.nn.Module):
        """What is left of a dropped block."""

        def forward(self, *given: Any, **named: Any) -> Any:
            values = {path.source: named[place.given] if isinstance(place.given, str) else given[place.given]}
            for step in path.steps:
                call = self.get_submodule(step.layer) if step.layer else step.function
                arguments, options = _pytree.tree_map(
                    lambda taken: values[taken.result] if isinstance(taken, Taken) else taken,
                    (step.arguments, dict(step.options)),
                )
                values[step.result] = call(*arguments, **options)
            result = values[path.result]
            if place.holder is None:
                return result
            return place.holder(result if at == place.index else None for at in range(place.length))

    bypass = Bypass()
    own = vars(bypass)
    own.update({name: value for name, value in vars(block).items() if name not in own and name != "forward"})
    for name, child in block.named_children():
        if any(layer == name or layer.startswith(f"{name}.") for layer in path.layers):
            bypass.add_module(name, child)
        else:
            own[name] = _facts(child)
    for name, layer in list(bypass.named_modules()):
        if (
            name
            and not any(True for _ in layer.children())
            and layer.state_dict()
            and name not in path.layers
        ):
            put(bypass, name, torch.nn.Identity())
    return bypass.train(block.training)


def _facts(layer: torch.nn.Module) -> SimpleNamespace:
    """The plain attributes of a layer that goes, and of those within it: no weights, no module."""
    import torch

    facts = {
        name: value
        for name, value in vars(layer).items()
        if not name.startswith("_") and not isinstance(value, torch.Tensor)
    }
    return SimpleNamespace(**facts, **{name: _facts(child) for name, child in layer.named_children()})


def put_aside(network: torch.nn.Module, name: str, other: torch.nn.Module) -> torch.nn.Module:
    """Put `other` in the place of submodule `name`; gives what was there."""
    before = network.get_submodule(name)
    put(network, name, other)
    return before


def put(network: torch.nn.Module, name: str, other: torch.nn.Module) -> None:
    """Put `other` in the place of submodule `name`."""
    parent, _, last = name.rpartition(".")
    setattr(network.get_submodule(parent), last, other)
