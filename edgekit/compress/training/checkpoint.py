"""Tensors with a JSON note in one safetensors file, written atomically. No pickles."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.errors import MissingExtraError, ModelError, OutputError, StoreError, in_one_line
from edgekit.files import write_atomically

if TYPE_CHECKING:
    import torch

__all__ = ["read_tensors", "write_tensors"]

DIGEST = "sha256"  # key of the note


def write_tensors(path: Path, tensors: Mapping[str, torch.Tensor], note: Mapping[str, Any]) -> None:
    """Write `tensors` and `note` to `path`; a reader sees the old file or the new one, never a part.

    Raises StoreError when the disk is full and OutputError when the folder cannot be written.
    """
    try:
        from safetensors.torch import save
    except ModuleNotFoundError as error:
        raise MissingExtraError("safetensors", "torch") from error
    plain = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    # In the note: of two keys of metadata, safetensors writes now this first and now that.
    sealed = {**json.loads(json.dumps(note)), DIGEST: _digest(plain, note)}
    content = save(plain, metadata={"edgekit": json.dumps(sealed)})
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, content)
    except PermissionError as error:
        raise OutputError(f"cannot write {path}: {error.strerror}") from error
    except OSError as error:
        raise StoreError(f"cannot write {path}: {error.strerror or error}") from error


def read_tensors(path: Path, *, sealed: bool = True) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """What `write_tensors` wrote, compared with its digest.

    `sealed` False also takes a file without one, as older versions wrote them: for files that the store vouches for.
    Raises ModelError when the file is absent, damaged, or from elsewhere.
    """
    try:
        from safetensors import SafetensorError, safe_open
    except ModuleNotFoundError as error:
        raise MissingExtraError("safetensors", "torch") from error
    if path.is_symlink() or (path.exists() and not path.is_file()):
        raise ModelError(f"{path} is not a plain file")
    try:
        with safe_open(str(path), framework="pt") as file:
            note = json.loads((file.metadata() or {})["edgekit"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except FileNotFoundError as error:
        raise ModelError(f"{path} does not exist") from error
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise ModelError(f"{path} is damaged or not from edgekit: {in_one_line(error)}") from error
    if not isinstance(note, dict):
        raise ModelError(f"{path} is damaged or not from edgekit: its note is not an object")
    written = note.pop(DIGEST, None)
    if written != _digest(tensors, note) and (sealed or written is not None):
        raise ModelError(f"{path} is damaged: its digest does not match")
    return tensors, note


def _digest(tensors: Mapping[str, torch.Tensor], note: Mapping[str, Any]) -> str:
    """SHA-256 over the note and each tensor's name, type, shape and bytes."""
    import torch

    state = hashlib.sha256(json.dumps(note, sort_keys=True).encode())
    for name, tensor in sorted(tensors.items()):
        state.update(json.dumps([name, str(tensor.dtype), list(tensor.shape)]).encode())
        state.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return state.hexdigest()
