"""A located model as a torch module in eval mode."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.errors import MissingExtraError, ModelError
from edgekit.model.locate import ModelRef
from edgekit.reference import UserCode, locate_reference, using_reference

if TYPE_CHECKING:
    import torch

__all__ = ["load_module"]


def load_module(ref: ModelRef) -> torch.nn.Module:
    """The network with its weights, in eval mode, on the CPU.

    The factory runs with its folder on sys.path and leaves nothing behind there. Raises ModelError when it
    raises, when it gives something else than a torch.nn.Module, or when the weights do not fit; raises
    MissingExtraError without torch.
    """
    try:
        import torch
    except ModuleNotFoundError as problem:
        raise MissingExtraError("torch", "torch") from problem
    if ref.kind == "pt2":
        from edgekit.model.pt2 import load_pt2

        return load_pt2(Path(ref.source))
    if ref.kind != "factory":
        raise ModelError(f"{ref.source}: a model of kind {ref.kind!r} cannot be loaded into torch")
    reference = locate_reference(ref.source, ModelError)
    with using_reference(reference, ModelError) as factory:
        if isinstance(factory, torch.nn.Module):
            module: object = factory
        elif callable(factory):
            with UserCode(f"the factory {ref.source}", ModelError):
                module = factory()
        else:
            raise ModelError(
                f"{ref.source} is a {type(factory).__name__}", allowed="a function without arguments"
            )
    if not isinstance(module, torch.nn.Module):
        raise ModelError(f"{ref.source} gave a {type(module).__name__}", allowed="a torch.nn.Module")
    if ref.weights is not None:
        from edgekit.model.weights import load_weights

        load_weights(module, ref.weights)
    return module.eval()
