"""Weights files: .safetensors, and .pt/.pth read with weights_only=True, so that no pickle runs code."""

from __future__ import annotations

import pickle
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING

from edgekit.errors import MissingExtraError, ModelError

if TYPE_CHECKING:
    import torch

__all__ = ["READ_ERRORS", "check_weights", "load_plain", "load_weights"]

WRAPPERS = ("state_dict", "model_state_dict", "model")
SHOWN = 4

# What torch's restricted unpickler and its archive reader raise on bytes that are no checkpoint.
READ_ERRORS = (
    pickle.UnpicklingError,
    struct.error,
    RuntimeError,
    OSError,
    EOFError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    AssertionError,
    MemoryError,
)


def read_state_dict(path: Path) -> dict[str, torch.Tensor]:
    """Name → tensor, on the CPU. Raises ModelError for what is corrupt or holds more than named tensors."""
    content = _read_safetensors(path) if path.suffix == ".safetensors" else _read_pt(path)
    import torch

    for wrapper in WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
    if not isinstance(content, Mapping) or not content:
        raise ModelError(
            f"{path.name} holds no state dict but {_name(content)}",
            allowed="names with tensors, as torch.save(model.state_dict(), FILE) writes",
        )
    for name, value in content.items():
        if not isinstance(value, torch.Tensor):
            raise ModelError(f"{path.name}: {name!r} is {_name(value)}, not a tensor", allowed="a state dict")
    # torch.nn.DataParallel puts one prefix before every name.
    prefix = "module." if all(str(name).startswith("module.") for name in content) else ""
    return {str(name)[len(prefix) :]: value for name, value in content.items()}


def _name(content: object) -> str:
    return "an empty dict" if content == {} else f"a {type(content).__name__}"


def _read_safetensors(path: Path) -> object:
    try:
        from safetensors import SafetensorError
        from safetensors.torch import load_file
    except ModuleNotFoundError as problem:
        raise MissingExtraError("safetensors", "torch") from problem
    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as problem:
        raise ModelError(f"{path} is not a readable .safetensors file: {problem}") from problem


def load_plain(file: Path | IO[bytes]) -> object:
    """torch.load(weights_only=True), on the CPU, without its warnings. Raises one of READ_ERRORS."""
    import warnings

    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.load(file, map_location="cpu", weights_only=True)


def _read_pt(path: Path) -> object:
    try:
        return load_plain(path)
    except pickle.UnpicklingError as problem:
        raise ModelError(
            f"{path} was not loaded: {_culprit(str(problem))}",
            allowed="a state dict of plain tensors",
            remedy="save model.state_dict() with safetensors",
        ) from problem
    except READ_ERRORS as problem:
        first = str(problem).strip().splitlines()
        raise ModelError(f"{path} is not a readable checkpoint: {first[0] if first else ''}") from problem


def _culprit(message: str) -> str:
    """The sentence of torch's long message that says what was refused."""
    for line in message.splitlines():
        for mark in ("Unsupported global:", "Unsupported class", "Unsupported operand", "Trying to"):
            if mark in line:
                sentence = line[line.index(mark) :].split(" was not an allowed")[0].split(". ")[0]
                return f"it holds more than tensors ({sentence.strip()}); a pickle like this can run code"
    return "it is corrupt, or holds more than tensors"


def check_weights(path: Path) -> None:
    """Read the file as `load_weights` does, and let go of it. Raises ModelError."""
    read_state_dict(path)


def load_weights(module: torch.nn.Module, path: Path) -> None:
    """Put the file's weights into `module`. Raises ModelError naming the keys that do not fit."""
    state = read_state_dict(path)
    own = module.state_dict()
    # Checkpoints from before 2017 lack this counter; torch's BatchNorm fills it in.
    missing = [name for name in own if name not in state and not name.endswith("num_batches_tracked")]
    unexpected = [name for name in state if name not in own]
    misshapen = [
        f"{name} is {list(state[name].shape)}, the network has {list(own[name].shape)}"
        for name in own
        if name in state and state[name].shape != own[name].shape
    ]
    parts = [
        _listed("missing", missing),
        _listed("unexpected", unexpected),
        _listed("of another shape", misshapen),
    ]
    if any(parts):
        raise ModelError(
            f"{path.name} does not fit the network: {'; '.join(part for part in parts if part)}",
            remedy="give the weights that belong to this factory",
        )
    try:
        module.load_state_dict(state, strict=True)
    except RuntimeError as problem:
        raise ModelError(f"{path.name} does not fit the network: {problem}") from problem


def _listed(what: str, keys: list[str]) -> str:
    if not keys:
        return ""
    rest = f" and {len(keys) - SHOWN} more" if len(keys) > SHOWN else ""
    return f"{len(keys)} {what} ({', '.join(keys[:SHOWN])}{rest})"
