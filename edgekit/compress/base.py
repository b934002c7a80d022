"""What compression asks of the parts around it: samples, example inputs, plans of networks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray
    from torch.utils.hooks import RemovableHandle

    from edgekit.data.base import Batch

__all__ = [
    "Example",
    "NetworkPlan",
    "Samples",
    "example_tensors",
    "flat_outputs",
    "forward_outputs",
    "run_watched",
    "to_tensor",
    "whole_batches",
]

Example = Sequence["NDArray[np.generic] | torch.Tensor"]
"""One array or tensor per network input, each [N, ...]."""


class Samples(Protocol):
    """A split: samples in batches, in the stored order or shuffled by a seed (same seed, same order)."""

    @property
    def labels(self) -> NDArray[np.generic] | None: ...

    def __len__(self) -> int: ...

    def batches(self, batch_size: int, *, shuffle_seed: int | None = None) -> Iterator[Batch]: ...

    def subset(self, places: NDArray[np.int64]) -> Samples:
        """Some of the samples, by their places in the stored order."""


def run_watched(
    module: torch.nn.Module, hooks: Iterable[RemovableHandle], batches: Iterable[tuple[torch.Tensor, ...]]
) -> None:
    """Run `batches` through `module` in eval mode, without gradients; afterwards its `hooks` are gone."""
    import torch

    handles = list(hooks)
    try:
        with torch.no_grad():
            for batch in batches:
                module.eval()(*batch)
    finally:
        for handle in handles:
            handle.remove()


class NetworkPlan(Protocol):
    """How a smaller network comes about, as plain data that a store can hold."""

    @property
    def fraction(self) -> float:
        """Its MACs divided by the original's."""

    @property
    def lines(self) -> tuple[str, ...]:
        """What was done, for people."""

    def to_json(self) -> str:
        """All of it."""


def whole_batches(data: Samples, batch_size: int, seed: int) -> Iterator[tuple[torch.Tensor, ...]]:
    """The inputs of `data` in an order of `seed`, in batches of two samples or more that are all of one size."""
    size = min(batch_size, len(data))
    for batch in data.batches(size, shuffle_seed=seed):
        if size > 1 and len(batch.inputs[0]) == size:
            yield tuple(to_tensor(array) for array in batch.inputs)


def to_tensor(array: NDArray[np.generic] | torch.Tensor, device: str = "cpu") -> torch.Tensor:
    """An array as a contiguous tensor on `device`: a network may take views of it, and of what it makes of it."""
    import torch

    if isinstance(array, torch.Tensor):
        tensor = array
    else:
        tensor = torch.from_numpy(array if array.flags.writeable else array.copy())
    return tensor.to(device).contiguous()


def example_tensors(example: Example, device: str = "cpu") -> tuple[torch.Tensor, ...]:
    """All example inputs as tensors on `device`."""
    return tuple(to_tensor(array, device) for array in example)


def forward_outputs(module: torch.nn.Module, inputs: Sequence[torch.Tensor]) -> tuple[torch.Tensor, ...]:
    """Run `module` and give its tensor outputs, flattened in order out of tuples, lists and mappings."""
    return flat_outputs(module(*inputs))


def flat_outputs(outputs: object) -> tuple[torch.Tensor, ...]:
    """The tensors of what a network gave, in order."""
    return tuple(_leaves(outputs))


def _leaves(value: Any) -> Iterator[torch.Tensor]:
    import torch

    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, Mapping):
        for key in value:
            yield from _leaves(value[key])
    elif isinstance(value, (tuple, list)):
        for item in value:
            yield from _leaves(item)
