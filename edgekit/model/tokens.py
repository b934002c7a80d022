"""Which inputs of a torch network are token ids, seen before it is exported: export runs it on samples."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from edgekit.quiet import quiet

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

__all__ = ["forward_names", "torch_vocabularies"]

FORWARD_ERRORS = (RuntimeError, ValueError, LookupError, TypeError, AssertionError, AttributeError)


def forward_names(module: torch.nn.Module) -> tuple[tuple[str, ...], int]:
    """Names of what forward() takes in order, and how many it cannot do without; () where it takes any number."""
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    try:
        parameters = inspect.signature(module.forward).parameters.values()
    except (TypeError, ValueError):
        return (), 0
    if any(parameter.kind is inspect.Parameter.VAR_POSITIONAL for parameter in parameters):
        return (), 0
    taken = [parameter for parameter in parameters if parameter.kind in kinds]
    needed = sum(parameter.default is inspect.Parameter.empty for parameter in taken)
    return tuple(parameter.name for parameter in taken), needed


def torch_vocabularies(
    module: torch.nn.Module, example: Sequence[NDArray[np.generic]], names: Sequence[str]
) -> dict[str, int]:
    """Input → rows of the smallest nn.Embedding that its values go into, as seen when the network runs on `example`.

    The module is in eval mode. `names`: of the inputs, in order. What forward() raises is not told here: an id that is
    too high may be why, and exporting tells the rest.
    """
    import torch

    inputs = [torch.as_tensor(array) for array in example]
    picked: dict[str, int] = {}

    def look(layer: Any, given: tuple[Any, ...]) -> None:
        for name, tensor in zip(names, inputs, strict=False):
            if given and isinstance(given[0], torch.Tensor) and _are_same(given[0], tensor):
                picked[name] = min(picked.get(name, layer.num_embeddings), layer.num_embeddings)

    layers = [layer for layer in module.modules() if isinstance(layer, torch.nn.Embedding)]
    if not layers:
        return {}
    handles = [layer.register_forward_pre_hook(look) for layer in layers]
    try:
        with contextlib.suppress(*FORWARD_ERRORS), torch.no_grad(), quiet():
            module(*inputs)
    finally:
        for handle in handles:
            handle.remove()
    return picked


def _are_same(ids: torch.Tensor, given: torch.Tensor) -> bool:
    """Whether `ids` are the values that came in, not others that happen to be equal, as positions or a mask of ones."""
    import torch

    if ids.data_ptr() == given.data_ptr():
        return True
    if ids.numel() != given.numel() or ids.numel() < 2:
        return False
    flat = given.flatten()
    is_counting = bool((flat[1:] - flat[:-1] == flat[1] - flat[0]).all())
    return not is_counting and torch.equal(ids.flatten().double(), flat.double())
