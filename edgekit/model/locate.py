"""Where a model is and what it depends on, found without importing torch: a cached rerun never loads it."""

from __future__ import annotations

import ast
import hashlib
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from edgekit.errors import ModelError
from edgekit.files import expanded, sha256_file
from edgekit.graph.proto import external_files
from edgekit.model.state import state_digest
from edgekit.reference import is_reference, locate_reference

if TYPE_CHECKING:
    import torch

__all__ = ["ModelRef", "WeightsPart", "locate", "locate_module", "unwrapped"]

ALLOWED = "file.py:factory, package.module:factory, a .pt2 file or an .onnx file"
SHOWN = 4
WEIGHT_SUFFIXES = (".safetensors", ".pt", ".pth", ".pth.tar", ".ckpt", ".bin")


@dataclass(frozen=True)
class WeightsPart:
    """Which of a weights file is meant, where it does not tell by itself; "" is left to the file.

    `prefix`: names that begin so count, without it. `key`: where the state dict lies in the file, as "ema" or
    "model.state_dict".
    """

    prefix: str = ""
    key: str = ""

    def options(self) -> tuple[str, ...]:
        """Those that are given, as the command line writes them."""
        given = {"--weights-prefix": self.prefix, "--weights-key": self.key}
        return tuple(f"{option} {value}" for option, value in given.items() if value)


@dataclass(frozen=True)
class ModelRef:
    """A model that exists. `digest` changes when anything changes that the network depends on.

    factory: its name, the source file, the local files it imports, the weights, and, once it has been built (see
    `load.identified`), `state`: all that the network holds, and `notes`: what was done to the
    weights' names. `part` of the weights counts by what it loads, as `state` has it. pt2, onnx: the file (and an
    ONNX file's external data). module: a live torch module, its class's source and its state. `seed`: with which random
    numbers a factory begins whose network is not trained yet; None: it is called as it is.
    """

    kind: Literal["factory", "pt2", "onnx", "module"]
    source: str
    weights: Path | None
    digest: str
    state: str = ""
    notes: tuple[str, ...] = ()
    part: WeightsPart = WeightsPart()
    seed: int | None = None


def locate(
    spec: str | Path, weights: str | Path | None = None, part: WeightsPart = WeightsPart()
) -> ModelRef:
    """Find and hash a model; nothing of it is executed and torch is not imported. Raises ModelError."""
    _check_part(weights, part)
    text = str(spec)
    path = expanded(text)
    if path.suffix in (".pt2", ".onnx"):
        return _locate_file(path, weights)
    if path.name.endswith(WEIGHT_SUFFIXES):
        raise ModelError(
            f"{text} holds weights, not a network",
            allowed=ALLOWED,
            remedy=f"give the factory that builds the network, and --weights {text}",
        )
    if path.suffix == ".py":
        raise ModelError(f"{text} names no factory", remedy=_factories(path, text))
    if not is_reference(text):
        state = "" if path.exists() else ": no such file"
        raise ModelError(f"{text!r} is not a model{state}", allowed=ALLOWED)
    reference = locate_reference(text, ModelError)
    if weights is None:
        return ModelRef("factory", text, None, reference.digest)
    weights_file = expanded(weights)
    if not weights_file.name.endswith(WEIGHT_SUFFIXES):
        raise ModelError(f"--weights {weights_file}: unknown suffix", allowed=", ".join(WEIGHT_SUFFIXES))
    both = f"{reference.digest} {_hash(weights_file)}"
    digest = hashlib.sha256(both.encode()).hexdigest()
    return ModelRef("factory", text, weights_file.resolve(), digest, part=part)


def _check_part(weights: str | Path | None, part: WeightsPart) -> None:
    for option, value in (("weights_prefix", part.prefix), ("weights_key", part.key)):
        if not isinstance(value, str):
            raise ModelError(f"{option} is a {type(value).__name__}", allowed="a text")
    if weights is None and part.options():
        raise ModelError(f"{part.options()[0]} without --weights", remedy="give the file of weights as well")


def _factories(path: Path, text: str) -> str:
    """What may be written in the place of a file's bare name: its own functions, or else its classes."""
    try:
        body = ast.parse(path.read_bytes()).body
    except (OSError, SyntaxError, ValueError):
        body = []
    for kind in (ast.FunctionDef, ast.ClassDef):
        names = [node.name for node in body if isinstance(node, kind) and not node.name.startswith("_")]
        if names:
            return f"write {text}:FACTORY, as {' or '.join(f'{text}:{name}' for name in names[:SHOWN])}"
    return f"write {text}:FACTORY"


def _locate_file(path: Path, weights: str | Path | None) -> ModelRef:
    if weights is not None:
        raise ModelError(
            f"--weights {weights} with {path.name}", remedy=f"a {path.suffix} file has its own weights"
        )
    digest = _hash(path)
    if path.suffix == ".pt2":
        return ModelRef("pt2", str(path.resolve()), None, digest)
    for file in external_files(path):
        digest = hashlib.sha256(f"{digest} {file.name} {_hash(file)}".encode()).hexdigest()
    return ModelRef("onnx", str(path.resolve()), None, digest)


def _hash(path: Path) -> str:
    if not path.is_file():
        raise ModelError(f"{path}: {'is a folder' if path.is_dir() else 'no such file'}")
    try:
        return sha256_file(path)
    except OSError as problem:
        raise ModelError(f"{path} cannot be read: {problem.strerror}") from problem


def unwrapped(model: Any) -> Any:
    """The network in what torch.compile, DataParallel and DistributedDataParallel put around it; else as it came.

    These say how it runs, on one process or several, not what it computes.
    """
    torch = sys.modules.get("torch")
    if torch is None or isinstance(model, type):
        return model
    parallel = (torch.nn.DataParallel, torch.nn.parallel.DistributedDataParallel)
    while True:
        if isinstance(model, parallel):
            model = model.module
        elif isinstance(model, torch.nn.Module) and "_orig_mod" in model._modules:
            model = model._orig_mod
        else:
            return model


def locate_module(module: torch.nn.Module) -> ModelRef:
    """A reference to a live module (Python callers), hashed over its structure, its state and its source.

    Raises ModelError for anything else, and as `state_digest` does.
    """
    if isinstance(module, type):
        raise ModelError(
            f"model is the class {module.__name__}",
            allowed=f"a torch.nn.Module, {ALLOWED}",
            remedy=f"give the trained network itself, as {module.__name__}() with its weights loaded",
        )
    if isinstance(module, Mapping):
        raise ModelError(
            f"model is a {type(module).__name__}",
            allowed=f"a torch.nn.Module, {ALLOWED}",
            remedy="weights alone are no network: load them into it with load_state_dict",
        )
    if not callable(getattr(module, "named_modules", None)):
        raise ModelError(f"model is a {type(module).__name__}", allowed=f"a torch.nn.Module, {ALLOWED}")
    return ModelRef("module", type(module).__qualname__, None, state_digest(module))
