"""Loss and training step by Python reference: "file.py:function" or "package.module:function".

A loss is called as `loss(outputs, labels, teacher_outputs)`: the student's outputs as the network returns
them, int64 labels [N] or None, the teacher's outputs or None. A step is called as
`step(student, inputs, labels, teacher)`: the student, the (augmented) input tensors, labels or None, the
teacher or None. Both give one scalar tensor that can be differentiated.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from edgekit.errors import UserError

__all__ = ["load_function"]


def load_function(reference: str, folder: Path | None = None) -> Callable[..., Any]:
    """The function that `reference` names; file paths are relative to `folder` or the current one.

    Raises UserError, one line, when the file, the module or the function is missing or fails to import.
    """
    place, separator, name = reference.rpartition(":")
    if not separator or not place or not name.isidentifier():
        raise UserError(
            f"{reference!r} does not name a function", allowed="file.py:function or package.module:function"
        )
    module = _from_file(place, folder) if place.endswith(".py") else _from_package(place)
    function = vars(module).get(name)
    if not callable(function):
        found = ", ".join(
            key for key, value in vars(module).items() if callable(value) and not key.startswith("_")
        )
        raise UserError(f"{place} has no function {name}", allowed=found or "(it has none)")
    result: Callable[..., Any] = function
    return result


def _from_file(place: str, folder: Path | None) -> ModuleType:
    path = (folder or Path.cwd()) / place
    if not path.is_file():
        raise UserError(f"{path} does not exist (in {place!r})", remedy="give the path of a Python file")
    spec = importlib.util.spec_from_file_location(f"edgekit_custom_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise UserError(f"{path} cannot be imported")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except (ImportError, SyntaxError, NameError, AttributeError, TypeError, ValueError, OSError) as error:
        raise UserError(f"{path} cannot be imported: {type(error).__name__}: {error}") from error
    return module


def _from_package(place: str) -> ModuleType:
    try:
        return importlib.import_module(place)
    except (ImportError, SyntaxError, NameError, AttributeError, TypeError, ValueError, OSError) as error:
        raise UserError(f"{place} cannot be imported: {type(error).__name__}: {error}") from error
