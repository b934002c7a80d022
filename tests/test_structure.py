"""The house's own rules, read from the source: nouns, exports, names, lengths."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterable, Iterator
from functools import cache

import pytest

from tests.source import Module, read_modules, taken_names, template_texts

EDGEKIT = read_modules("edgekit")
USERS = {**EDGEKIT, **read_modules("benchmarks")}
TESTS = read_modules("tests")

LONGEST = 350
AVOIDED = frozenset(
    ("found", "one", "each", "shop", "story", "blame", "unrest", "strain", "parting", "without_doubt")
)
"""They say nothing of what a thing is, or say it in no language of the field."""

WHOLE = ("edgekit.api", "edgekit.errors", "edgekit.result", "edgekit.types")
"""Documented for users: every public function, class and type of them is exported."""


def public(names: Iterable[str]) -> set[str]:
    return {name for name in names if not name.startswith("_")}


@cache
def taken() -> dict[str, set[str]]:
    """Module → what others take from it: from `edgekit.testing` the tests too."""
    by_users, by_tests = taken_names(EDGEKIT, USERS), taken_names(EDGEKIT, TESTS)
    return {
        name: by_users[name] | (by_tests[name] if name.startswith("edgekit.testing.") else set())
        for name in EDGEKIT
    }


@cache
def texts() -> set[str]:
    return template_texts().union(*(module.texts for module in EDGEKIT.values()))


def expected_exports(name: str) -> set[str]:
    """See `test_all_holds_what_others_take`."""
    module = EDGEKIT[name]
    exported, own = module.exported or frozenset(), set(module.defined)
    if module.is_face:
        return public(module.imported(name)) | exported & {"__version__", *own}
    classes = {noun for noun in own if isinstance(module.defined[noun], ast.ClassDef)}
    wanted = public(taken()[name]) | exported & own & texts()
    if name in WHOLE:
        wanted |= {noun for noun in public(own) if not noun.isupper()}
    while True:
        types = public(used for noun in wanted for used in module.types_of(noun))
        more = types & (classes | exported & own) - wanted
        if not more:
            return wanted
        wanted |= more


@pytest.mark.parametrize("name", sorted(name for name in EDGEKIT if not name.startswith("edgekit.board")))
def test_all_holds_what_others_take(name: str) -> None:
    """A package's `__init__` exports what it imports, and a module exports what others take from it, no more.

    Others are the modules of edgekit, its tables and templates that name a thing by text, and the benchmarks; for
    `edgekit.testing` the tests too. A class in an exported signature is exported with it; another type of it may be.
    Modules that are documented for users (WHOLE) export every public function, class and type. `board/` runs on its
    own and has no `__all__`.
    """
    module = EDGEKIT[name]
    wanted = expected_exports(name)
    if wanted or module.exported is not None:
        assert sorted(module.exported or ()) == sorted(wanted)
        assert wanted <= set(module.defined) | module.imported("edgekit")


def class_names(module: Module) -> Iterator[str]:
    exported = module.exported or frozenset()
    for name, node in module.defined.items():
        is_type = isinstance(node, ast.ClassDef) or (
            name in exported and name[0].isupper() and not name.isupper()
        )
        if is_type and not name.startswith("_"):
            yield name


def test_a_public_noun_has_one_class() -> None:
    homes: defaultdict[str, list[str]] = defaultdict(list)
    for module in EDGEKIT.values():
        for name in class_names(module):
            homes[name].append(module.name)
    assert {name: homes for name, homes in homes.items() if len(homes) > 1} == {}


def given_names(module: Module) -> Iterator[tuple[str, int]]:
    """Every name that the module gives to something, with its line (0: the module's own)."""
    yield module.name.rpartition(".")[2], 0
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id, node.lineno
        elif isinstance(node, ast.arg):
            yield node.arg, node.lineno
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name.lower(), node.lineno
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.attr, node.lineno
        elif isinstance(node, ast.ExceptHandler | ast.MatchAs) and node.name:
            yield node.name, node.lineno
        elif isinstance(node, ast.alias) and node.asname:
            yield node.asname, node.lineno


@pytest.mark.parametrize("name", EDGEKIT)
def test_a_name_says_what_it_holds(name: str) -> None:
    assert [f"line {line}: {given}" for given, line in given_names(EDGEKIT[name]) if given in AVOIDED] == []


@pytest.mark.parametrize("name", EDGEKIT)
def test_a_module_can_be_seen_whole(name: str) -> None:
    assert len(EDGEKIT[name].text.splitlines()) < LONGEST
