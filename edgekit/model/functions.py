"""What a live function depends on: its code, its defaults, its closure, and the globals that it names."""

from __future__ import annotations

import functools
import inspect
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from edgekit.errors import UserError
from edgekit.reference import is_installed, local_sources

__all__ = ["feed_callable"]

Feed = Callable[[Any, object, tuple[int, ...]], None]
"""(digest, value, ids of what holds it): hashes a value that is data."""


def feed_callable(digest: Any, function: object, feed: Feed, above: tuple[int, ...]) -> None:
    """Hash a function, method, class, partial or callable object. `feed` takes what they hold."""
    if isinstance(function, functools.partial):
        feed(digest, (function.func, function.args, dict(function.keywords)), above)
    elif isinstance(function, types.MethodType):
        feed(digest, (function.__func__, function.__self__), above)
    elif isinstance(function, types.FunctionType):
        _feed_function(digest, function, feed, above)
    elif isinstance(function, type):
        _feed_class(digest, function, feed, above)
    else:  # a builtin, or an object that can be called
        digest.update(f"{getattr(function, '__name__', '')}\0".encode())
        feed(digest, (type(function), getattr(function, "__dict__", None)), above)


def _feed_function(digest: Any, function: types.FunctionType, feed: Feed, above: tuple[int, ...]) -> None:
    digest.update(f"{function.__qualname__}\0".encode())
    if _of_package(digest, function):
        return
    _feed_code(digest, function.__code__)
    cells = [_content(cell) for cell in function.__closure__ or ()]
    feed(digest, (function.__defaults__, function.__kwdefaults__, cells), above)
    for name in sorted(set(_names(function.__code__))):
        if name in function.__globals__:
            digest.update(f"{name}\0".encode())
            value = function.__globals__[name]
            if isinstance(value, types.ModuleType):
                _feed_module(digest, value)
            else:
                feed(digest, value, above)


def _feed_class(digest: Any, kind: type, feed: Feed, above: tuple[int, ...]) -> None:
    digest.update(f"{kind.__module__}.{kind.__qualname__}\0".encode())
    if _of_package(digest, kind):
        return
    feed(digest, kind.__bases__, above)
    for name, value in sorted(vars(kind).items()):
        if name not in ("__dict__", "__weakref__", "__module__", "__doc__"):
            digest.update(f"{name}\0".encode())
            feed(digest, getattr(value, "__func__", value), above)


def _of_package(digest: Any, value: Any) -> bool:
    """Whether it comes with Python or with an installed package, whose version is hashed in its place."""
    module = sys.modules.get(value.__module__ or "")
    return module is not None and _feed_installed(digest, module)


def _feed_module(digest: Any, module: types.ModuleType) -> None:
    """An installed module by its version, a local one by its source and what it imports."""
    if _feed_installed(digest, module):
        return
    file = _file(module)
    if file is None:
        return  # a folder of modules, which are hashed where they are named
    for source in local_sources(file, file.parent, UserError):
        digest.update(source.read_bytes())


def _feed_installed(digest: Any, module: types.ModuleType) -> bool:
    file = _file(module)
    if not is_installed(file) if file is not None else module.__spec__ is None:
        return False
    top = sys.modules.get(module.__name__.partition(".")[0], module)
    digest.update(f"{module.__name__} {getattr(top, '__version__', sys.version)}\0".encode())
    return True


def _file(module: types.ModuleType) -> Path | None:
    name = getattr(module, "__file__", None)
    return Path(name).resolve() if isinstance(name, str) else None


def _feed_code(digest: Any, code: types.CodeType) -> None:
    """Instructions and constants; not where they stand."""
    digest.update(code.co_code)
    digest.update(repr((code.co_names, code.co_varnames, code.co_freevars)).encode())
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            _feed_code(digest, constant)
        else:
            text = sorted(map(repr, constant)) if isinstance(constant, frozenset) else repr(constant)
            digest.update(f"{text}\0".encode())


def _names(code: types.CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _names(constant)


def _content(cell: types.CellType) -> object:
    try:
        return cell.cell_contents
    except ValueError:  # not assigned yet
        return inspect.Parameter.empty
