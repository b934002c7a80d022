"""Edgekit's own source as syntax trees: what each module defines, exports and takes from others. Runs none of it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).parent.parent


@dataclass(frozen=True)
class Module:
    """One module by its dotted name; a package's is that of its `__init__`."""

    name: str
    path: Path
    text: str

    @property
    def is_face(self) -> bool:
        return self.path.name == "__init__.py"

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text)

    @cached_property
    def exported(self) -> frozenset[str] | None:
        """What `__all__` says; None without one."""
        for node in self.tree.body:
            if isinstance(node, ast.Assign) and _names(node.targets[0]) == ["__all__"]:
                return frozenset(ast.literal_eval(node.value))
        return None

    @cached_property
    def defined(self) -> Mapping[str, ast.stmt]:
        """Name → the statement at the top level that gives it its value."""
        found: dict[str, ast.stmt] = {}
        for node in _top_level(self.tree.body):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                found[node.name] = node
            elif isinstance(node, ast.Assign):
                found.update((name, node) for target in node.targets for name in _names(target))
            elif isinstance(node, ast.AnnAssign):
                found.update((name, node) for name in _names(node.target))
        found.pop("__all__", None)
        return found

    def imported(self, origin: str) -> set[str]:
        """Names that are imported at the top level from the modules below `origin`."""
        return {
            alias.asname or alias.name
            for node in _top_level(self.tree.body)
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(f"{origin}.")
            for alias in node.names
        }

    @cached_property
    def texts(self) -> frozenset[str]:
        """Every string of the module but those of `__all__`: tables name classes by text."""
        listed = {
            id(part)
            for node in self.tree.body
            if isinstance(node, ast.Assign) and _names(node.targets[0]) == ["__all__"]
            for part in ast.walk(node)
        }
        return frozenset(
            node.value
            for node in ast.walk(self.tree)
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in listed
        )

    def types_of(self, name: str) -> set[str]:
        """Names in the signature of a function, or in those of a class's fields and public methods."""
        node = self.defined.get(name)
        parts: list[ast.AST] = []
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            parts = _signature(node)
        elif isinstance(node, ast.ClassDef):
            for item in node.body:
                if isinstance(item, ast.AnnAssign):
                    parts.append(item.annotation)
                elif isinstance(item, ast.FunctionDef) and (
                    item.name == "__init__" or not item.name.startswith("_")
                ):
                    parts += _signature(item)
        elif isinstance(node, ast.Assign):
            parts = [node.value]
        return {part.id for tree in parts for part in ast.walk(tree) if isinstance(part, ast.Name)}


def _signature(node: ast.FunctionDef | ast.AsyncFunctionDef) -> list[ast.AST]:
    arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
    annotations = [argument.annotation for argument in arguments] + [node.returns]
    return [annotation for annotation in annotations if annotation is not None]


def _names(target: ast.expr) -> list[str]:
    return [part.id for part in ast.walk(target) if isinstance(part, ast.Name)]


def _top_level(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Statements that run on import: also those under `if TYPE_CHECKING` and the like."""
    for node in body:
        yield node
        if isinstance(node, ast.If):
            yield from _top_level([*node.body, *node.orelse])
        elif isinstance(node, ast.Try):
            yield from _top_level(node.body)


def read_modules(folder: str) -> dict[str, Module]:
    """Dotted name → module, of a folder at the repository's root."""
    modules = {}
    for path in sorted((ROOT / folder).rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        modules[name] = Module(name, path, path.read_text(encoding="utf-8"))
    return modules


def taken_names(own: Mapping[str, Module], readers: Mapping[str, Module]) -> dict[str, set[str]]:
    """Module of `own` → names that other modules of `readers` import from it or reach through it."""
    taken: dict[str, set[str]] = {name: set() for name in own}
    for reader in readers.values():
        as_modules: dict[str, str] = {}
        for node in ast.walk(reader.tree):
            if not isinstance(node, ast.ImportFrom) or node.module not in own or node.module == reader.name:
                continue
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                if full in own:
                    as_modules[alias.asname or alias.name] = full
                else:
                    taken[node.module].add(alias.name)
        for node in ast.walk(reader.tree):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                through = as_modules.get(node.value.id)
                if through is not None:
                    taken[through].add(node.attr)
    return taken


def template_texts() -> set[str]:
    """Names of `report/wording.py` that a page's template calls."""
    pages = (ROOT / "edgekit").rglob("*.j2")
    return {name for page in pages for name in re.findall(r"\btext\.(\w+)", page.read_text(encoding="utf-8"))}
