"""Which blocks of a network can be dropped whole, each proved by trial, and the network without some of them."""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgekit.compress.base import forward_outputs
from edgekit.compress.depth.bypass import CallPlace, make_bypass, put, put_aside
from edgekit.compress.depth.naming import refuse_unknown
from edgekit.compress.depth.skip import Scopes, SkipPath, skip_path
from edgekit.compress.folding import folded
from edgekit.compress.probe import make_probe
from edgekit.compress.program import exported_program

if TYPE_CHECKING:
    import torch

    from edgekit.compress.base import Example

__all__ = ["Depth", "ResidualBlock", "droppable_blocks", "find_depth"]

_FORWARD_ERRORS = (RuntimeError, ValueError, IndexError, TypeError, AssertionError, AttributeError, KeyError)


@dataclass(frozen=True)
class ResidualBlock:
    """A block that can be dropped whole. Blocks do not overlap.

    `layers`: those with weights that go with it; `kept`: those of its shortcut, which stay. All by their names in the
    network.
    """

    name: str
    layers: tuple[str, ...]
    kept: tuple[str, ...] = ()


@dataclass(frozen=True)
class Depth:
    """The droppable blocks of one network, and what replaces each."""

    blocks: tuple[ResidualBlock, ...]
    paths: Mapping[str, SkipPath]
    places: Mapping[str, CallPlace]

    def without(self, network: torch.nn.Module, dropped: Collection[str]) -> torch.nn.Module:
        """A copy of the network (or of one pruned or trained from it) without these blocks, in eval mode.

        Raises UserError for a name that is no droppable block.
        """
        refuse_unknown(
            dropped, [block.name for block in self.blocks], kind="block that can be dropped",
            none="the network has no residual block of its own module",
        )  # fmt: skip
        shallow = copy.deepcopy(network).eval()
        for name in dropped:
            put(shallow, name, make_bypass(shallow.get_submodule(name), self.paths[name], self.places[name]))
        return shallow


def droppable_blocks(module: torch.nn.Module, example: Example) -> tuple[ResidualBlock, ...]:
    """All blocks that `Depth.without` may drop, in the order of the network's modules.

    A block is a submodule, called once, whose one output is its input (or a projecting shortcut of it) plus something
    computed from that input, with equal shapes on both sides; an activation may follow. Where blocks hold blocks, the
    inner ones are droppable; the outer one is, where it adds a sum of its own to a single inner one. Raises StageError
    when the network cannot be traced.
    """
    return find_depth(module, example).blocks


def find_depth(module: torch.nn.Module, example: Example) -> Depth:
    """The droppable blocks with what replaces them: `without` traces no more. Raises StageError like the above."""
    module = folded(module)
    scopes = Scopes(module, exported_program(copy.deepcopy(module), example))
    candidates = {
        name: path
        for name in _by_depth(module)
        if name in scopes.inside and (path := skip_path(scopes, name))
    }
    trial = _Trial(module, example, candidates)
    paths: dict[str, SkipPath] = {}
    places: dict[str, CallPlace] = {}
    for name, path in candidates.items():
        inner = [other for other in paths if other.startswith(f"{name}.")]
        own = path.additions.difference(*(paths[other].additions for other in inner))
        if len(inner) > 1 or not own:
            continue
        place = trial.place_of(name, path)
        if place is not None and trial.runs_without(name, path, place):
            for other in inner:
                del paths[other], places[other]
            paths[name], places[name] = path, place
    blocks = tuple(
        _described(module, name, paths[name]) for name, _ in module.named_modules() if name in paths
    )
    return Depth(blocks, paths, places)


def _by_depth(module: torch.nn.Module) -> list[str]:
    """Names of all submodules, the innermost first; not those of a module that stands in two places."""
    places: dict[int, list[str]] = {}
    for name, submodule in module.named_modules(remove_duplicate=False):
        places.setdefault(id(submodule), []).append(name)
    names = [names[0] for names in places.values() if len(names) == 1 and names[0]]
    return sorted(names, key=lambda name: -name.count("."))


def _described(module: torch.nn.Module, name: str, path: SkipPath) -> ResidualBlock:
    weighted = [
        layer
        for layer, part in module.get_submodule(name).named_modules()
        if part.state_dict() and _owns(part)
    ]
    kept = tuple(f"{name}.{layer}" for layer in weighted if layer in path.layers)
    return ResidualBlock(
        name, tuple(f"{name}.{layer}" for layer in weighted if layer and layer not in path.layers), kept
    )


def _owns(layer: torch.nn.Module) -> bool:
    return any(True for _ in layer.parameters(recurse=False)) or any(
        True for _ in layer.buffers(recurse=False)
    )


class _Trial:
    """A probe of the network, and how each candidate was called in it."""

    def __init__(self, module: torch.nn.Module, example: Example, candidates: Collection[str]) -> None:
        import torch

        self._probe, self._inputs = make_probe(module, example)
        self._calls: dict[str, list[tuple[Any, Any]]] = {name: [] for name in candidates}
        handles = [
            self._probe.get_submodule(name).register_forward_pre_hook(self._noting(name), with_kwargs=True)
            for name in candidates
        ]
        with torch.no_grad():
            self._expected = [forward_outputs(self._probe, self._inputs)]
            for handle in handles:
                handle.remove()
            self._batches = [self._inputs]
            twice = tuple(torch.cat((tensor, tensor)) if tensor.ndim else tensor for tensor in self._inputs)
            try:  # where the network takes two samples at a time, it has to do so without a block too
                self._expected.append(forward_outputs(self._probe, twice))
                self._batches.append(twice)
            except _FORWARD_ERRORS:
                pass

    def _noting(self, name: str) -> Any:
        def note(_: Any, given: tuple[Any, ...], named: dict[str, Any]) -> None:
            self._calls[name].append((_cloned(given), _cloned(named)))

        return note

    def place_of(self, name: str, path: SkipPath) -> CallPlace | None:
        """Where the block's input and output stand, proved: with all weights but the shortcut's at zero, the block
        must give just what its skip path gives. None where it does not.
        """
        import torch

        if len(self._calls[name]) != 1:
            return None
        given, named = self._calls[name][0]
        block = self._probe.get_submodule(name)
        try:
            with torch.no_grad():
                returned = _zeroed(block, path)(*_cloned(given), **_cloned(named))
                for where, tensor in _tensors_of(given, named):
                    if tuple(tensor.shape) != path.shape:
                        continue
                    bypass = make_bypass(copy.deepcopy(block), path, CallPlace(where))
                    wanted = bypass(*_cloned(given), **_cloned(named))
                    for place in _places(where, returned):
                        got = returned if place.holder is None else returned[place.index]
                        if _same(got, wanted):
                            return place
        except _FORWARD_ERRORS:
            return None
        return None

    def runs_without(self, name: str, path: SkipPath, place: CallPlace) -> bool:
        """Whether the network runs without the block, with outputs of the same shapes, and finite ones."""
        import torch

        block = self._probe.get_submodule(name)
        before = put_aside(self._probe, name, make_bypass(copy.deepcopy(block), path, place))
        try:
            with torch.no_grad():
                outputs = [forward_outputs(self._probe, inputs) for inputs in self._batches]
        except _FORWARD_ERRORS:
            return False
        finally:
            put(self._probe, name, before)
        return all(
            len(got) == len(wanted) and all(map(_alike, got, wanted))
            for got, wanted in zip(outputs, self._expected, strict=True)
        )


def _zeroed(block: torch.nn.Module, path: SkipPath) -> torch.nn.Module:
    """A copy whose weights and running means are zero, but for those of the path's layers."""
    zeroed = copy.deepcopy(block)
    kept = {
        id(tensor)
        for layer in path.layers
        for tensor in zeroed.get_submodule(layer).state_dict(keep_vars=True).values()
    }
    for parameter in zeroed.parameters():
        if id(parameter) not in kept:
            parameter.zero_()
    for buffer_name, buffer in zeroed.named_buffers():
        if buffer_name.rpartition(".")[2] == "running_mean" and id(buffer) not in kept:
            buffer.zero_()
    return zeroed


def _cloned(value: Any) -> Any:
    """Arguments with tensors of their own: a block may write into those that it is given."""
    import torch
    from torch.utils import _pytree

    return _pytree.tree_map(lambda leaf: leaf.clone() if isinstance(leaf, torch.Tensor) else leaf, value)


def _tensors_of(given: tuple[Any, ...], named: Mapping[str, Any]) -> Iterator[tuple[int | str, torch.Tensor]]:
    import torch

    places: list[tuple[int | str, Any]] = [*enumerate(given), *named.items()]
    return ((where, value) for where, value in places if isinstance(value, torch.Tensor))


def _places(where: int | str, returned: Any) -> Iterator[CallPlace]:
    """Where in what a block returned its output may stand."""
    import torch

    if isinstance(returned, torch.Tensor):
        yield CallPlace(where)
    elif type(returned) in (tuple, list):
        for index, value in enumerate(returned):
            if isinstance(value, torch.Tensor):
                yield CallPlace(where, type(returned), index, len(returned))


def _same(got: torch.Tensor, wanted: torch.Tensor) -> bool:
    if got.shape != wanted.shape:
        return False
    scale = float(wanted.abs().max()) + 1e-12
    return float((got - wanted).abs().max()) <= 1e-4 * scale


def _alike(got: torch.Tensor, wanted: torch.Tensor) -> bool:
    if got.shape != wanted.shape or got.dtype != wanted.dtype:
        return False
    return not got.is_floating_point() or bool(got.isfinite().all()) or not bool(wanted.isfinite().all())
