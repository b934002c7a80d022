"""Python references: `file.py:name` and `package.module:name`, located and hashed without running them.

Locating reads and parses source text only. Loading runs the user's module; whatever it raises becomes one
clear line that names the exception, the file and the line.
"""

from __future__ import annotations

import ast
import difflib
import hashlib
import importlib
import importlib.machinery
import importlib.metadata
import importlib.util
import sys
import sysconfig
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any

from edgekit.errors import EdgekitError, UserError
from edgekit.files import expanded

__all__ = [
    "Reference",
    "UserCode",
    "describe",
    "hold_function",
    "is_installed",
    "is_reference",
    "load_function",
    "local_sources",
    "locate_reference",
    "using_reference",
]

HELD: dict[str, tuple[Callable[..., Any], str]] = {}
"""Functions that a Python caller gave themselves, with their digests, by what stands for them in this process."""


def hold_function(function: Callable[..., Any], digest: str) -> str:
    """A name that stands for a live function wherever a reference may: its own, with its digest's beginning.

    `digest` has to change with all that the function depends on.
    """
    name = getattr(function, "__name__", type(function).__name__)
    spec = f"{name}@{digest[:12]}"
    HELD[spec] = (function, digest)
    return spec


@dataclass(frozen=True)
class Reference:
    """A name in a Python file. `module` is the dotted name for `package.module:name`, empty for a file.

    `root` is the folder that must be on sys.path while the module runs. `digest` is the SHA-256 over the name, the
    file, and every local .py file that it imports, directly or not.
    """

    spec: str
    file: str
    module: str
    name: str
    root: str
    digest: str


def is_reference(spec: str) -> bool:
    """Whether `spec` reads like `file.py:name` or `package.module:name`, or stands for a function that is held."""
    if spec in HELD:
        return True
    place, _, name = spec.rpartition(":")
    if not place or not name.isidentifier():
        return False
    return place.endswith(".py") or all(part.isidentifier() for part in place.split("."))


def locate_reference(spec: str, error: type[UserError]) -> Reference:
    """Find and hash what `spec` names, without executing anything. Raises `error` with one clear line."""
    if spec in HELD:
        return Reference(spec, "", "", spec, "", HELD[spec][1])
    place, _, name = spec.rpartition(":")
    if not is_reference(spec):
        raise error(f"{spec!r} is not a Python reference", allowed="file.py:name or package.module:name")
    if place.endswith(".py"):
        file, module, root = expanded(place).resolve(), "", expanded(place).resolve().parent
        if not file.is_file():
            raise error(f"{place}: no such file", remedy="write file.py:name with a path that exists")
    else:
        file, root = _find_module(place, spec, error)
        module = place
    tree = _parse(file, error)
    _check_name(tree, file, name, error)
    return Reference(spec, str(file), module, name, str(root), _digest(file, root, module, name, error))


def _find_module(dotted: str, spec: str, error: type[UserError]) -> tuple[Path, Path]:
    """The source file of a dotted module and the folder its top package lies in; parents are not executed."""
    paths: list[str] | None = [str(Path.cwd()), *sys.path]
    top: Path | None = None
    module: importlib.machinery.ModuleSpec | None = None
    parts = dotted.split(".")
    for index in range(len(parts)):
        module = importlib.machinery.PathFinder.find_spec(".".join(parts[: index + 1]), paths)
        if module is None:
            raise error(
                f"{spec}: no module named {'.'.join(parts[: index + 1])!r}",
                remedy="run from the folder that holds it, or write file.py:name",
            )
        if index == 0:
            origin = module.origin or next(iter(module.submodule_search_locations or [""]))
            package = module.submodule_search_locations is not None and module.origin is not None
            top = Path(origin).parent.parent if package else Path(origin).parent
        paths = list(module.submodule_search_locations or [])
    if module is None or module.origin is None or not module.origin.endswith(".py") or top is None:
        raise error(f"{spec}: {dotted!r} has no Python source file", remedy="write file.py:name")
    return Path(module.origin).resolve(), top.resolve()


def _parse(file: Path, error: type[UserError]) -> ast.Module:
    try:
        return ast.parse(file.read_bytes(), filename=str(file))
    except SyntaxError as problem:
        raise error(f"{file}:{problem.lineno}: not valid Python: {problem.msg}") from problem
    except (OSError, ValueError) as problem:
        raise error(f"{file}: cannot be read: {problem}") from problem


def _check_name(tree: ast.Module, file: Path, name: str, error: type[UserError]) -> None:
    defined, imported, open_ended = _top_level_names(tree)
    if name in defined or name in imported or open_ended:
        return
    public = [known for known in defined or imported if not known.startswith("_")]
    near = difflib.get_close_matches(name, public, n=1)
    hint = f"did you mean {near[0]!r}?" if near else ""
    known = ", ".join(public[:12]) or "it defines nothing"
    raise error(f"{file.name} has no {name!r}", allowed=known, remedy=hint)


def _top_level_names(tree: ast.Module) -> tuple[list[str], list[str], bool]:
    """Names that the module defines, those it imports, and whether `import *` may add others."""
    defined: list[str] = []
    imported: list[str] = []
    open_ended = False
    pending: list[ast.stmt] = list(tree.body)
    while pending:
        node = pending.pop(0)
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            defined.append(node.name)
            open_ended |= node.name == "__getattr__"
        elif isinstance(node, ast.Assign):
            defined += [target.id for target in node.targets if isinstance(target, ast.Name)]
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            defined.append(node.target.id)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            imported += [(alias.asname or alias.name).split(".")[0] for alias in node.names]
            open_ended |= any(alias.name == "*" for alias in node.names)
        elif isinstance(node, (ast.If, ast.Try, ast.With, ast.For, ast.While)):
            pending += [
                inner for inner in ast.walk(node) if isinstance(inner, ast.stmt) and inner is not node
            ]
    return list(dict.fromkeys(defined)), imported, open_ended


def _digest(file: Path, root: Path, module: str, name: str, error: type[UserError]) -> str:
    """SHA-256 over name, file and local imports; of an installed package its version counts instead of imports."""
    digest = hashlib.sha256(f"{name}\0".encode())
    if module and is_installed(file):
        top = module.split(".")[0]
        distributions = importlib.metadata.packages_distributions().get(top, [top])
        versions = [(name, _version(name)) for name in distributions]
        digest.update(repr((module, versions)).encode())
        digest.update(file.read_bytes())
        return digest.hexdigest()
    for source in local_sources(file, root, error):
        content = source.read_bytes()
        digest.update(f"{source.relative_to(root).as_posix()}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()


def is_installed(file: Path) -> bool:
    """Whether a file belongs to Python itself or to an installed package."""
    places = (sysconfig.get_path(key) for key in ("purelib", "platlib", "stdlib"))
    return any(file.is_relative_to(Path(place).resolve()) for place in places if place)


def _version(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return ""


def local_sources(start: Path, root: Path, error: type[UserError]) -> list[Path]:
    """A module's file and the local ones under `root` that it imports, directly or not, sorted. Raises `error`."""
    seen: set[Path] = set()
    pending = [start]
    while pending:
        file = pending.pop()
        if file in seen:
            continue
        seen.add(file)
        for dotted in _imports(_parse(file, error), file, root):
            pending += [path for path in _files_of(dotted, root) if path not in seen]
    return sorted(seen)


def _imports(tree: ast.Module, file: Path, root: Path) -> Iterator[str]:
    """Dotted names, relative to `root`, that may be modules; `from a import b` yields both a and a.b."""
    package = file.relative_to(root).parent.parts
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            base = ".".join((*above, *(node.module.split(".") if node.module else ())))
            if base:
                yield base
            yield from (f"{base}.{alias.name}" if base else alias.name for alias in node.names)


def _files_of(dotted: str, root: Path) -> Iterator[Path]:
    """The module's own file and the `__init__.py` of every package above it, where they lie under `root`."""
    place = root
    for part in dotted.split("."):
        place = place / part
        if (place / "__init__.py").is_file():
            yield (place / "__init__.py").resolve()
    if place.with_suffix(".py").is_file():
        yield place.with_suffix(".py").resolve()


class UserCode:
    """Context in which the user's own code runs: any exception it raises becomes `error`, in one line.

    The line names the exception and the innermost place outside of installed packages.
    """

    def __init__(self, what: str, error: type[UserError]) -> None:
        self.what = what
        self.error = error

    def __enter__(self) -> UserCode:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        if problem is None or isinstance(problem, EdgekitError):
            return
        # A module that calls sys.exit() must not end edgekit; Ctrl-C must.
        if isinstance(problem, (Exception, SystemExit)):
            raise self.error(f"{self.what} raised {describe(problem)}") from problem


def describe(problem: BaseException) -> str:
    """`ValueError: text (file.py:12)`, shortened to one line."""
    lines = [line.strip() for line in str(problem).splitlines() if line.strip()]
    text = f"{type(problem).__name__}: {lines[0][:300]}" if lines else type(problem).__name__
    here = str(Path(__file__).parent)
    frames = [
        frame
        for frame in traceback.extract_tb(problem.__traceback__)
        if not frame.filename.startswith((here, "<")) and not is_installed(Path(frame.filename).resolve())
    ]
    return f"{text} ({frames[-1].filename}:{frames[-1].lineno})" if frames else text


@contextmanager
def using_reference(reference: Reference, error: type[UserError]) -> Iterator[object]:
    """The object that `reference` names, for as long as the context lasts.

    The module runs under a name of its own with its folder on sys.path. Afterwards sys.path is as before, and
    neither it nor the local modules that it imported stay in sys.modules, so that two references with helpers
    of equal names do not meet. Imports that only happen later, when the network runs, must be of installed
    packages.
    """
    path, modules, no_bytecode = list(sys.path), set(sys.modules), sys.dont_write_bytecode
    root = Path(reference.root)
    sys.path.insert(0, reference.root)
    sys.dont_write_bytecode = True
    try:
        with UserCode(f"importing {reference.spec}", error):
            module = _import(reference)
        if reference.name not in vars(module):
            raise error(f"{Path(reference.file).name} has no {reference.name!r} after it was imported")
        yield vars(module)[reference.name]
    finally:
        sys.path[:] = path
        sys.dont_write_bytecode = no_bytecode
        for name in set(sys.modules) - modules:
            if _lies_under(sys.modules.get(name), root):
                del sys.modules[name]


def _import(reference: Reference) -> ModuleType:
    importlib.invalidate_caches()
    if reference.module:
        return importlib.import_module(reference.module)
    name = f"edgekit_user_{Path(reference.file).stem}_{reference.digest[:12]}"
    spec = importlib.util.spec_from_file_location(name, reference.file)
    if spec is None or spec.loader is None:
        raise ImportError(f"{reference.file} cannot be imported")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def _lies_under(module: ModuleType | None, root: Path) -> bool:
    file = getattr(module, "__file__", None)
    if not isinstance(file, str):
        return False
    resolved = Path(file).resolve()
    return resolved.is_relative_to(root) and not is_installed(resolved)


def load_reference(reference: Reference, error: type[UserError]) -> object:
    """The object itself, for functions that are called later (a metric, a loss)."""
    with using_reference(reference, error) as value:
        return value


def load_function(spec: str, error: type[UserError]) -> Callable[..., Any]:
    """The function that `spec` names, for good. Raises `error` with one line for anything else."""
    if spec in HELD:
        return HELD[spec][0]
    value = load_reference(locate_reference(spec, error), error)
    if not callable(value):
        raise error(f"{spec} is a {type(value).__name__}, not a function")
    function: Callable[..., Any] = value
    return function
