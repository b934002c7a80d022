"""A located model as a torch module in eval mode."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.errors import MissingExtraError, ModelError
from edgekit.model.locate import ModelRef
from edgekit.model.seeding import seeded
from edgekit.model.state import combined, state_digest, state_parts
from edgekit.reference import UserCode, locate_reference, using_reference

if TYPE_CHECKING:
    import torch

__all__ = ["identified", "load_module"]

SHOWN = 3


def load_module(ref: ModelRef) -> torch.nn.Module:
    """The network with its weights, in eval mode, on the CPU.

    The factory runs with its folder on sys.path and leaves nothing behind there. Raises ModelError when it
    raises, when it gives something else than a torch.nn.Module, when the weights do not fit, or when the network is
    not the one that was identified; raises MissingExtraError without torch.
    """
    try:
        import torch
    except ModuleNotFoundError as problem:
        raise MissingExtraError("torch", "torch") from problem
    if ref.kind == "pt2":
        from edgekit.model.pt2 import load_pt2

        return load_pt2(Path(ref.source), ref.digest)
    if ref.kind != "factory":
        raise ModelError(f"{ref.source}: a model of kind {ref.kind!r} cannot be loaded into torch")
    reference = locate_reference(ref.source, ModelError)
    numbers = nullcontext() if ref.seed is None else seeded(ref.seed)
    with numbers, using_reference(reference, ModelError) as factory:
        if isinstance(factory, torch.nn.Module):
            module: object = factory
        elif callable(factory):
            module = _made(ref.source, factory)
        else:
            raise ModelError(
                f"{ref.source} is a {type(factory).__name__}", allowed="a function without arguments"
            )
    if not isinstance(module, torch.nn.Module):
        raise ModelError(f"{ref.source} gave a {type(module).__name__}", allowed="a torch.nn.Module")
    if ref.weights is not None:
        from edgekit.model.weights import load_weights

        load_weights(module, ref.weights, ref.part)
    module = module.eval()
    if ref.state and state_digest(module) != ref.state:
        raise ModelError(
            f"{ref.source} gives another network than when the build began",
            remedy="leave the files that it reads as they are, and run the build again",
        )
    return module


def _made(source: str, factory: Callable[..., object]) -> object:
    """What the factory gives. A network's own class is often named as one, and most of them need arguments."""
    try:
        with UserCode(f"the factory {source}", ModelError):
            return factory()
    except ModelError as problem:
        needed = _needed(factory) if isinstance(problem.__cause__, TypeError) else []
        if not needed:
            raise
        call = f"{source.rpartition(':')[2]}({', '.join(f'{name}=...' for name in needed)})"
        raise ModelError(
            str(problem),
            allowed="a function without arguments",
            remedy=f"write one beside it, as `def make_net(): return {call}`, and give its name",
        ) from problem.__cause__


def _needed(factory: Callable[..., object]) -> list[str]:
    """Arguments that it cannot be called without."""
    try:
        parameters = inspect.signature(factory).parameters.values()
    except (TypeError, ValueError):
        return []
    optional = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [part.name for part in parameters if part.default is part.empty and part.kind not in optional]


def identified(ref: ModelRef) -> ModelRef:
    """The reference with all that the network holds in its digest; only a factory has to be built for it.

    A factory reads files, the environment and random numbers as it likes, which its source does not tell. It is built
    twice: a network that differs from time to time has no digest, and could not be pruned and judged as the same.
    Raises ModelError when it differs, and as load_module does.
    """
    if ref.kind != "factory":
        return ref
    first = load_module(ref)
    parts, again = state_parts(first), state_parts(load_module(ref))
    differing = [name for name in parts if parts[name] != again.get(name)]
    if differing or len(parts) != len(again):
        named = ", ".join(differing[:SHOWN]) or "its parts"
        rest = f" and {len(differing) - SHOWN} more" if len(differing) > SHOWN else ""
        raise ModelError(
            f"{ref.source} gives another network each time it is called: {named}{rest} differ",
            remedy="give its trained weights with --weights, or begin it with torch.manual_seed(0)",
        )
    notes: tuple[str, ...] = ()
    if ref.weights is not None:
        from edgekit.model.weights import load_weights

        notes = load_weights(first, ref.weights, ref.part)
    state = combined(parts)
    return replace(
        ref, state=state, notes=notes, digest=hashlib.sha256(f"{ref.digest} {state}".encode()).hexdigest()
    )
